"""The connections of one server that have no task of their own."""

from collections.abc import Callable
from contextvars import copy_context

import trio

from ..transports.server_context import IdleConnection

__all__ = ["IdleConnections"]


class IdleConnections:
    """One task stands for all of them in the server's nursery: which lasts as long as they do, and whose cancellation
    wakes them. It begins with the first of them.

    Args:
        start_soon: of that nursery.
    """

    def __init__(self, start_soon: Callable[..., None]) -> None:
        self._start_soon = start_soon
        self._context = copy_context()  # the task is nobody's
        self._connections: dict[IdleConnection, None] = {}
        self._is_closed = False
        self._is_watched = False  # the task runs
        self._none_is_left = trio.Event()

    def __len__(self) -> int:
        return len(self._connections)

    def add(self, connection: IdleConnection) -> None:
        """Wake it when the nursery is cancelled, until it is discarded."""
        self._connections[connection] = None
        if not self._is_watched:
            self._is_watched = True
            self._context.copy().run(self._start_soon, self._stand_for_all)

    def discard(self, connection: IdleConnection) -> None:
        """Forget one that has a task."""
        self._connections.pop(connection, None)
        if self._is_closed and not self._connections:
            self._none_is_left.set()

    def close(self) -> None:
        """Let the task end once none is left: few will come."""
        self._is_closed = True
        if not self._connections:
            self._none_is_left.set()

    async def _stand_for_all(self) -> None:
        try:
            while self._connections or not self._is_closed:
                await self._none_is_left.wait()
                self._none_is_left = trio.Event()
        finally:
            self._is_watched = False
            for connection in list(self._connections):
                connection.wake()
