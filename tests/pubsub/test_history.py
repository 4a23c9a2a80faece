"""History against a list, its bounds, and what "nothing was missed" means."""

import sys
import weakref
from math import nan

import pytest
from attrs import evolve, frozen
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from nexios_trio.core.message import Message, Position
from nexios_trio.core.message_codec import SavedMessage
from nexios_trio.pubsub.history import DEFAULT_MAX_BYTES, MIN_DROPPED, History, HistoryLimits, HistoryOverflow


@frozen
class Entry:
    size: int
    position: Position | None

    @property
    def cost(self):
        return 100 + self.size


def entry(offset, size=10):
    return Entry(size, Position(offset, "epoch"))


def offsets(entries):
    return [one.position.offset for one in entries]


def filled(count, **bounds):
    history = History(HistoryLimits(**bounds))
    for offset in range(1, count + 1):
        history.append(entry(offset), now=float(offset))
    return history


class HistoryMachine(RuleBasedStateMachine):
    """The model: every message there ever was (saved or not), and the list of those that are kept."""

    @initialize(
        overflow=st.sampled_from(["clear", "trim"]),
        ttl=st.sampled_from([None, 3.0]),
        limit=st.sampled_from([None, 1, 4]),
    )
    def make(self, overflow, ttl, limit):
        self.limits = HistoryLimits(max_messages=limit, max_age=ttl, overflow=overflow)
        self.history = History(self.limits)
        self.overflow, self.ttl, self.limit = overflow, ttl, limit
        self.now = 0.0
        self.published = []  # every offset that exists
        self.kept = []  # (saved, entry)

    @property
    def top(self):
        return self.published[-1] if self.published else 0

    @rule(seconds=st.sampled_from([0.5, 1.0, 4.0]))
    def pass_time(self, seconds):
        self.now += seconds

    @rule(size=st.integers(0, 12), hole=st.sampled_from([0, 0, 0, 0, 1]), bound=st.sampled_from([20, 20, 8, 0]))
    def append(self, size, hole, bound):
        new = entry(self.top + 1 + hole, size)
        self.published.extend(range(self.top + 1, self.top + 2 + hole))
        before = len(self.kept) + 1
        self.kept.append((self.now, new))
        self.forget_old()
        if self.limit is not None:
            self.kept = self.kept[-self.limit :]
        if self.total() > bound and self.overflow == "clear":
            self.kept = self.kept[-1:]
        while self.total() > bound:
            self.kept.pop(0)
        limits = evolve(self.limits, max_bytes=bound)
        assert self.history.append(new, self.now, limits) == before - len(self.kept)

    @rule()
    def skip(self):
        self.published.append(self.top + 1)
        self.history.skip(self.top)

    @rule()
    def since(self):
        self.forget_old()
        for offset in range(self.top + 3):
            found, complete = self.history.since(offset, self.now)
            assert found == [one for _, one in self.kept if one.position.offset > offset]
            missed = [one for one in self.published if one > offset]
            assert complete is (offset <= self.top and offsets(found) == missed)
            assert self.history.has_after(offset) is bool(found)
            for limit in (0, 1, 3):
                assert self.history.since(offset, self.now, limit=limit) == (found[:limit], complete)
            for bound in (0, 5, 20):
                some = found[:1]
                while len(some) < len(found) and sum(one.size for one in found[: len(some) + 1]) <= bound:
                    some = found[: len(some) + 1]
                assert self.history.since(offset, self.now, max_bytes=bound) == (some, complete)
        assert self.history.has_any(self.now) is bool(self.kept)

    @rule()
    def snapshot(self):
        self.forget_old()
        snapshot = self.history.snapshot(self.now)
        assert snapshot == [one for _, one in self.kept]
        snapshot.clear()  # a copy

    @rule()
    def expire(self):
        before = len(self.kept)
        self.forget_old()
        assert self.history.expire(self.now) == before - len(self.kept)

    @rule()
    def clear(self):
        assert self.history.clear() == len(self.kept)
        self.kept.clear()

    def forget_old(self):
        if self.ttl is not None:
            self.kept = [(saved, one) for saved, one in self.kept if self.now - saved < self.ttl]

    def total(self):
        return sum(one.size for _, one in self.kept)

    @invariant()
    def agrees(self):
        history = self.history
        assert list(history) == [one for _, one in self.kept]
        assert len(history) == len(self.kept)
        assert history.bytes == self.total()
        assert history.cost == self.total() + 100 * len(self.kept)
        assert history.top == self.top
        assert history.floor <= history.top + 1


TestHistoryMachine = HistoryMachine.TestCase


def test_over_its_bytes_it_is_cleared_and_the_newest_kept():
    history = filled(3)
    assert history.append(entry(4), now=4.0, limits=HistoryLimits(max_bytes=39)) == 3
    assert offsets(history) == [4]
    assert history.since(3) == ([entry(4)], True)
    assert history.since(2) == ([entry(4)], False)


def test_trim_drops_only_the_oldest():
    history = filled(3, overflow="trim")
    assert history.append(entry(4), now=4.0, limits=HistoryLimits(max_bytes=39, overflow="trim")) == 1
    assert offsets(history) == [2, 3, 4]


