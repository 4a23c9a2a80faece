"""The bounded history of one group.

Theory of operation. `_rows` holds saved messages, oldest first, each with the time at which it was saved. It is a
list, so that a page from its middle costs what is in the page. What is dropped is None until half of the list is:
`_first` is the place of the oldest message.
Three bounds apply: bytes (checked when a message is saved, with the bound given then, since it may change
between two saves), a number of messages, and an age. Over its number or age, a history drops its oldest
messages. Over its bytes it does what its overflow mode says: "clear" drops everything before the newest,
"trim" as many of the oldest as it takes. A message that is larger than the bound by itself is not kept, and
neither is anything older.

Offsets number the messages of a group, 1, 2, 3, ... `top` is the last one seen, `floor` the smallest offset
from which everything up to the top is here. A peer that has seen everything up to offset n missed nothing
that we cannot give exactly if ``floor - 1 <= n <= top``; otherwise there is a gap, and it must be told.

Invariants: offsets rise strictly, ``bytes`` and ``cost`` are sums over the rows, no row is below
``floor`` unless a hole lies between them, ``floor <= top + 1``.
"""

from bisect import bisect_right
from collections.abc import Iterator
from enum import Enum
from math import inf, isnan
from operator import itemgetter
from typing import Any, Final, Generic, Protocol, TypeVar

import attrs

__all__ = ["DEFAULT_MAX_BYTES", "History", "HistoryLimits", "HistoryOverflow", "Saved"]

DEFAULT_MAX_BYTES: Final = 1_048_576
MIN_DROPPED: Final = 64  # before the list is shortened

_DROPPED: Final[Any] = None  # in place of a row
_offset_of: Final = itemgetter(1)  # a row


class HasOffset(Protocol):
    """A position, as far as a history is concerned."""

    @property
    def offset(self) -> int: ...


class Saved(Protocol):
    """What a history keeps: `size` is the bytes of the serialized message, `cost` those of memory that it takes;
    `position` must be set.
    """

    @property
    def size(self) -> int: ...

    @property
    def cost(self) -> int: ...

    @property
    def position(self) -> HasOffset | None: ...


class HistoryOverflow(str, Enum):
    """What happens when the bytes are over the bound."""

    CLEAR = "clear"
    TRIM = "trim"


def _check_bytes(_: object, __: object, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"history_bytes is a number of bytes from 0, not {value!r}")


def _check_messages(_: object, __: object, value: Any) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ValueError(f"history limit is at least 1 message, or None, not {value!r}")


def _check_age(_: object, __: object, value: Any) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and not isnan(value)
    if value is not None and (not is_number or value <= 0):
        raise ValueError(f"history ttl is a number of seconds above 0, or None, not {value!r}")


def _check_overflow(_: object, __: object, value: Any) -> None:
    if value not in ("clear", "trim"):
        raise ValueError(f"history overflow is 'clear' or 'trim', not {value!r}")


@attrs.frozen
class HistoryLimits:
    """How much history one group keeps.

    Args:
        max_bytes: of serialized messages, at least 0.
        max_messages: at least 1; None for no bound.
        max_age: seconds for which a message is kept, above 0; None for no bound.
        overflow: "clear" (all but the newest goes) or "trim" (the oldest go) when over the bytes.
    Raises: ValueError.
    """

    max_bytes: int = attrs.field(default=DEFAULT_MAX_BYTES, validator=_check_bytes)
    max_messages: int | None = attrs.field(default=None, validator=_check_messages)
    max_age: float | None = attrs.field(default=None, validator=_check_age)
    overflow: str = attrs.field(default="clear", validator=_check_overflow)


E = TypeVar("E", bound=Saved)


