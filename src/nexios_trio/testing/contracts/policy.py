"""`check_overflow_policy`: the contract of overflow policies, on any policy."""

import inspect
import random
from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from itertools import product
from typing import Any

import attrs

from ...core.overflow import Decide, OutboxStatistics, Policy, Verdict, resolve_policy
from .rules import hold

__all__ = ["check_overflow_policy"]

RULES = {
    "verdict": "A policy answers with a Verdict, at once, whatever the outbox looks like.",
    "pure": "A policy is a pure function: equal arguments, equal verdicts.",
    "room": "A message that fits, in an outbox that does not lag, is enqueued, or replaces one of its key.",
    "enqueue": "Verdict.ENQUEUE is only for a message that fits.",
    "replace": "Verdict.REPLACE is only for a message of whose key one is queued, and that fits into its place.",
    "oldest": "Verdict.DROP_OLDEST is only for an outbox that holds something.",
    "key": "A key function returns something hashable for every payload, the same for equal payloads.",
    "bounds": "Carrying out the verdicts never takes an outbox over its bounds.",
}
MAX_MESSAGES, MAX_BYTES = 4, 40
SIZES = (0, 1, 10, 40, 41, 1000)
AGES = (0.0, 0.001, 1.0, 1e9)
PAYLOADS: Sequence[Any] = ({"k": "a", "v": 1}, {"k": "b"}, {}, [], "text", b"bytes", 7, None, True, 1.5)


def check_overflow_policy(policy: Policy | str | Decide, *, payloads: Sequence[Any] = PAYLOADS) -> None:
    """Check that a policy can be relied on: an overflow policy of one's own, or a function (statistics, size).

    Args:
        payloads: what the key function of a conflating policy is tried on.
    Raises: ContractBroken, with the rule; TypeError and ValueError when it is no policy at all.
    """
    checked = resolve_policy(policy)
    hold(not inspect.iscoroutinefunction(checked.decide), RULES["verdict"], f"{checked.name} is an async function")
    for statistics, size in _cases():
        _check_verdict(checked, statistics, size)
    for payload in payloads:
        _check_key(checked, payload)
    _check_bounds(checked, payloads)


def _cases() -> Iterator[tuple[OutboxStatistics, int]]:
    for messages, size, age, replaceable in product(range(MAX_MESSAGES + 1), SIZES, AGES, (None, 0, 10)):
        for queued in {0, 10 * messages}:
            if messages or (not queued and replaceable is None and not age):
                yield OutboxStatistics(messages, queued, MAX_MESSAGES, MAX_BYTES, age, replaceable), size


def _check_verdict(policy: Policy, statistics: OutboxStatistics, size: int) -> None:
    shown = f"for a message of {size} bytes and {statistics}"
    verdict = _ask(policy, policy, statistics, size, shown)
    has_room = statistics.fits(size) and statistics.oldest_age <= policy.max_lag
    hold(not has_room or verdict in (Verdict.ENQUEUE, Verdict.REPLACE), RULES["room"], f"{verdict} {shown}")
    if not has_room:  # then `decide` is asked, and what it says is to be possible without being put right
        _check_possible(_ask(policy, policy.decide, statistics, size, shown), statistics, size, shown)


def _ask(policy: Policy, decide: Decide, statistics: OutboxStatistics, size: int, shown: str) -> Verdict:
    answers: list[Any] = []
    for _ in range(3):
        try:
            answers.append(decide(statistics, size))
        except Exception as error:
            hold(False, RULES["verdict"], f"{policy.name} raised {type(error).__name__}: {error} {shown}")
        hold(isinstance(answers[-1], Verdict), RULES["verdict"], f"{answers[-1]!r} {shown}")
    hold(len(set(answers)) == 1, RULES["pure"], f"{answers} {shown}")
    return answers[0]  # type: ignore[no-any-return]


def _check_possible(verdict: Verdict, statistics: OutboxStatistics, size: int, shown: str) -> None:
    if verdict is Verdict.ENQUEUE:
        hold(statistics.fits(size), RULES["enqueue"], f"{verdict} {shown}")
    elif verdict is Verdict.REPLACE:
        hold(statistics.replaceable_by(size), RULES["replace"], f"{verdict} {shown}")
    elif verdict is Verdict.DROP_OLDEST and size <= statistics.max_bytes:
        hold(statistics.messages, RULES["oldest"], f"{verdict} {shown}")


def _check_key(policy: Policy, payload: Any) -> None:
    if policy.key is None:
        return
    try:
        keys = [policy.key(payload), policy.key(payload)]
        hash(keys[0])
    except Exception as error:
        hold(False, RULES["key"], f"for {payload!r} it raised {type(error).__name__}: {error}")
    else:
        hold(keys[0] == keys[1], RULES["key"], f"for {payload!r} it returned {keys[0]!r}, then {keys[1]!r}")


@attrs.define
class _Queued:
    key: Hashable
    size: int
    since: float


@attrs.define
class _Outbox:
    """What a transport does with verdicts, as simply as can be said."""

    policy: Policy
    queue: deque[_Queued] = attrs.Factory(deque)

    @property
    def bytes(self) -> int:
        return sum(each.size for each in self.queue)

    def offer(self, payload: Any, size: int, now: float) -> Verdict:
        key = self.policy.key(payload) if self.policy.key is not None else None
        same = next((each for each in self.queue if key is not None and each.key == key), None)
        verdict = self.policy(self.statistics(now, same), size)
        if verdict is Verdict.REPLACE and same is not None:
            same.size = size
        elif verdict is Verdict.DROP_OLDEST:
            self.queue.popleft()
            while self.queue and not self.statistics(now, None).fits(size):
                self.queue.popleft()
        if verdict in (Verdict.ENQUEUE, Verdict.DROP_OLDEST):
            self.queue.append(_Queued(key, size, now))
        return verdict

    def statistics(self, now: float, same: _Queued | None) -> OutboxStatistics:
        age = now - self.queue[0].since if self.queue else 0.0
        replaceable = None if same is None else same.size
        return OutboxStatistics(len(self.queue), self.bytes, MAX_MESSAGES, MAX_BYTES, age, replaceable)


def _check_bounds(policy: Policy, payloads: Sequence[Any]) -> None:
    """A thousand offers to a model outbox, which is emptied now and then; the same ones each time."""
    chance, now, outbox = random.Random(0), 0.0, _Outbox(policy)
    for number in range(1000):
        now += chance.choice(AGES[:3])
        if outbox.queue and chance.random() < 0.3:
            outbox.queue.popleft()
        size = chance.choice(SIZES)
        verdict = outbox.offer(chance.choice(payloads) if payloads else None, size, now)
        within = len(outbox.queue) <= MAX_MESSAGES and outbox.bytes <= MAX_BYTES
        shown = f"{len(outbox.queue)} messages, {outbox.bytes} bytes"
        hold(within, RULES["bounds"], f"offer {number} of {size} bytes: {verdict}, and there are {shown}")
