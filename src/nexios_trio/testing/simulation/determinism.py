"""The same run for the same seed. Besides `deadlock`, the only place that touches what trio does not offer in public.

Trio runs the tasks that are ready in an order drawn from a generator of its own, and sorts them first only where
`_ALLOW_DETERMINISTIC_SCHEDULING` is set, as its Hypothesis plugin and pytest-trio do. Both names are private; they have
been where they are since trio 0.10, and the day in `tests/testing` differs from run to run when they move.

Not covered: sets of `str` iterate by a hash that changes between processes unless `PYTHONHASHSEED` is set.
"""

import os
import random
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import trio
import trio.testing
from trio._core import _run as _scheduler

from .deadlock import MAX_PASSES, DeadlockDetector

__all__ = ["EPOCH_SECONDS", "deterministic", "frozen_world", "jump_ahead", "run"]

T = TypeVar("T")

EPOCH_SECONDS = 1_767_225_600.0  # 2026-01-01 00:00 UTC: the wall clock's beginning in a virtual world

_VARIABLE = "_ALLOW_DETERMINISTIC_SCHEDULING"


@contextmanager
def deterministic(seed: int) -> Generator[None]:
    """Make trio's order of tasks, and the `random` module, depend on `seed` alone, for the length of the block."""
    chance: random.Random = _scheduler._r
    before = getattr(_scheduler, _VARIABLE), chance.getstate(), random.getstate()
    setattr(_scheduler, _VARIABLE, True)
    chance.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        setattr(_scheduler, _VARIABLE, before[0])
        chance.setstate(before[1])
        random.setstate(before[2])


@contextmanager
def frozen_world(seed: int) -> Generator[None]:
    """Inside a run on a virtual clock: `time.time()` follows that clock, and UUIDs depend on `seed`.

    What was imported by name before (`from time import time`), and `datetime.now()`, still tell the real time.
    """
    begin = trio.current_time()
    clock = trio.lowlevel.current_clock()
    chance = random.Random(seed)
    before = time.time, os.urandom
    time.time = lambda: EPOCH_SECONDS + clock.current_time() - begin
    os.urandom = chance.randbytes
    try:
        yield
    finally:
        time.time, os.urandom = before


def jump_ahead(mode: str) -> None:
    """Let the run's virtual clock jump to the next deadline as soon as every task waits.

    Raises: RuntimeError when the run is on a real clock.
    """
    if mode != "autojump":
        raise ValueError(f"clock must be 'autojump' or None, not {mode!r}")
    clock = trio.lowlevel.current_clock()
    if not isinstance(clock, trio.testing.MockClock):
        raise RuntimeError(  # noqa: TRY004 - not an argument
            "a World needs a run on a virtual clock: use the fixture `autojump_clock` (or `world`), or"
            " nexios_trio.testing.run(function, seed=...); World(clock=None) runs in real time"
        )
    clock.autojump_threshold = 0


def run(
    function: Callable[..., Awaitable[T]],
    *args: Any,
    seed: int = 0,
    clock: trio.abc.Clock | None = None,
    instruments: Sequence[trio.abc.Instrument] = (),
) -> T:
    """`trio.run` in virtual time, in the order of tasks that belongs to `seed`.

    Args:
        clock: by default one that jumps to the next deadline as soon as every task waits.
    Raises: what the function raises; Stuck when virtual time cannot pass any more.
    """
    virtual = trio.testing.MockClock(autojump_threshold=0) if clock is None else clock
    detector = DeadlockDetector(quiet=MAX_PASSES)
    with deterministic(seed), detector.enforced():
        return trio.run(detector.watch, function, *args, clock=virtual, instruments=[*instruments, detector])
