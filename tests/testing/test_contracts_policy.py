"""`check_overflow_policy` passes what keeps the contract, and says which rule is broken."""

import itertools
import random
from typing import Any

import pytest

from nexios_trio.core.overflow import Policy, Verdict, conflate, max_lag
from nexios_trio.testing import ContractBroken
from nexios_trio.testing.contracts import check_overflow_policy


def symbol(payload):
    return payload.get("k") if isinstance(payload, dict) else None


def small_ones_stay(statistics, size):
    return Verdict.DROP_OLDEST if size < 5 and statistics.messages else Verdict.DISCONNECT


@pytest.mark.parametrize(
    "policy",
    [
        "disconnect",
        "drop_oldest",
        "drop_latest",
        "max_lag:2.5",
        conflate(symbol),
        conflate(symbol, "drop_oldest"),
        max_lag(1, conflate(symbol, "drop_latest")),
        small_ones_stay,
    ],
    ids=lambda policy: getattr(policy, "__name__", str(policy)),
)
def test_these_keep_the_contract(policy):
    check_overflow_policy(policy)


def says(verdict):
    return lambda statistics, size: verdict


async def waits(statistics, size):
    return Verdict.DISCONNECT


def divides(statistics, size):
    return Verdict.DISCONNECT if statistics.bytes / size else Verdict.DROP_LATEST


def unhashable(payload) -> Any:
    return [payload]


coin = random.Random(1)
numbers = itertools.count()


class Suspicious(Policy):
    """Refuses what has room."""

    def __call__(self, statistics, size):
        return Verdict.DISCONNECT if statistics.messages > 2 else super().__call__(statistics, size)


class Greedy(Policy):
    """Takes everything of an odd size."""

    def __call__(self, statistics, size):
        return Verdict.ENQUEUE if size % 2 else super().__call__(statistics, size)


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        (says("drop"), "answers with a Verdict, at once(?s:.*)'drop' for a message of"),
        (waits, "answers with a Verdict, at once(?s:.*)waits is an async function"),
        (divides, "answers with a Verdict, at once(?s:.*)divides raised ZeroDivisionError"),
        (lambda statistics, size: coin.choice([Verdict.DISCONNECT, Verdict.DROP_LATEST]), "is a pure function"),
        (says(Verdict.ENQUEUE), "ENQUEUE is only for a message that fits"),
        (says(Verdict.REPLACE), "REPLACE is only for a message of whose key one is queued"),
        (Suspicious("suspicious", says(Verdict.DISCONNECT)), "A message that fits(?s:.*) is enqueued"),
        (Greedy("greedy", says(Verdict.DISCONNECT)), "never takes an outbox over its bounds"),
        (conflate(lambda payload: payload["k"]), "A key function returns(?s:.*)raised"),
        (conflate(unhashable), "A key function returns(?s:.*)unhashable"),
        (conflate(lambda payload: next(numbers)), "A key function returns(?s:.*)the same for equal payloads"),
    ],
)
def test_a_broken_rule_is_told(policy, text):
    with pytest.raises(ContractBroken, match=text):
        check_overflow_policy(policy)


def test_what_is_no_policy():
    with pytest.raises(TypeError, match="not an overflow policy"):
        check_overflow_policy(3)
