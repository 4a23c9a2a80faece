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

__all__ = ["THRESHOLDS", "connection_came", "request_came", "tuned_collector"]

# docs/decisions/004
# Allocations before a young collection; young collections before a middle one; middle ones before a full one.
THRESHOLDS: Final = (2_500, 0, 10_000)
YOUNG: Final = 8  # connections, of some hundred objects each: about a millisecond
OLD: Final = 1000  # connections or requests of a server that leaves cycles
SHARE: Final = 25  # times as long as a full collection took, until the next


class _Tuning:
    """How many applications want it, and what was before."""

    users = 0
    before: tuple[int, int, int] | None = None  # None: there was nothing to do
    is_tidy = False  # the server's connections leave no cycles behind
    connections = 0  # that have come
    untidy = 0  # connections and requests since everything was looked at
    rest_until = 0.0  # time.monotonic(), from which on it may be again


@contextmanager
def tuned_collector(enabled: bool = True, *, is_tidy: bool = False) -> Generator[None]:
    """Keep the collector tuned inside the block. `is_tidy`: the server's connections leave no cycles behind."""
    if not enabled:
        yield
        return
    if _Tuning.users == 0:
        _tune(is_tidy)
    _Tuning.users += 1
    try:
        yield
    finally:
        _Tuning.users -= 1
        if _Tuning.users == 0:
            _restore()


def connection_came() -> None:
    """To be called for every new WebSocket; a no-op unless the collector is tuned."""
    if _Tuning.before is not None:
        _Tuning.connections += 1
        if _Tuning.connections % YOUNG == 0:
            gc.collect(1)
        request_came()


def request_came() -> None:
    """The same for every HTTP request, of which many may come on one connection."""
    if _Tuning.before is None or _Tuning.is_tidy:
        return
    _Tuning.untidy += 1
    if _Tuning.untidy >= OLD and (begun := time.monotonic()) >= _Tuning.rest_until:
        gc.collect()
        ended = time.monotonic()
        _Tuning.untidy = 0
        _Tuning.rest_until = ended + SHARE * (ended - begun)


def _tune(is_tidy: bool) -> None:
    present = gc.get_threshold()
    if gc.isenabled() and 0 < present[0] < THRESHOLDS[0]:
        _Tuning.before = present
        _Tuning.is_tidy = is_tidy
        gc.set_threshold(*THRESHOLDS)
        gc.freeze()


def _restore() -> None:
    if _Tuning.before is not None:
        gc.unfreeze()
        gc.set_threshold(*_Tuning.before)
        _Tuning.before = None
