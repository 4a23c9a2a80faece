"""The garbage collector's tuning, for a process that holds thousands of connections.

Python's cyclic collector looks through young objects after every 700 allocations, and through everything it knows
after some 70,000. A server makes and drops objects all the time and keeps thousands of long-lived ones, which it would
be scanned for again and again: up to two thirds of a broadcast's time. So while an application runs

- the objects that exist once it has started (modules, classes, routes) are frozen: never looked at again;
- young objects are collected after every 50,000 allocations. What is not in a cycle is freed at once, as ever;
- a middle collection never has more than some 250,000 objects to look at. It costs the same whenever it comes, but
  everybody waits for it: with a million, as when ten thousand connections have come, for a second on a busy machine.

`Settings(gc_tuning=False)`, or ``NEXIOS_GC_TUNING=no``, leaves the collector alone. So does a program that has turned
it off, or has higher thresholds. Process-wide state, hence the count: the last application to stop restores what the
first one found.
"""

import gc
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

__all__ = ["THRESHOLDS", "tuned_collector"]

# Allocations before a young collection; young collections before a middle one; middle ones before a full one.
THRESHOLDS: Final = (50_000, 4, 250)


class _Tuning:
    """How many applications want it, and what was before."""

    users = 0
    before: tuple[int, int, int] | None = None  # None: there was nothing to do


@contextmanager
def tuned_collector(enabled: bool = True) -> Generator[None]:
    """Keep the collector tuned inside the block."""
    if not enabled:
        yield
        return
    if _Tuning.users == 0:
        _tune()
    _Tuning.users += 1
    try:
        yield
    finally:
        _Tuning.users -= 1
        if _Tuning.users == 0:
            _restore()


def _tune() -> None:
    present = gc.get_threshold()
    if gc.isenabled() and 0 < present[0] < THRESHOLDS[0]:
        _Tuning.before = present
        gc.set_threshold(*THRESHOLDS)
        gc.freeze()


def _restore() -> None:
    if _Tuning.before is not None:
        gc.unfreeze()
        gc.set_threshold(*_Tuning.before)
        _Tuning.before = None
