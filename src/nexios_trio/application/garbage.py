"""The garbage collector's tuning, for a process that holds thousands of connections.

Python's cyclic collector looks through young objects after every 700 allocations, and through everything it knows
after some 70,000. A server makes and drops objects all the time and keeps thousands of long-lived ones, which it would
be scanned for again and again: up to two thirds of a broadcast's time. So while an application runs

- the objects that exist once it has started (modules, classes, routes) are frozen: never looked at again;
- young objects are collected after every 2,500 allocations, and once more with the next 2,500: a history that grows
  makes small pauses. What is not in a cycle is freed at once, as ever;
- and, which comes first where clients come and go, whenever 8 connections have come. The collector counts what was
  made less what was dropped, so while new connections take the place of old ones it would see nothing to do, and then
  hundreds of thousands of young objects at once, with everybody waiting for a quarter of a second;
- everything is looked at when 80,000 connections have come, at the earliest: with ten thousand of them open, everybody
  waits for that for a second.

`Settings(gc_tuning=False)`, or ``NEXIOS_GC_TUNING=no``, leaves the collector alone. So does a program that has turned
it off, or has higher thresholds. Process-wide state, hence the count: the last application to stop restores what the
first one found.
"""

import gc
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

__all__ = ["THRESHOLDS", "connection_came", "tuned_collector"]

# Allocations before a young collection; young collections before a middle one; middle ones before a full one.
THRESHOLDS: Final = (2_500, 0, 10_000)
YOUNG: Final = 8  # connections, of some hundred objects each: about a millisecond


class _Tuning:
    """How many applications want it, and what was before."""

    users = 0
    before: tuple[int, int, int] | None = None  # None: there was nothing to do
    connections = 0  # that have come


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


def connection_came() -> None:
    """To be called for every new connection; a no-op unless the collector is tuned."""
    if _Tuning.before is not None:
        _Tuning.connections += 1
        if _Tuning.connections % YOUNG == 0:
            gc.collect(1)


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
