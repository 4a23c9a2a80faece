"""One task and one deadline heap for everything that is due some day: expiry, write deadlines, heartbeats."""

import logging
from collections.abc import Callable
from math import inf

import trio
from trio.lowlevel import checkpoint

from ..core.deadlines import Deadlines

logger = logging.getLogger("nexios_trio.sweeper")

# A heartbeat's beat is due for hundreds of connections at once, and a ping takes some 50 microseconds. Others wait for
# so many alarms between two checkpoints, and for one more with every so many slices: whatever is due is rung some day.
SLICE = 8
PATIENCE = 4


class Alarm:
    """Something that can come due. Its owner keeps it to move or stop it."""

    __slots__ = ("is_due", "ring")

    def __init__(self, ring: Callable[[], None]) -> None:
        self.ring = ring
        self.is_due = False  # taken out of the heap, about to ring


class Sweeper:
    """Rings alarms when their time has come: O(log n) an event, asleep in between.

    Concurrency: any number of tasks may `run` it (one per lifespan); an alarm rings in one of them.
    """

    def __init__(self) -> None:
        self._deadlines: Deadlines[Alarm] = Deadlines()
        self._asleep_until = -inf
        self._sooner = trio.Event()

    def set(self, alarm: Alarm, when: float) -> None:
        """Ring at `when` (`trio.current_time()` seconds), and at no time set before."""
        alarm.is_due = False
        self._deadlines.set(alarm, when)
        if when < self._asleep_until:
            self._sooner.set()

    def stop(self, alarm: Alarm) -> None:
        alarm.is_due = False
        self._deadlines.discard(alarm)

    def retire(self, alarm: Alarm) -> None:
        """Stop it for good. It lets go of its owner, so that the two are no cycle for the collector to find."""
        self.stop(alarm)
        alarm.ring = _nothing

    def sweep(self, now: float, most: float = inf) -> int:
        """Ring what is due, `most` alarms at most; how many that were.

        One that another one's owner stops or moves stays silent.
        """
        due = self._deadlines.pop_due(now, most)
        if not due:
            return 0
        rung = 0
        for alarm in due:
            alarm.is_due = True
        for alarm in due:
            if alarm.is_due:
                alarm.is_due = False
                rung += 1
                try:
                    alarm.ring()
                except Exception:
                    logger.exception("an alarm's owner failed")
        return rung

    async def run(self) -> None:
        """Sweep for ever. Cancellation: between two slices of what is due."""
        while True:
            if self._sooner.is_set():
                self._sooner = trio.Event()
            self._asleep_until = self._deadlines.next()
            with trio.move_on_at(self._asleep_until):
                await self._sooner.wait()
            now = trio.current_time()
            slices = 0
            while self._deadlines.next() <= now:
                self.sweep(now, SLICE + slices // PATIENCE)
                slices += 1
                await checkpoint()


def _nothing() -> None:
    """Do what a retired alarm does: nothing."""