class History(Generic[E]):
    """Saved messages of one group within bounds of bytes, number and age. Time is always an argument."""

    __slots__ = ("_first", "_limits", "_rows", "bytes", "cost", "floor", "top")

    def __init__(self, limits: HistoryLimits) -> None:
        self._limits = limits
        self._rows: list[tuple[float, int, E]] = []  # (saved, offset, entry)
        self._first = 0  # where the oldest one is
        self.bytes = 0  # of the serialized messages
        self.cost = 0  # in bytes of memory
        self.top = 0
        self.floor = 1

    def __len__(self) -> int:
        return len(self._rows) - self._first

    def __iter__(self) -> Iterator[E]:
        return iter([entry for _, _, entry in self._rows[self._first :]])

    def append(self, entry: E, now: float, limits: HistoryLimits | None = None) -> int:
        """Save `entry`, whose offset is above every earlier one. Returns how many messages were dropped,
        `entry` itself included if it was too large to keep.

        Args:
            now: the time of saving, on the clock of all other calls.
            limits: that hold from now on; None for those that hold already.
        """
        position = entry.position
        if position is None or position.offset <= self.top:
            raise ValueError(f"a saved message has a position above offset {self.top}, not {position}")
        if limits is not None:
            self._limits = limits
        self._advance(position.offset)
        self._rows.append((now, position.offset, entry))
        self.bytes += entry.size
        self.cost += entry.cost
        return self.expire(now) + self._fit()

    def skip(self, offset: int) -> None:
        """Note that the message `offset` exists but is not saved here; who has not seen it has a gap."""
        if offset > self.top:
            self.top = offset
            self.floor = offset + 1

    def since(
        self, offset: int, now: float | None = None, *, limit: int | None = None, max_bytes: int | None = None
    ) -> tuple[list[E], bool]:
        """The messages after `offset`, and whether everything that was missed is here.

        Args:
            now: messages too old at this time are dropped first; ``None`` to leave them.
            limit: only so many, the oldest of them.
            max_bytes: only so many as have so many bytes, one at least.
        """
        if now is not None:
            self.expire(now)
        first = bisect_right(self._rows, offset, self._first, key=_offset_of)
        last = len(self._rows) if limit is None else min(first + limit, len(self._rows))
        if max_bytes is not None:
            last = self._within(max_bytes, first, last)
        return [entry for _, _, entry in self._rows[first:last]], self.floor - 1 <= offset <= self.top

    def _within(self, max_bytes: int, first: int, last: int) -> int:
        """Return up to where the rows between two places have so many bytes."""
        for place in range(first, last):
            max_bytes -= self._rows[place][2].size
            if max_bytes < 0:
                return max(place, first + 1)
        return last

    def has_any(self, now: float) -> bool:
        """Tell whether a message is here that is not too old."""
        self.expire(now)
        return self._first < len(self._rows)

    def has_after(self, offset: int) -> bool:
        """Tell whether a message after `offset` is here."""
        return self._first < len(self._rows) and self._rows[-1][1] > offset

    def snapshot(self, now: float | None = None) -> list[E]:
        """A new list of all messages, oldest first; `now` as for `since`."""
        if now is not None:
            self.expire(now)
        return list(self)

    def expire(self, now: float) -> int:
        """Drop what is `max_age` seconds old or older at `now`. Returns how many messages that were."""
        count = 0
        ttl = inf if self._limits.max_age is None else self._limits.max_age
        while self._first < len(self._rows) and now - self._rows[self._first][0] >= ttl:
            self._drop_oldest()
            count += 1
        return count

    def clear(self) -> int:
        """Drop everything; offsets go on. Returns how many messages there were."""
        count = len(self)
        self._rows.clear()
        self._first = 0
        self.bytes = self.cost = 0
        self.floor = self.top + 1
        return count

    def _fit(self) -> int:
        limits = self._limits
        count = 0
        while limits.max_messages is not None and len(self._rows) - self._first > limits.max_messages:
            self._drop_oldest()
            count += 1
        if self.bytes > limits.max_bytes and limits.overflow == HistoryOverflow.CLEAR:
            while len(self) > 1:
                self._drop_oldest()
                count += 1
        while self.bytes > limits.max_bytes:
            self._drop_oldest()
            count += 1
        return count

    def _advance(self, offset: int) -> None:
        if offset != self.top + 1:
            self.floor = offset  # a hole before this one
        self.top = offset

    def _drop_oldest(self) -> None:
        _, offset, entry = self._rows[self._first]
        self._rows[self._first] = _DROPPED
        self._first += 1
        if self._first >= MIN_DROPPED and self._first * 2 >= len(self._rows):
            del self._rows[: self._first]
            self._first = 0
        self.bytes -= entry.size
        self.cost -= entry.cost
        self.floor = max(self.floor, offset + 1)
