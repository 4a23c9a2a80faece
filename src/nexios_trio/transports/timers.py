"""One task and one deadline heap for everything that is due some day: expiry, write deadlines, heartbeats."""

import logging
from collections.abc import Callable, Generator, Hashable
from contextlib import contextmanager
from itertools import islice
from math import inf
from typing import Final, Generic, TypeVar

import trio
from trio.lowlevel import checkpoint

from ..core.deadlines import Deadlines

__all__ = ["Timeouts", "Timer", "Timers", "do_nothing"]

K = TypeVar("K", bound=Hashable)

logger = logging.getLogger("nexios_trio.timers")

# docs/decisions/007
# A heartbeat's beat is due for hundreds of connections at once, and a ping takes some 50 microseconds. Other tasks wait
# for so many timers between two checkpoints, and for one more with every so many slices: all of them fire some day.
TIMERS_PER_SLICE: Final = 8
SLICES_PER_EXTRA_TIMER: Final = 4


def do_nothing(*_: object) -> None:
    """Stand for a callback whose owner is over: it is called by nobody, and refers to nobody."""


class Timer:
    """Something that can come due. Its owner keeps it to move or stop it."""

    __slots__ = ("callback", "is_due")

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback = callback
        self.is_due = False  # taken out of the heap, about to fire


class Timers:
    """Fires timers when their time has come: O(log n) for each, asleep in between.

    Concurrency: any number of tasks may `run` it (one per lifespan), and any number of others may have their tasks fire
    these timers too (`driven_by`); a timer fires in one of them.
    """

    def __init__(self) -> None:
        self._deadlines: Deadlines[Timer] = Deadlines()
        self._asleep_until = -inf
        self._sooner = trio.Event()
        self._drivers: dict[Timer, Timers] = {}  # a timer of each of those that fire ours

    def set(self, timer: Timer, when: float) -> None:
        """Fire at `when` (`trio.current_time()` seconds), and at no time set before."""
        timer.is_due = False
        self._deadlines.set(timer, when)
        if when < self._asleep_until:
            self._asleep_until = when
            self._sooner.set()
            for driver, other in self._drivers.items():
                other.set(driver, when)

    def stop(self, timer: Timer) -> None:
        """Let it not fire, unless it is set again."""
        timer.is_due = False
        self._deadlines.discard(timer)

    def retire(self, timer: Timer) -> None:
        """Stop it for good. It lets go of its owner, so that the two are no cycle for the collector to find."""
        self._deadlines.discard(timer)
        timer.callback = do_nothing

    def fire_due(self, now: float, most: float = inf) -> int:
        """Fire what is due, `most` timers at most; how many that were.

        One that another one's callback stops or moves stays silent.
        """
        due = self._deadlines.pop_due(now, most)
        if not due:
            return 0
        fired = 0
        for timer in due:
            timer.is_due = True
        for timer in due:
            if timer.is_due:
                timer.is_due = False
                fired += 1
                try:
                    timer.callback()
                except Exception:
                    logger.exception("a timer's callback failed")
        return fired

    @contextmanager
    def driven_by(self, other: "Timers") -> Generator[None]:
        """Have the tasks that run another one's timers fire these as well, in the block."""
        driver = Timer(self._fire_for_drivers)
        self._drivers[driver] = other
        self._asleep_until = self._deadlines.next()
        other.set(driver, self._asleep_until)
        try:
            yield
        finally:
            del self._drivers[driver]
            other.retire(driver)

    def _fire_for_drivers(self) -> None:
        """Fire a slice of what is due, as one timer of another's slice; what is left comes in the next."""
        self.fire_due(trio.current_time(), TIMERS_PER_SLICE)
        self._asleep_until = self._deadlines.next()
        for driver, other in self._drivers.items():
            other.set(driver, self._asleep_until)

    async def run(self) -> None:
        """Fire for ever. Cancellation: between two slices of what is due."""
        while True:
            if self._sooner.is_set():
                self._sooner = trio.Event()
            self._asleep_until = self._deadlines.next()
            with trio.move_on_at(self._asleep_until):
                await self._sooner.wait()
            now = trio.current_time()
            slices = 0
            while self._deadlines.next() <= now:
                self.fire_due(now, TIMERS_PER_SLICE + slices // SLICES_PER_EXTRA_TIMER)
                slices += 1
                await checkpoint()


class Timeouts(Generic[K]):
    """Keys that all have equally long: they come due in the order in which they began.

    So they wait in line, one timer in the heap for all of them, and a key that begins and ends in time costs a fifth of
    a timer that is set and stopped.

    Args:
        time_out: called with a key whose time is over.
    """

    def __init__(self, timers: Timers, seconds: float, time_out: Callable[[K], None]) -> None:
        self._timers = timers
        self._seconds = seconds
        self._time_out = time_out
        self._waiting: dict[K, float] = {}  # their deadlines, in order
        self._timer = Timer(self._fire)
        self._is_set = False

    def __len__(self) -> int:
        return len(self._waiting)

    def begin(self, key: K) -> None:
        """Let its time run from now on."""
        if self._seconds == inf:
            return
        self._waiting.pop(key, None)
        self._waiting[key] = when = trio.current_time() + self._seconds
        if not self._is_set:
            self._is_set = True
            self._timers.set(self._timer, when)

    def end(self, key: K) -> None:
        """Let it not time out. A no-op for one whose time does not run."""
        self._waiting.pop(key, None)

    def _fire(self) -> None:
        """Time out a slice of those that are due; the timer may be early, since whoever it was set for has ended."""
        now = trio.current_time()
        for key, when in [*islice(self._waiting.items(), TIMERS_PER_SLICE)]:
            if when > now:
                break
            if self._waiting.pop(key, None) is not None:
                try:
                    self._time_out(key)
                except Exception:
                    logger.exception("a timeout's callback failed")
        first = next(iter(self._waiting.values()), None)
        self._is_set = first is not None
        if first is not None:
            self._timers.set(self._timer, first)
