"""A heartbeat that the application sends itself, for servers that do not notice dead peers.

Our own lane pings by the protocol, which needs nothing of the client. This one is a message that the client answers,
with any message at all; it also works where a proxy or a server swallows pings.
"""

import math
from typing import Any, Final

import orjson
import trio

from ..connections.transport_wrapper import TransportWrapper, wrapped_transport
from ..connections.websocket import WebSocket
from ..core.json import encode_json
from ..core.lifecycle import End
from ..exceptions import WebSocketDisconnect
from ..transports.base import Transport
from .chain import Next

__all__ = ["HeartbeatMiddleware"]

HEARTBEAT_CODE: Final = 4000  # document 004's


class HeartbeatMiddleware:
    """Send a heartbeat now and then, and close with 4000 a connection that stays silent.

    A client may answer with the same message, which the handler then never sees.

    Args:
        interval: seconds between heartbeats.
        timeout: seconds of silence after which the peer is taken for dead; inf for never. Above `interval`, so that
            the peer had something to answer.
        message: sent as JSON text.
    Raises: ValueError.
    """

    def __init__(self, interval: float = 20.0, timeout: float = 60.0, message: Any = None) -> None:
        if not 0 < interval < math.inf:
            raise ValueError(f"interval must be seconds above 0, not {interval!r}")
        if not timeout > interval:
            raise ValueError(f"timeout must be seconds above the interval ({interval:g}), or inf, not {timeout!r}")
        self._interval = interval
        self._timeout = timeout
        self._message: Any = {"type": "heartbeat"} if message is None else message
        self._text = encode_json(self._message).decode()

    async def __call__(self, websocket: WebSocket, call_next: Next) -> Any:
        counting = _CountingWrapper(websocket._session.transport, self._message, 4 * len(self._text))
        with wrapped_transport(websocket, lambda _: counting):
            websocket.start_soon(self._beat, websocket, counting)
            return await call_next(websocket)

    async def _beat(self, websocket: WebSocket, counting: "_CountingWrapper") -> None:
        """Runs in the connection's nursery, which ends it."""
        arrived, heard = -1, trio.current_time()
        try:
            while websocket.end is None:
                await trio.sleep(self._interval)
                if not websocket.is_connected() or counting.arrived != arrived:
                    arrived, heard = counting.arrived, trio.current_time()
                elif trio.current_time() - heard >= self._timeout:
                    await websocket.close(HEARTBEAT_CODE, "no sign of life")
                    return
                if websocket.is_connected():
                    await websocket.send_text(self._text)
        except WebSocketDisconnect:
            pass


class _CountingWrapper(TransportWrapper):
    """Counts what the peer sends, and keeps its answers to heartbeats from the handler."""

    def __init__(self, inner: Transport, message: Any, max_length: int) -> None:
        super().__init__(inner)
        self._message = message
        self._max_length = max_length  # of a text that can be an answer, with white space
        self._taken = 0

    @property
    def arrived(self) -> int:
        """Messages so far, those that the handler has not taken yet included."""
        return self._taken + len(self.inner.inbox)

    async def receive(self) -> str | bytes | End:
        while True:
            item = await super().receive()
            self._taken += 1
            if not self._is_heartbeat(item):
                return item

    def admit(self, item: str | bytes) -> bool:
        self._taken += 1
        return not self._is_heartbeat(item)

    def _is_heartbeat(self, item: str | bytes | End) -> bool:
        return isinstance(item, str) and len(item) <= self._max_length and self._is_answer(item)

    def _is_answer(self, text: str) -> bool:
        try:
            return bool(orjson.loads(text) == self._message)
        except ValueError:
            return False
