"""What happens to a message that a slow peer's outbox has no room for.

Theory of operation. A `Policy` is a pure function: the outbox describes itself in `OutboxStatistics`, the
policy answers with a `Verdict`, the outbox carries it out. While there is room the answer is ENQUEUE, so an
outbox with room need not ask, except a policy whose `eager` is true (it replaces older messages, or looks at
their age).

A policy's own part, `decide`, is asked only when the message does not fit or the queue lags too far behind.
Whatever it answers, `Policy` holds the bounds: a verdict that cannot be carried out within them becomes
DISCONNECT, or DROP_LATEST where `decide` chose to drop. In particular a message larger than the whole outbox
is never queued and never makes room for itself: the dropping policies drop it, the others disconnect.

Invariant (proved in the tests with a model outbox): carrying out verdicts never takes an outbox over its
bounds.
"""

import inspect
from collections.abc import Callable, Hashable, Mapping
from enum import Enum
from math import inf
from types import MappingProxyType
from typing import Any, Final

from attrs import evolve, field, frozen

__all__ = [
    "OutboxStatistics",
    "Policy",
    "Verdict",
    "conflate",
    "disconnect",
    "drop_latest",
    "drop_oldest",
    "max_lag",
    "resolve_policy",
]


class Verdict(Enum):
    """What the outbox does with the message it was offered."""

    ENQUEUE = "enqueue"
    DROP_LATEST = "drop_latest"  # do not take the new one
    DROP_OLDEST = "drop_oldest"  # drop the oldest, one at least and more until the new one fits; then enqueue
    REPLACE = "replace"  # put it in the place, and with the age, of the queued message of the same key
    DISCONNECT = "disconnect"  # do not take it, and end the connection with 1013


@frozen
class OutboxStatistics:
    """How full one outbox is.

    Args:
        messages: how many are queued.
        bytes: their sizes together.
        max_messages: at most so many may be queued.
        max_bytes: at most so many bytes may be queued.
        oldest_age: seconds since the message that is queued longest was taken; 0 if there is none.
        replaceable: size of the queued message that has the same key; None if there is none, or no keys.
    """

    messages: int
    bytes: int
    max_messages: int
    max_bytes: int
    oldest_age: float = 0.0
    replaceable: int | None = None

    def fits(self, size: int) -> bool:
        """Tell whether one more message of `size` bytes is within both bounds."""
        return self.messages < self.max_messages and self.bytes + size <= self.max_bytes

    def replaceable_by(self, size: int) -> bool:
        """Tell whether a message of `size` bytes can take the place of the one with the same key."""
        return self.replaceable is not None and self.bytes - self.replaceable + size <= self.max_bytes


Decide = Callable[[OutboxStatistics, int], Verdict]
Key = Callable[[Any], Hashable]


@frozen
class Policy:
    """An overflow policy: ``policy(statistics, size) -> Verdict``.

    Args:
        name: for logs and settings.
        decide: asked when the message does not fit, or the queue lags more than `max_lag`.
        key: of a payload; queued messages with an equal key (other than ``None``) are replaced by newer ones.
        max_lag: seconds that the oldest queued message may wait before `decide` is asked in spite of room.
    """

    name: str
    decide: Decide = field(repr=False)
    key: Key | None = field(default=None, repr=False)
    max_lag: float = inf

    @property
    def eager(self) -> bool:
        """True: it has to be asked even when the message fits."""
        return self.key is not None or self.max_lag < inf

    def __call__(self, statistics: OutboxStatistics, size: int) -> Verdict:
        """Decide what to do with a message of `size` bytes."""
        if self.key is not None and statistics.replaceable_by(size):
            return Verdict.REPLACE
        if statistics.fits(size) and statistics.oldest_age <= self.max_lag:
            return Verdict.ENQUEUE
        return self._bounded(self.decide(statistics, size), statistics, size)

    def _bounded(self, verdict: object, statistics: OutboxStatistics, size: int) -> Verdict:
        if not isinstance(verdict, Verdict):
            raise TypeError(f"overflow policy {self.name} has to return a Verdict, not {verdict!r}")
        if verdict is Verdict.DROP_OLDEST and size > statistics.max_bytes:
            return Verdict.DROP_LATEST
        if verdict is Verdict.ENQUEUE and not statistics.fits(size):
            return Verdict.DISCONNECT
        if verdict is Verdict.REPLACE and not statistics.replaceable_by(size):
            return Verdict.ENQUEUE if statistics.fits(size) else Verdict.DISCONNECT
        return verdict


