"""Stop a server in `drain_timeout` seconds, whatever its peers do.

    0 ─────────────▶ jitter ──────────▶ grace ──────────▶ 3/4 ───────────▶ drain_timeout
    no more accepts  1012 to everyone   handlers are      sockets are      the application's
                     on a WebSocket     cancelled         reset            shutdown is over

`grace` is hypercorn's `graceful_timeout` behind the last close, half of the time at most. Every step ends as soon as
no connection is left. In a hurry (a second signal, or cancellation) the closes, the cancellation and the resets
follow each other at once. A handler that shields itself from cancellation loses its shield at the end, or half a second
behind the resets of a hurry.
"""

import random
from collections.abc import Callable
from typing import Final

import attrs
import trio

from ..core.lifecycle import Cause, End, Phase
from ..transports.base import Transport
from ..transports.server_context import CleanupLimit
from .errors import DrainFailed
from .hypercorn.http_server import HttpServer
from .parent_link import NEWCOMERS_SECONDS
from .shields import end_shielded
from .websocket_server import WebSocketServer

__all__ = ["Drain", "DrainSchedule", "StopRequest", "finish_newcomers"]

LOOK_AGAIN_SECONDS: Final = 0.02
HTTP_PASSES: Final = 20  # of the scheduler, after which hypercorn knows that a connection is not idle
HURRIED_RESET_SECONDS: Final = 0.5  # from the closes to the resets


class StopRequest:
    """Whether, and how urgently, the server has to stop."""

    def __init__(self) -> None:
        self.requested = trio.Event()
        self.hurried = trio.Event()
        self.failure: Exception | None = None  # of what should have said when to stop

    def request(self) -> None:
        self.requested.set()

    def hurry(self) -> None:
        self.requested.set()
        self.hurried.set()

    async def end_shielded(self, connections: trio.Nursery, schedule: "DrainSchedule") -> None:
        """End what still runs when the time is over, and remember that the stop was not in order."""
        limit = "in a hurry" if self.hurried.is_set() else f"within {schedule.seconds:g} s (drain_timeout)"
        count = await end_shielded(connections, f"did not stop {limit}")
        if count and self.failure is None:
            who = "a task of a connection" if count == 1 else f"{count} tasks of connections"
            self.failure = DrainFailed(f"{who} did not stop {limit}")


@attrs.frozen
class DrainSchedule:
    """When what happens, as `trio.current_time()`."""

    last_close: float
    cancel: float
    reset: float
    force: float  # shields are lifted
    end: float
    seconds: float  # in all

    @classmethod
    def starting(cls, now: float, timeout: float, jitter: float, grace: float) -> "DrainSchedule":
        """From now on, with seconds for the whole, the closes, and the handlers after them."""
        last_close = min(jitter, timeout / 4)
        cancel = min(last_close + grace, timeout / 2)
        return cls(now + last_close, now + cancel, now + timeout * 3 / 4, now + timeout, now + timeout, timeout)

    def hurried(self, now: float) -> "DrainSchedule":
        """The same with everything at once, as far as it is not over."""
        reset = min(self.reset, now + HURRIED_RESET_SECONDS)
        force = min(self.force, max(reset, now) + HURRIED_RESET_SECONDS)
        return DrainSchedule(min(self.last_close, now), min(self.cancel, now), reset, force, self.end, self.seconds)


async def finish_newcomers(websockets: WebSocketServer, hurried: trio.Event) -> None:
    """Let handshakes that have begun come to their end, so that a server with a successor refuses nobody.

    For `NEWCOMERS_SECONDS`, unless there is a hurry: some clients connect and say nothing.
    """
    latest = trio.current_time() + NEWCOMERS_SECONDS
    while websockets.has_newcomers and trio.current_time() < latest:
        with trio.move_on_after(LOOK_AGAIN_SECONDS):
            await hurried.wait()
            return
    for _ in range(HTTP_PASSES):
        await trio.lowlevel.checkpoint()


@attrs.frozen(eq=False)
class Drain:
    """The end of one server's connections. Its closes are tasks of the nursery that `start_soon` belongs to."""

    websockets: WebSocketServer
    http: HttpServer
    schedule: DrainSchedule
    stop: StopRequest
    cleanups: CleanupLimit
    start_soon: Callable[..., None]

    async def run(self, connections: trio.Nursery) -> None:
        """End every connection by the schedule. Cancelled once none is left."""
        connections.cancel_scope.deadline = self.schedule.cancel
        self.cleanups.end_at(self.schedule.end)
        self.websockets.stop_accepting()
        await self.http.drain()
        await self._close_all()
        schedule = self.schedule
        with trio.move_on_at(schedule.reset):
            await self.stop.hurried.wait()
            schedule = schedule.hurried(trio.current_time())
            connections.cancel_scope.deadline = schedule.cancel
            self.cleanups.end_at(schedule.force)
            await trio.sleep_until(schedule.reset)
        self.http.reset_all()
        self.websockets.reset_all()
        with trio.move_on_at(schedule.force):
            await self.stop.hurried.wait()
            schedule = schedule.hurried(trio.current_time())
            self.cleanups.end_at(schedule.force)
            await trio.sleep_until(schedule.force)
        await self.stop.end_shielded(connections, self.schedule)

    async def _close_all(self) -> None:
        """1012 to everyone, in random order, spread over time: not all clients come back at once."""
        waiting = list(self.websockets.transports)
        random.shuffle(waiting)
        begun = trio.current_time()
        for number, transport in enumerate(waiting):
            with trio.move_on_at(begun + (self.schedule.last_close - begun) * number / len(waiting)):
                await self.stop.hurried.wait()
            self.start_soon(_close, transport)


async def _close(transport: Transport) -> None:
    if transport.lifecycle.phase is Phase.CONNECTING:
        await transport.deny(Cause.SERVER_SHUTDOWN.http_status, [], b"", "the server stops")
    else:
        await transport.close(End.of(Cause.SERVER_SHUTDOWN, "the server stops"))