@pytest.mark.parametrize("overflow", list(HistoryOverflow))
def test_a_message_larger_than_the_bound_is_not_kept_and_leaves_a_gap(overflow):
    history = filled(3, overflow=overflow)
    assert history.append(entry(4, size=41), now=4.0, limits=HistoryLimits(max_bytes=40, overflow=overflow)) == 4
    assert (len(history), history.bytes, history.top) == (0, 0, 4)
    assert history.since(3) == ([], False)
    assert history.since(4) == ([], True)


def test_exactly_the_bound_fits():
    history = filled(3)
    assert history.append(entry(4), now=4.0, limits=HistoryLimits(max_bytes=40)) == 0
    assert len(history) == 4


def test_the_bound_may_change_between_two_saves():
    history = filled(10, overflow="trim")
    history.append(entry(11), now=11.0, limits=HistoryLimits(max_bytes=25, overflow="trim"))
    assert offsets(history) == [10, 11]
    history.append(entry(12), now=12.0, limits=HistoryLimits(max_bytes=1000, overflow="trim"))
    assert offsets(history) == [10, 11, 12]


def test_age_and_number_drop_the_oldest_whatever_the_overflow_mode():
    history = filled(5, overflow="clear", max_messages=3)
    assert offsets(history) == [3, 4, 5]
    history = filled(5, overflow="clear", max_age=2.0)
    assert offsets(history) == [4, 5]
    assert offsets(history.snapshot(6.0)) == [5]
    assert offsets(history.snapshot()) == [5]
    assert history.since(3, 7.0) == ([], False)


def test_other_limits_take_effect_with_the_next_save():
    history = filled(5)
    history.append(entry(6), now=6.0, limits=HistoryLimits(max_messages=2, overflow="trim"))
    assert offsets(history) == [5, 6]
    history.append(entry(7), now=7.0)
    assert offsets(history) == [6, 7]


def test_clearing_leaves_a_gap_and_offsets_go_on():
    history = filled(3)
    assert history.clear() == 3
    assert history.since(2) == ([], False)
    assert history.since(3) == ([], True)
    history.append(entry(4), now=4.0)
    assert history.since(3) == ([entry(4)], True)


def test_a_position_from_the_future_is_a_gap():
    assert filled(3).since(4) == ([], False)


def test_a_skipped_message_that_is_already_known_changes_nothing():
    history = filled(3)
    history.skip(2)
    assert history.since(0)[1] is True


@pytest.mark.parametrize("position", [None, Position(3, "e"), Position(0, "e")])
def test_offsets_must_rise(position):
    history = filled(3)
    with pytest.raises(ValueError, match="above offset 3"):
        history.append(Entry(1, position), now=4.0)
    assert (len(history), history.bytes, history.top) == (3, 30, 3)


@pytest.mark.parametrize(
    ("bounds", "text"),
    [
        ({"overflow": "drop"}, "'clear' or 'trim', not 'drop'"),
        ({"max_age": 0}, "above 0, or None"),
        ({"max_age": nan}, "above 0, or None"),
        ({"max_age": "60"}, "above 0, or None"),
        ({"max_messages": 0}, "at least 1 message, or None"),
        ({"max_messages": 1.5}, "at least 1 message, or None"),
        ({"max_bytes": -1}, "number of bytes from 0"),
        ({"max_bytes": None}, "number of bytes from 0"),
    ],
)
def test_bounds_are_checked(bounds, text):
    with pytest.raises(ValueError, match=text):
        HistoryLimits(**bounds)


@pytest.mark.parametrize("count", [1_000, 100_000])
def test_a_page_costs_what_is_in_it_wherever_it_begins(count: int):
    """In lines, which are the same on every machine."""
    history = filled(count, max_bytes=100 * count)
    for after in (0, count // 2, count - 200):
        for bounds in ({"limit": 100}, {"max_bytes": 1000}):
            (found, _), lines = with_lines(history.since, after, 0.0, **bounds)
            assert offsets(found) == list(range(after + 1, after + 101))
            assert lines < 500


def with_lines(function, *arguments, **named):
    """Call it. Returns its result, and how many lines of code were executed."""
    lines = 0

    def count(frame, event, arg):
        nonlocal lines
        lines += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        result = function(*arguments, **named)
    finally:
        sys.settrace(before)
    return result, lines


def test_what_is_dropped_is_gone_at_once_and_its_places_are_in_time():
    history = filled(1_000, max_messages=10)
    assert len(history) == 10
    assert len(history._rows) <= 2 * MIN_DROPPED
    last = entry(1001)
    seen = weakref.ref(last)
    history.append(last, 0.0)
    del last
    for offset in range(1002, 1012):
        assert seen() is not None
        history.append(entry(offset), 0.0)
    assert seen() is None


@given(st.lists(st.binary(max_size=50), max_size=30))
def test_it_keeps_real_messages_within_the_default_bound(payloads):
    history: History[SavedMessage] = History(HistoryLimits())
    for offset, payload in enumerate(payloads, 1):
        message = Message(payload, created=0.0, position=Position(offset, "e"))
        history.append(SavedMessage(message), now=float(offset))
    assert [saved.restore().payload for saved in history.snapshot()] == payloads
    assert history.bytes == sum(map(len, payloads)) <= DEFAULT_MAX_BYTES
