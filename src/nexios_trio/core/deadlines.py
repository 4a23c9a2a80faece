"""Deadlines of many keys: which are due, and when to look again.

Theory of operation. `_records` holds the truth: one record per live key. `_heap` holds *alarms*
``[when, order, key]``. A key relies on at most one alarm, its record's `row`; all others are stale and are
skipped when they surface. A stale alarm has `_GONE` in place of its key: it keeps nothing alive.

- A deadline that moves later changes the record only: its alarm rings too early, and is then set again.
- A deadline that moves earlier gets a new alarm, and the old one becomes stale.
- A discarded key leaves a stale alarm behind.
- A deadline of ``inf`` never comes due and needs no alarm.

Invariants: a record with a finite deadline relies on an alarm in the heap that rings no later than the
deadline; ``len(_heap) <= 2 * len(_records) + slack``. `order` is unique, so two keys are never compared, and
equal deadlines come due in the order in which they were set.
"""

from collections.abc import Hashable
from heapq import heapify, heappop, heappush
from math import inf, isnan
from typing import Any, ClassVar, Final, Generic, TypeVar

__all__ = ["Deadlines"]

K = TypeVar("K", bound=Hashable)

_NO_ALARM: Final = -1
_GONE: Final[Any] = object()


class _Record:
    __slots__ = ("alarm", "order", "rings", "row", "when")

    def __init__(self, when: float, order: int) -> None:
        self.when = when  # the deadline
        self.order = order  # of the last set()
        self.alarm = _NO_ALARM  # order of the alarm relied on
        self.rings = inf  # when that alarm rings
        self.row: list[Any] | None = None  # that alarm


class Deadlines(Generic[K]):
    """Keys with a deadline each, in any unit of one clock. Moving a deadline later is O(1), all else O(log n)
    amortised; memory is proportional to the live keys.
    """

    __slots__ = ("_heap", "_order", "_records")

    slack: ClassVar[int] = 64  # stale alarms that are not worth a rebuild

    def __init__(self) -> None:
        self._records: dict[K, _Record] = {}
        self._heap: list[list[Any]] = []
        self._order = 0

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, key: object) -> bool:
        return key in self._records

    def get(self, key: K) -> float | None:
        """The deadline of `key`, or ``None`` if it has none."""
        record = self._records.get(key)
        return None if record is None else record.when

    def set(self, key: K, when: float) -> None:
        """Give `key` the deadline `when`, in place of any earlier one. ``inf`` means never.

        Raises:
            ValueError: `when` is not a number; nothing was changed.
        """
        if isnan(when):
            raise ValueError("a deadline is a number of seconds or inf, not nan")
        self._order = order = self._order + 1
        record = self._records.get(key)
        if record is None:
            record = self._records[key] = _Record(when, order)
        else:
            record.when = when
            record.order = order
        if when < record.rings:
            self._arm(key, record)
            if len(self._heap) > 2 * len(self._records) + self.slack:
                self._compact()

    def discard(self, key: K) -> bool:
        """Forget `key`. Returns whether it had a deadline."""
        record = self._records.pop(key, None)
        if record is None:
            return False
        if record.row is not None:
            record.row[2] = _GONE
        if len(self._heap) > 2 * len(self._records) + self.slack:
            self._compact()
        return True

    def clear(self) -> None:
        """Forget every key."""
        self._records.clear()
        self._heap.clear()

    def pop_due(self, now: float, most: float = inf) -> list[K]:
        """Remove and return the keys whose deadline is at or before `now`, earliest first; `most` of them at most."""
        due: list[K] = []
        while len(due) < most and self.next() <= now and self._heap:
            key = heappop(self._heap)[2]
            del self._records[key]
            due.append(key)
        return due

    def next(self) -> float:
        """The earliest deadline, ``inf`` if there is none to wait for."""
        heap = self._heap
        while heap:
            rings, order, key = heap[0]
            if key is _GONE:
                heappop(heap)  # stale
                continue
            record = self._records[key]
            if record.order != order:  # moved since: set the alarm again, at its time and in its turn
                heappop(heap)
                self._arm(key, record)
            else:
                return float(rings)
        return inf

    def _arm(self, key: K, record: _Record) -> None:
        if record.row is not None:
            self._disarm(record)
        record.rings = record.when
        if record.when < inf:
            record.alarm = record.order
            record.row = [record.when, record.order, key]
            heappush(self._heap, record.row)

    def _disarm(self, record: _Record) -> None:
        record.alarm = _NO_ALARM
        if record.row is not None:
            record.row[2] = _GONE
            record.row = None

    def _compact(self) -> None:
        """Rebuild the heap without its stale alarms."""
        self._heap.clear()
        for key, record in self._records.items():
            self._disarm(record)
            record.rings = record.when
            if record.when < inf:
                record.alarm = record.order
                record.row = [record.when, record.order, key]
                self._heap.append(record.row)
        heapify(self._heap)
