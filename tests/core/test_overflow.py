"""Policies, and a model outbox that carries verdicts out and never leaves its bounds."""

import functools
from collections import deque
from math import inf, nan
from typing import Any, cast

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from nexios_trio.core.overflow import (
    OutboxStatistics,
    Policy,
    Verdict,
    conflate,
    disconnect,
    drop_latest,
    drop_oldest,
    max_lag,
    resolve_policy,
)


def statistics(messages=0, size=0, *, max_messages=4, max_bytes=40, age=0.0, replaceable=None):
    return OutboxStatistics(messages, size, max_messages, max_bytes, age, replaceable)


FULL = statistics(4, 40)
ROOM = statistics(1, 10)


@define
class Queued:
    payload: object
    size: int
    since: float
    key: object = None


@define
class Outbox:
    """What a transport does with verdicts, as simply as can be said."""

    policy: Policy
    max_messages: int
    max_bytes: int
    queue: deque = field(factory=deque)
    dropped: int = 0
    replaced: int = 0
    connected: bool = True

    @property
    def bytes(self):
        return sum(one.size for one in self.queue)

    def offer(self, payload, size, now):
        key = self.policy.key(payload) if self.policy.key else None
        same = next((one for one in self.queue if key is not None and one.key == key), None)
        verdict = self.policy(self.statistics(now, same), size)
        new = Queued(payload, size, now, key)
        if verdict is Verdict.REPLACE:
            assert same is not None
            same.payload, same.size = payload, size  # its place and its age stay
            self.replaced += 1
        elif verdict is Verdict.DROP_OLDEST:
            self.drop_oldest()
            while not self.statistics(now, None).fits(size):
                self.drop_oldest()
            self.queue.append(new)
        elif verdict is Verdict.ENQUEUE:
            self.queue.append(new)
        elif verdict is Verdict.DROP_LATEST:
            self.dropped += 1
        else:
            self.dropped += 1
            self.connected = False
        return verdict

    def drop_oldest(self):
        self.queue.popleft()
        self.dropped += 1

    def statistics(self, now, same):
        age = now - self.queue[0].since if self.queue else 0.0
        replaceable = None if same is None else same.size
        return OutboxStatistics(len(self.queue), self.bytes, self.max_messages, self.max_bytes, age, replaceable)


def first_letter(payload):
    return payload[:1] or None


SIMPLE = st.sampled_from([disconnect, drop_oldest, drop_latest])
# A user's own policy may answer anything at all.
ANY = SIMPLE | st.sampled_from(Verdict).map(lambda verdict: resolve_policy(lambda statistics, size: verdict))
KEYED = ANY.map(lambda policy: conflate(first_letter, policy))
POLICIES = st.one_of(
    ANY,
    KEYED,
    st.tuples(st.sampled_from([1.0, 3.0]), ANY | KEYED).map(lambda pair: max_lag(*pair)),
)
OFFERS = st.lists(
    st.tuples(st.text("abc", max_size=3), st.integers(0, 15), st.sampled_from([0.0, 0.5, 2.0]), st.integers(0, 2))
)


@given(POLICIES, st.integers(1, 4), st.integers(1, 12), OFFERS)
def test_no_verdict_takes_an_outbox_over_its_bounds(policy, max_messages, max_bytes, offers):
    outbox = Outbox(policy, max_messages, max_bytes)
    now, written = 0.0, 0
    for offered, (payload, size, seconds, writes) in enumerate(offers, 1):
        now += seconds
        for _ in range(min(writes, len(outbox.queue))):
            outbox.queue.popleft()
            written += 1
        outbox.offer(payload, size, now)
        assert len(outbox.queue) <= max_messages
        assert outbox.bytes <= max_bytes
        # every message is on its way, written, replaced or counted as dropped
        assert offered == written + len(outbox.queue) + outbox.dropped + outbox.replaced
        if not outbox.connected:
            break


@given(POLICIES, OFFERS)
def test_order_is_kept(policy, offers):
    outbox = Outbox(policy, 4, 12)
    for number, (letter, size, seconds, _) in enumerate(offers):
        outbox.offer(letter[:1] + f"{number:04}", size, float(seconds))
    if policy.key is None:
        numbers = [one.payload[-4:] for one in outbox.queue]
        assert numbers == sorted(numbers)


@given(OFFERS)
def test_conflation_keeps_the_newest_of_each_key_and_one_of_each(offers):
    outbox = Outbox(conflate(first_letter), max_messages=4, max_bytes=10_000)
    newest = {}
    for payload, size, _, _ in offers:
        if payload:
            outbox.offer(payload, size, 0.0)
            newest[payload[0]] = payload
    assert outbox.connected
    assert {one.key: one.payload for one in outbox.queue} == newest
    assert len(outbox.queue) == len(newest)


@pytest.mark.parametrize("policy", [disconnect, drop_oldest, drop_latest])
@pytest.mark.parametrize("room", [statistics(), ROOM, statistics(3, 35)])
def test_with_room_the_answer_is_enqueue(policy, room):
    assert policy(room, 5) is Verdict.ENQUEUE
    assert not policy.eager


def test_a_policy_without_keys_never_replaces():
    assert disconnect(statistics(1, 10, replaceable=5), 5) is Verdict.ENQUEUE
    assert disconnect(statistics(4, 40, replaceable=5), 5) is Verdict.DISCONNECT


@pytest.mark.parametrize(
    ("policy", "verdict"),
    [
        (disconnect, Verdict.DISCONNECT),
        (drop_oldest, Verdict.DROP_OLDEST),
        (drop_latest, Verdict.DROP_LATEST),
        (conflate(str), Verdict.DISCONNECT),
        (conflate(str, "drop_oldest"), Verdict.DROP_OLDEST),
        (max_lag(1), Verdict.DISCONNECT),
        (max_lag(1, drop_latest), Verdict.DROP_LATEST),
    ],
)
@pytest.mark.parametrize("full", [FULL, statistics(4, 4), statistics(1, 40)])
def test_without_room(policy, verdict, full):
    assert policy(full, 5) is verdict


