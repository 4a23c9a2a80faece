"""What happened in a virtual world, in order: for people to read, and as a hash to compare two runs by."""

import gc
from collections import deque
from collections.abc import Callable
from hashlib import blake2b

__all__ = ["Timeline"]

KEPT_ENTRIES = 5000  # entries; all of them are in the hash
SHOWN_ENTRIES = 60
ENTRIES_PER_COLLECTION = 50_000  # a run without pauses would pile up cycles


class Timeline:
    """Who did what when. The hash covers every entry, the text the latest."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._digest = blake2b(digest_size=16)
        self._entries: deque[tuple[float, str, str, object]] = deque(maxlen=KEPT_ENTRIES)
        self.count = 0

    def note(self, who: str, what: str, data: object = None) -> None:
        """Add an entry. `data` must have a `repr` that depends on nothing but its value."""
        now = round(self._now(), 6)
        self.count += 1
        self._entries.append((now, who, what, data))
        self._digest.update(f"{now!r} {who} {what} {data!r}\n".encode("utf-8", "backslashreplace"))
        if self.count % ENTRIES_PER_COLLECTION == 0:
            gc.collect()

    @property
    def hash(self) -> str:
        """32 hexadecimal digits: equal for two runs in which the same things happened at the same times."""
        return self._digest.hexdigest()

    def text(self, last: int = SHOWN_ENTRIES, who: str | None = None) -> str:
        """The `last` entries, one a line, of everybody or of one."""
        rows = [row for row in self._entries if who is None or row[1] == who][-last:]
        width = max((len(name) for _, name, _, _ in rows), default=0)
        return "\n".join(_line(row, width) for row in rows)


def _line(row: tuple[float, str, str, object], width: int) -> str:
    when, who, what, data = row
    minutes, seconds = divmod(when, 60)
    hours, minutes = divmod(int(minutes), 60)
    shown = "" if data is None else f" {data!r}"
    shown = shown if len(shown) <= 100 else f"{shown[:100]}..."
    return f"  {hours:02}:{minutes:02}:{seconds:09.6f}  {who:{width}}  {what}{shown}"
