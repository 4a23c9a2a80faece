"""What is measured, for few of many: publishing to wire for one message in 64, handlers on one connection in 16.

Everything else that metrics show is counted anyway, and read when somebody asks.
"""

import time
from typing import Any, Final

import trio

from ..connections.runtime import Runtime
from ..connections.watch import ConnectionWatch, Handle, Receive
from ..core.lifecycle import End
from ..core.message import Batch
from .durations import Durations

__all__ = ["Samples"]

MESSAGES_PER_SAMPLE: Final = 64
CONNECTIONS_PER_SAMPLE: Final = 16
WIRE_BOUNDS: Final = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
HANDLER_BOUNDS: Final = (0.0002, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Samples(ConnectionWatch):
    """The measurements of one application, from when `begin` is called."""

    def __init__(self) -> None:
        self.publish_to_wire = Durations(WIRE_BOUNDS)
        self.handler = Durations(HANDLER_BOUNDS)
        self._connections = 0
        self._called_connections = 0  # with a synchronous handler

    def begin(self, runtime: Runtime) -> None:
        """Measure from now on. Connections that are open already are left out."""
        runtime.box.broadcaster.watch_flushes(MESSAGES_PER_SAMPLE, self._note_flush)
        runtime.watches.append(self)

    def _note_flush(self, group: object, batch: Batch) -> None:
        # Any of them, with the same chance as any other. Its time of birth is the publisher's, here or on another node.
        message = batch.messages[len(batch.messages) // 2]
        self.publish_to_wire.add(time.time() - message.created)

    def receiving(self, session: object, receive: Receive) -> Receive:
        is_sampled = self._connections % CONNECTIONS_PER_SAMPLE == 0
        self._connections += 1
        if not is_sampled:
            return receive
        return _HandlerTimer(receive, self.handler).receive

    def calling(self, session: object, handle: Handle) -> Handle:
        is_sampled = self._called_connections % CONNECTIONS_PER_SAMPLE == 0
        self._called_connections += 1
        return _timed(handle, self.handler) if is_sampled else handle


def _timed(handle: Handle, durations: Durations) -> Handle:
    def call(item: str | bytes) -> Any:
        called_at = trio.current_time()
        try:
            return handle(item)
        finally:
            durations.add(trio.current_time() - called_at)

    return call


class _HandlerTimer:
    """Measures from when a handler is given a message until it asks for the next one."""

    __slots__ = ("_durations", "_given_at", "_receive")

    def __init__(self, receive: Receive, durations: Durations) -> None:
        self._receive = receive
        self._durations = durations
        self._given_at: float | None = None

    async def receive(self) -> Any:
        if self._given_at is not None:
            self._durations.add(trio.current_time() - self._given_at)
            self._given_at = None
        item = await self._receive()
        if not isinstance(item, End):
            self._given_at = trio.current_time()
        return item
