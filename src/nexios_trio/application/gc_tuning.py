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
- everything is looked at, for which everybody waits, a second with ten thousand connections, after 25 million more
  allocations than deallocations: hardly ever. Connections of our own servers leave nothing that only this would find.
  Those of other servers do (hypercorn's are cycles: some KiB each, 23 with TLS), so there it is done for every thousand
  connections or requests as well, and takes 4 % of the time at most.

`Settings(gc_tuning=False)`, or ``NEXIOS_GC_TUNING=no``, leaves the collector alone. So does a program that has turned
it off, or has higher thresholds. Process-wide state, hence the count: the last application to stop restores what the
first one found.
"""

import gc
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

__all__ = ["THRESHOLDS", "count_connection", "count_request", "tuned_collector"]

# docs/decisions/004
# Allocations before a young collection; young collections before a middle one; middle ones before a full one.
THRESHOLDS: Final = (2_500, 0, 10_000)
CONNECTIONS_PER_YOUNG_COLLECTION: Final = 8  # of some hundred objects each: about a millisecond
CONNECTIONS_PER_FULL_COLLECTION: Final = 1000  # or requests, of a server that leaves cycles
REST_PER_FULL_COLLECTION: Final = 25  # times as long as a full collection took, until the next


class _Tuning:
    """The state of the process: how many applications want it, and what was before."""

    users = 0
    before: tuple[int, int, int] | None = None  # None: there was nothing to do
    leaves_no_cycles = False  # the server's connections leave no cycles behind
    connections = 0  # that have come
    cyclic = 0  # connections and requests since everything was looked at
    next_full_at = 0.0  # time.monotonic(), from which on it may be again


@contextmanager
def tuned_collector(enabled: bool = True, *, leaves_no_cycles: bool = False) -> Generator[None]:
    """Keep the collector tuned inside the block.

    Args:
        leaves_no_cycles: what is true of our own server's connections.
    """
    if not enabled:
        yield
        return
    if _Tuning.users == 0:
        _tune(leaves_no_cycles)
    _Tuning.users += 1
    try:
        yield
    finally:
        _Tuning.users -= 1
        if _Tuning.users == 0:
            _restore()


def count_connection() -> None:
    """Count a new WebSocket, and collect when it is time to. A no-op unless the collector is tuned."""
    if _Tuning.before is not None:
        _Tuning.connections += 1
        if _Tuning.connections % CONNECTIONS_PER_YOUNG_COLLECTION == 0:
            gc.collect(1)
        count_request()


def count_request() -> None:
    """Count an HTTP request, of which many may come on one connection, and collect when it is time to."""
    if _Tuning.before is None or _Tuning.leaves_no_cycles:
        return
    _Tuning.cyclic += 1
    if _Tuning.cyclic >= CONNECTIONS_PER_FULL_COLLECTION and (begun := time.monotonic()) >= _Tuning.next_full_at:
        gc.collect()
        ended = time.monotonic()
        _Tuning.cyclic = 0
        _Tuning.next_full_at = ended + REST_PER_FULL_COLLECTION * (ended - begun)


def _tune(leaves_no_cycles: bool) -> None:
    present = gc.get_threshold()
    if gc.isenabled() and 0 < present[0] < THRESHOLDS[0]:
        _Tuning.before = present
        _Tuning.leaves_no_cycles = leaves_no_cycles
        gc.set_threshold(*THRESHOLDS)
        gc.freeze()


def _restore() -> None:
    if _Tuning.before is not None:
        gc.unfreeze()
        gc.set_threshold(*_Tuning.before)
        _Tuning.before = None