@pytest.mark.parametrize(
    ("policy", "verdict"),
    [
        (disconnect, Verdict.DISCONNECT),
        (drop_oldest, Verdict.DROP_LATEST),  # emptying the queue would not help
        (drop_latest, Verdict.DROP_LATEST),
        (conflate(str), Verdict.DISCONNECT),
        (conflate(str, drop_oldest), Verdict.DROP_LATEST),
    ],
)
@pytest.mark.parametrize("queued", [statistics(), FULL, statistics(1, 40, replaceable=40)])
def test_a_message_larger_than_the_whole_outbox(policy, verdict, queued):
    assert policy(queued, 41) is verdict


def test_conflate_replaces_even_when_there_is_room():
    policy = conflate(first_letter)
    assert policy.eager
    assert policy(statistics(2, 20, replaceable=5), 6) is Verdict.REPLACE
    assert policy(statistics(4, 40, replaceable=5), 5) is Verdict.REPLACE
    assert policy(statistics(4, 40, replaceable=5), 6) is Verdict.DISCONNECT
    assert policy(statistics(2, 20), 6) is Verdict.ENQUEUE


def test_max_lag_counts_from_the_oldest_message():
    policy = max_lag(2.5, drop_oldest)
    assert policy.eager
    assert policy(statistics(1, 1, age=2.5), 1) is Verdict.ENQUEUE
    assert policy(statistics(1, 1, age=2.6), 1) is Verdict.DROP_OLDEST
    assert max_lag(2.5)(statistics(1, 1, age=2.6), 1) is Verdict.DISCONNECT


def test_policies_compose_and_say_so():
    policy = max_lag(5, conflate(first_letter, drop_latest))
    assert policy.name == "max_lag 5 s, otherwise conflate, otherwise drop_latest"
    assert (policy.key, policy.max_lag) == (first_letter, 5.0)
    assert policy(statistics(1, 10, age=9, replaceable=3), 1) is Verdict.REPLACE
    assert policy(statistics(1, 10, age=9), 1) is Verdict.DROP_LATEST


@pytest.mark.parametrize("policy", [disconnect, drop_oldest, drop_latest])
def test_names_stand_for_policies(policy):
    assert resolve_policy(policy.name) is policy
    assert resolve_policy(policy) is policy


def test_a_lag_can_be_written_as_text():
    assert resolve_policy("max_lag:2.5") == max_lag(2.5)


@pytest.mark.parametrize("name", ["", "dropoldest", "conflate", "max_lag", "Disconnect"])
def test_unknown_names_are_refused_with_the_known_ones(name):
    with pytest.raises(ValueError, match=r"'disconnect', 'drop_oldest', 'drop_latest', .*conflate\(key\)"):
        resolve_policy(name)


@pytest.mark.parametrize("text", ["max_lag:x", "max_lag:0", "max_lag:-1", "max_lag:nan"])
def test_bad_lags_in_text(text):
    with pytest.raises(ValueError, match=r"above 0, as in 'max_lag:2\.5'"):
        resolve_policy(text)


@pytest.mark.parametrize("other", [None, 7, ["disconnect"], Verdict.DISCONNECT, int])
def test_other_types_are_refused(other):
    with pytest.raises(TypeError, match="not an overflow policy.*accepted"):
        resolve_policy(other)


@pytest.mark.parametrize("function", [lambda: None, lambda a: None, lambda a, b, c: None])
def test_a_function_has_to_take_two_arguments(function):
    with pytest.raises(TypeError, match=r"must take \(statistics, size\)"):
        resolve_policy(function)


def test_own_functions_and_callables():
    def kind(statistics, size):
        return Verdict.DROP_LATEST

    assert resolve_policy(kind).name == "kind"
    assert resolve_policy(kind)(FULL, 1) is Verdict.DROP_LATEST
    assert resolve_policy(kind)(ROOM, 1) is Verdict.ENQUEUE
    assert resolve_policy(functools.partial(kind)).name == "partial"
    assert resolve_policy(cast("Any", max)).name == "max"  # does not tell its signature


@pytest.mark.parametrize("verdict", [Verdict.ENQUEUE, Verdict.REPLACE])
def test_an_own_function_cannot_overfill(verdict):
    assert resolve_policy(lambda statistics, size: verdict)(FULL, 1) is Verdict.DISCONNECT


def test_replacing_nothing_is_enqueueing():
    policy = max_lag(1, lambda statistics, size: Verdict.REPLACE)
    assert policy(statistics(1, 1, age=2), 1) is Verdict.ENQUEUE


def test_an_own_function_has_to_return_a_verdict():
    silly: Any = lambda statistics, size: "drop_oldest"  # noqa: E731
    with pytest.raises(TypeError, match="policy silly has to return a Verdict, not 'drop_oldest'"):
        Policy("silly", silly)(FULL, 1)


@pytest.mark.parametrize("seconds", [0, -1, nan])
def test_lags_are_above_zero(seconds):
    with pytest.raises(ValueError, match="above 0"):
        max_lag(seconds)


@pytest.mark.parametrize("seconds", ["1", None, True])
def test_lags_are_numbers(seconds):
    with pytest.raises(TypeError, match="number of seconds"):
        max_lag(seconds)


def test_an_endless_lag_is_none():
    assert not max_lag(inf).eager


def test_conflate_takes_a_function():
    with pytest.raises(TypeError, match="returns its key"):
        conflate(cast("Any", "symbol"))
