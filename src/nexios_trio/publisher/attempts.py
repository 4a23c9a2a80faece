"""How often something is tried, how long it may take, and what is known when it has failed."""

import random
from collections.abc import Callable
from typing import Any, Final

import attrs

from ..engines.base import RECEIPT_SECONDS
from ..exceptions import PublishError
from .messages import PublishReceipt, Refusal

__all__ = ["Attempts", "Patience"]

FIRST_PAUSE_SECONDS: Final = 0.1  # at most, before the second attempt; twice that before each further one
MAX_PAUSE_SECONDS: Final = 3.0


def _check_deadline(_: Any, __: Any, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < RECEIPT_SECONDS:
        raise ValueError(
            f"deadline is more than 0 and less than {RECEIPT_SECONDS:g} seconds, for which keys are remembered,"
            f" not {value!r}"
        )


def _check_attempt_timeout(_: Any, __: Any, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ValueError(f"attempt_timeout is more than 0 seconds, not {value!r}")


@attrs.frozen
class Patience:
    """Seconds that one call may take, and one attempt of it. Raises: ValueError."""

    deadline: float = attrs.field(validator=_check_deadline)
    attempt_timeout: float = attrs.field(validator=_check_attempt_timeout)


@attrs.define
class Attempts:
    """Those of one request. Time is always an argument, of any clock.

    Args:
        until: when they have to be over.
        where: the address, for errors.
        key: of the message, for errors; None for a batch.
        before: receipts of messages of the same batch that are published.
        draw: gives a number between two.
    """

    patience: Patience
    until: float
    where: str
    key: str | None
    before: tuple[PublishReceipt, ...] = ()
    draw: Callable[[float, float], float] = random.uniform
    _count: int = 0
    _last: str = ""  # why the last one failed
    _maybe_published: bool = False

    def seconds(self, now: float) -> float:
        """Return how long the next attempt may take."""
        return max(min(self.patience.attempt_timeout, self.until - now), 0.0)

    def pause(self, failed: Refusal, now: float) -> float:
        """Return how long to wait before the next attempt. Raises: PublishError when there is to be none."""
        self._maybe_published |= failed.maybe_published
        before = f"; the one before: {self._last}" if self._last not in ("", failed.text) else ""
        self._last = failed.text
        most = min(FIRST_PAUSE_SECONDS * 2**self._count, MAX_PAUSE_SECONDS)
        self._count += 1
        pause = failed.pause + self.draw(most / 2, most)
        if failed.may_help and now + pause < self.until:
            return pause
        tried = "" if self._count == 1 else f" ({self._count} attempts{before})"
        raise PublishError(
            f"{self.where}: {failed.text}{tried}",
            maybe_published=self._maybe_published,
            status=failed.status,
            key=self.key,
            receipts=(*self.before, *failed.receipts),
        )
