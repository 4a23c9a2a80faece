"""How many connections each worker has, in memory that all of them share.

    slot of a worker   accepting                connections   looks
                       on how many sockets      now           how often it has looked for a connection, ever

A worker writes to its own slot alone, so nothing is locked. The parent gives slots out, and clears that of a worker
that has ended. A worker that stands still, or was killed and is not cleared yet, does not look: the others notice that
by the number of its looks, and go on without it until that changes.
"""

import mmap
import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

__all__ = ["WorkerLoad", "WorkerLoads"]

SLOT_NUMBERS: Final = 8  # of 8 bytes each: a cache line
IS_ACCEPTING: Final = 0
CONNECTIONS: Final = 1
LOOKS: Final = 2


class WorkerLoads:
    """All slots. Owned by the parent; `descriptor` is for its workers.

    Args:
        slots: workers at once, at most, also those that are about to end.
    """

    def __init__(self, slots: int) -> None:
        self.descriptor = _shared_memory()
        os.ftruncate(self.descriptor, slots * SLOT_NUMBERS * 8)
        self._numbers = _numbers_in(self.descriptor)
        self._free = list(range(slots))

    def take_slot(self) -> int:
        return self._free.pop(0)

    def give_slot_back(self, slot: int) -> None:
        """Forget what a worker that has ended said."""
        self._numbers[slot * SLOT_NUMBERS : (slot + 1) * SLOT_NUMBERS] = memoryview(bytes(SLOT_NUMBERS * 8)).cast("q")
        self._free.append(slot)

    def close(self) -> None:
        os.close(self.descriptor)


class WorkerLoad:
    """A worker's slot, and what it sees of the others'.

    Args:
        descriptor: of the parent's `WorkerLoads`. It may be closed afterwards.
    """

    def __init__(self, descriptor: int, slot: int) -> None:
        self._numbers = _numbers_in(descriptor)
        self._own = slot * SLOT_NUMBERS
        self._others = [at for at in range(0, len(self._numbers), SLOT_NUMBERS) if at != self._own]
        self._idle: dict[int, int] = {}  # who stands still -> its looks then

    def count(self, connections: int) -> None:
        """Tell how many connections this worker has."""
        self._numbers[self._own + CONNECTIONS] = connections

    def look(self) -> None:
        """Tell that this worker has looked for a connection."""
        self._numbers[self._own + LOOKS] += 1

    @contextmanager
    def accepting(self) -> Generator[None]:
        """Take part in the block, once for each listening socket: before and after it nobody waits for this worker."""
        self._numbers[self._own + IS_ACCEPTING] += 1
        try:
            yield
        finally:
            self._numbers[self._own + IS_ACCEPTING] -= 1

    def lead(self) -> int:
        """Return how many connections this worker has more than any one of the others; those that stand still aside."""
        numbers, idle = self._numbers, self._idle
        own = least = numbers[self._own + CONNECTIONS]
        for at in self._others:
            if (
                numbers[at + IS_ACCEPTING]
                and numbers[at + CONNECTIONS] < least
                and not (idle and idle.get(at) == numbers[at + LOOKS])
            ):
                least = numbers[at + CONNECTIONS]
        return own - least

    def looks(self) -> dict[int, int]:
        """Return how often each of the others has looked, for `overlook`."""
        return {at: self._numbers[at + LOOKS] for at in self._others}

    def overlook(self, looks: dict[int, int]) -> None:
        """Do without those that have not looked since, although there was something to see."""
        self._idle = {at: seen for at, seen in looks.items() if self._numbers[at + LOOKS] == seen}


def _shared_memory() -> int:
    """Return a descriptor of memory, or of a file that nobody can name where there is no such thing."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("nexios-trio worker loads")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _numbers_in(descriptor: int) -> memoryview:
    return memoryview(mmap.mmap(descriptor, 0)).cast("q")
