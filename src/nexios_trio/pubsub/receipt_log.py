"""Which publishes with a key there were: a retry is told what the first one was. Bounded in number, bytes and age."""

from collections import OrderedDict
from typing import Final, Generic, TypeVar

__all__ = ["RECEIPT_OVERHEAD_BYTES", "ReceiptLog"]

P = TypeVar("P")

RECEIPT_OVERHEAD_BYTES: Final = 500  # what one costs beside the two names


class ReceiptLog(Generic[P]):
    """(group, key) -> position, oldest first. Time is always an argument.

    Args:
        max_count: how many there are at most.
        max_bytes: of memory, for all of them.
        max_age: seconds for which one is remembered.
    """

    __slots__ = ("_max_age", "_max_bytes", "_max_count", "_rows", "bytes")

    def __init__(self, max_count: int, max_bytes: int, max_age: float) -> None:
        self._rows: OrderedDict[tuple[str, str], tuple[float, P]] = OrderedDict()  # (when it was added, position)
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._max_age = max_age
        self.bytes = 0  # of memory

    def __len__(self) -> int:
        return len(self._rows)

    def find(self, group: str, key: str, now: float) -> tuple[P] | None:
        """Return the position of the first publish of this key, in a tuple, since it may be None; or None."""
        row = self._rows.get((group, key))
        if row is None or now - row[0] >= self._max_age:
            return None
        return (row[1],)

    def add(self, group: str, key: str, position: P, now: float) -> None:
        """Remember it, and forget those that are too old or too many."""
        if self._rows.pop((group, key), None) is None:
            self.bytes += _cost(group, key)
        self._rows[group, key] = (now, position)
        while self._rows and self._is_over(now):
            (old_group, old_key), _ = self._rows.popitem(last=False)
            self.bytes -= _cost(old_group, old_key)

    def _is_over(self, now: float) -> bool:
        oldest, _ = next(iter(self._rows.values()))
        return now - oldest >= self._max_age or len(self._rows) > self._max_count or self.bytes > self._max_bytes


def _cost(group: str, key: str) -> int:
    return RECEIPT_OVERHEAD_BYTES + len(group) + 4 * len(key)  # a key may have any characters