# Functions with names, so that settings can be pickled.
def _disconnect(statistics: OutboxStatistics, size: int) -> Verdict:
    return Verdict.DISCONNECT


def _drop_oldest(statistics: OutboxStatistics, size: int) -> Verdict:
    return Verdict.DROP_OLDEST


def _drop_latest(statistics: OutboxStatistics, size: int) -> Verdict:
    return Verdict.DROP_LATEST


disconnect: Final = Policy("disconnect", _disconnect)
"""End the connection with 1013: the peer knows that it missed something."""

drop_oldest: Final = Policy("drop_oldest", _drop_oldest)
"""Keep the newest messages. What is dropped is counted, and the peer is not told."""

drop_latest: Final = Policy("drop_latest", _drop_latest)
"""Keep what is queued, drop the new message. What is dropped is counted, and the peer is not told."""


def conflate(key: Key, otherwise: "Policy | str | Decide" = disconnect) -> Policy:
    """Keep only the newest message of each key, such as the last price of each symbol.

    Args:
        key: of a payload, hashable; ``None`` for a payload that must not be replaced.
        otherwise: what to do when there is nothing to replace and no room.
    """
    if not callable(key):
        raise TypeError(f"conflate takes a function of a payload that returns its key, not {key!r}")
    base = resolve_policy(otherwise)
    return evolve(base, name=f"conflate, otherwise {base.name}", key=key)


def max_lag(seconds: float, otherwise: "Policy | str | Decide" = disconnect) -> Policy:
    """Count a peer as too slow when its oldest queued message has waited more than `seconds`.

    Args:
        seconds: above 0.
        otherwise: what to do then, and when there is no room.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(f"max_lag takes a number of seconds, not {type(seconds).__name__}")
    if not seconds > 0:
        raise ValueError(f"max_lag takes a number of seconds above 0, not {seconds!r}")
    base = resolve_policy(otherwise)
    return evolve(base, name=f"max_lag {seconds:g} s, otherwise {base.name}", max_lag=float(seconds))


_NAMED: Final[Mapping[str, Policy]] = MappingProxyType(
    {policy.name: policy for policy in (disconnect, drop_oldest, drop_latest)}
)
_ACCEPTED: Final = (
    "'disconnect', 'drop_oldest', 'drop_latest', 'max_lag:SECONDS', conflate(key), max_lag(seconds), "
    "or a function (statistics, size) -> Verdict"
)


def resolve_policy(policy: "Policy | str | Decide") -> Policy:
    """The policy that a name, a policy or a function stands for.

    Raises:
        ValueError: an unknown name.
        TypeError: something else, or a function that does not take two arguments.
    """
    if isinstance(policy, Policy):
        return policy
    if isinstance(policy, str):
        return _from_text(policy)
    if isinstance(policy, type) or not callable(policy):
        raise TypeError(f"not an overflow policy: {policy!r}; accepted: {_ACCEPTED}")
    name = getattr(policy, "__name__", type(policy).__name__)
    try:
        inspect.signature(policy).bind(None, 0)
    except TypeError:
        raise TypeError(f"overflow policy {name} must take (statistics, size)") from None
    except ValueError:
        pass  # a callable that does not tell its signature
    return Policy(name, policy)


def _from_text(text: str) -> Policy:
    name, _, seconds = text.partition(":")
    if name == "max_lag" and seconds:
        try:
            return max_lag(float(seconds))
        except ValueError:
            raise ValueError(f"{text!r}: max_lag takes seconds above 0, as in 'max_lag:2.5'") from None
    if text not in _NAMED:
        raise ValueError(f"unknown overflow policy {text!r}; accepted: {_ACCEPTED}")
    return _NAMED[text]
