"""How a server stops: in `drain_timeout` seconds, whatever its peers do.

    0 ─────────────▶ jitter ──────────▶ grace ──────────▶ 3/4 ───────────▶ drain_timeout
    no more accepts  1012 to everyone   handlers are      sockets are      the application's
                     on the lane        cancelled         reset            shutdown is over

`grace` is hypercorn's `graceful_timeout` behind the last goodbye, half of the time at most. Every step ends as soon as
no connection is left. In a hurry (a second signal, or cancellation) the goodbyes, the cancellation and the resets
follow each other at once.
"""

import random
from collections.abc import Callable
from typing import Final

import attrs
import trio

from ..core.lifecycle import Cause, End, Phase
from ..transports.base import Transport
from .hypercorn.http_server import Web
from .websocket_server import Lane

__all__ = ["Drain", "Schedule", "Stop"]

HURRY: Final = 0.5  # seconds from the goodbyes to the resets


class Stop:
    """That, and how urgently, the server has to stop."""

    def __init__(self) -> None:
        self.requested = trio.Event()
        self.hurried = trio.Event()
        self.failure: Exception | None = None  # of what should have said when to stop

    def request(self) -> None:
        self.requested.set()

    def hurry(self) -> None:
        self.requested.set()
        self.hurried.set()


@attrs.frozen
class Schedule:
    """When what happens, as `trio.current_time()`."""

    goodbyes: float  # the last of them
    cancel: float
    reset: float
    end: float

    @classmethod
    def starting(cls, now: float, timeout: float, jitter: float, grace: float) -> "Schedule":
        """From now on, with seconds for the whole, the goodbyes, and the handlers after them."""
        goodbyes = min(jitter, timeout / 4)
        cancel = min(goodbyes + grace, timeout / 2)
        return cls(now + goodbyes, now + cancel, now + timeout * 3 / 4, now + timeout)

    def hurried(self, now: float) -> "Schedule":
        """The same with everything at once, as far as it is not over."""
        reset = min(self.reset, now + HURRY)
        return Schedule(min(self.goodbyes, now), min(self.cancel, now), reset, self.end)


@attrs.frozen(eq=False)
class Drain:
    """The end of one server's connections. Its goodbyes are tasks of the nursery that `start_soon` belongs to."""

    lane: Lane
    web: Web
    schedule: Schedule
    hurried: trio.Event
    start_soon: Callable[..., None]

    async def run(self, connections: trio.CancelScope, relays: trio.CancelScope) -> None:
        """End every connection by the schedule. Cancelled once none is left."""
        connections.deadline = self.schedule.cancel
        relays.deadline = self.schedule.reset
        self.lane.close()
        await self.web.drain()
        await self._say_goodbyes()
        schedule = self.schedule
        with trio.move_on_at(schedule.reset):
            await self.hurried.wait()
            schedule = schedule.hurried(trio.current_time())
            connections.deadline = schedule.cancel
            relays.deadline = schedule.reset
            await trio.sleep_until(schedule.reset)
        self.web.kill()
        self.lane.kill()

    async def _say_goodbyes(self) -> None:
        """1012 to everyone, in random order, spread over time: not all clients come back at once."""
        waiting = list(self.lane.connections)
        random.shuffle(waiting)
        begun = trio.current_time()
        for number, transport in enumerate(waiting):
            with trio.move_on_at(begun + (self.schedule.goodbyes - begun) * number / len(waiting)):
                await self.hurried.wait()
            self.start_soon(_say_goodbye, transport)


async def _say_goodbye(transport: Transport) -> None:
    if transport.lifecycle.phase is Phase.CONNECTING:
        await transport.deny(503, [], b"", "the server stops")
    else:
        await transport.close(End.of(Cause.SERVER_SHUTDOWN, "the server stops"))
