"""Deadlines against a dict, and that memory and work follow the live keys."""

import weakref
from math import inf, nan

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from nexios_trio.core.deadlines import Deadlines

KEYS = st.integers(0, 4)
TIMES = st.sampled_from([-1.0, 0.0, 1.0, 2.0, 3.0, inf])


class Tight(Deadlines):
    """Compacts as often as it can, so that the machine sees it happen."""

    __slots__ = ()
    slack = 0


class DeadlinesMachine(RuleBasedStateMachine):
    """The model: key -> (deadline, number of the set())."""

    def __init__(self):
        super().__init__()
        self.deadlines = Tight()
        self.model = {}
        self.count = 0

    @rule(moves=st.lists(st.tuples(KEYS, TIMES), min_size=1, max_size=8))
    def set(self, moves):
        for key, when in moves:
            self.count += 1
            self.deadlines.set(key, when)
            self.model[key] = (when, self.count)

    @rule(key=KEYS)
    def discard(self, key):
        assert self.deadlines.discard(key) is (self.model.pop(key, None) is not None)

    @rule(now=TIMES)
    def pop_due(self, now):
        expected = sorted((rank, key) for key, rank in self.model.items() if rank[0] <= now and rank[0] < inf)
        assert self.deadlines.pop_due(now) == [key for _, key in expected]
        for _, key in expected:
            del self.model[key]

    @rule()
    def next(self):
        assert self.deadlines.next() == min((when for when, _ in self.model.values()), default=inf)

    @rule()
    def clear(self):
        self.deadlines.clear()
        self.model.clear()

    @invariant()
    def same_keys_and_deadlines(self):
        assert len(self.deadlines) == len(self.model)
        for key in range(10):
            assert (key in self.deadlines) is (key in self.model)
            assert self.deadlines.get(key) == self.model.get(key, (None,))[0]

    @invariant()
    def every_finite_deadline_has_an_alarm_in_time(self):
        alarms = {order: (rings, key) for rings, order, key in map(tuple, self.deadlines._heap)}
        assert len(alarms) == len(self.deadlines._heap)  # orders are unique
        for key, record in self.deadlines._records.items():
            if record.when < inf:
                rings, owner = alarms[record.alarm]
                assert owner == key
                assert rings == record.rings <= record.when


TestDeadlinesMachine = DeadlinesMachine.TestCase
TestDeadlinesMachine.settings = settings(stateful_step_count=20)


def test_an_empty_one_waits_for_ever():
    deadlines = Deadlines()
    assert deadlines.next() == inf
    assert deadlines.pop_due(inf) == []


def test_equal_deadlines_come_in_the_order_of_setting_and_keys_are_never_compared():
    deadlines = Deadlines()
    keys = [object() for _ in range(5)]
    for key in keys:
        deadlines.set(key, 1.0)
    deadlines.set(keys[0], 1.0)
    assert deadlines.pop_due(1.0) == [*keys[1:], keys[0]]


def test_nan_is_refused_and_changes_nothing():
    deadlines = Deadlines()
    deadlines.set("a", 3.0)
    with pytest.raises(ValueError, match="nan"):
        deadlines.set("a", nan)
    assert deadlines.get("a") == 3.0


def test_never_is_not_due_even_at_infinity():
    deadlines = Deadlines()
    deadlines.set("a", 5.0)
    deadlines.set("a", inf)
    assert deadlines.pop_due(inf) == []
    assert "a" in deadlines
    deadlines.set("a", 7.0)
    assert deadlines.pop_due(7.0) == ["a"]


@pytest.mark.parametrize("step", [1.0, -1.0])
def test_memory_follows_the_live_keys_over_100_000_moves(step):
    deadlines = Deadlines()
    live = 100
    for move in range(100_000):
        deadlines.set(move % live, step * move)
        assert len(deadlines._heap) <= 2 * live + Deadlines.slack
    assert len(deadlines) == live


def test_memory_follows_the_live_keys_when_they_come_and_go():
    deadlines = Deadlines()
    for number in range(100_000):
        deadlines.set(number, float(number % 977))
        if number >= 50:
            deadlines.discard(number - 50)
        assert len(deadlines._heap) <= 2 * len(deadlines) + Deadlines.slack
    for number in range(99_950, 100_000):
        deadlines.discard(number)
    assert len(deadlines._heap) <= Deadlines.slack


def test_moving_later_does_not_touch_the_heap():
    deadlines = Deadlines()
    for key in range(1000):
        deadlines.set(key, float(key))
    before = list(deadlines._heap)
    for round_ in range(1, 50):
        for key in range(1000):
            deadlines.set(key, float(key + round_ * 10))
    assert deadlines._heap == before
    for key in range(1000):
        deadlines.set(key, float(key))  # back again, to when the alarm rings anyway
    assert deadlines._heap == before


def test_a_moved_deadline_is_looked_at_once_per_look_not_once_per_move():
    deadlines = Deadlines()
    for move in range(10_000):
        deadlines.set("only", float(move))
    assert len(deadlines._heap) == 1
    assert deadlines.pop_due(9_998.0) == []
    assert deadlines.next() == 9_999.0
    assert deadlines.pop_due(9_999.0) == ["only"]
    assert deadlines._heap == []


def test_a_discarded_key_is_let_go_at_once():
    class Key:
        pass

    deadlines = Deadlines()
    key = Key()
    alive = weakref.ref(key)
    deadlines.set(key, 10.0)
    deadlines.set(key, 5.0)  # two alarms, one of them stale
    deadlines.discard(key)
    del key
    assert alive() is None
