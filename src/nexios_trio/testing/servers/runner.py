"""How our own direct lane looks to an ASGI application that does not take its transport.

Events carry one key, and real codes and reasons. A lost peer is seen even when nobody reads. Sends after the end raise
OSError.
"""

from typing import Any

import trio
from trio.lowlevel import checkpoint

from ...asgi_types import Event
from ..client.link import CloseFrame, DataMessage, EndOfStream, HandshakeResponse, Link
from .base import CONNECTED, HANDSHAKE, RESPONSE, Server

__all__ = ["DirectServer"]


class DirectServer(Server):
    """Our own lane, as it looks to an ASGI application that does not take its transport."""

    queue_size = 64
    spec_version = "2.4"

    def __init__(self, link: Link) -> None:
        super().__init__(link)
        self._end: CloseFrame | None = None
        link.up.on_loss = self._lost

    def event(self, data: str | bytes) -> Event:
        return {"type": "websocket.receive", "text" if isinstance(data, str) else "bytes": data}

    async def receive(self) -> Event:
        try:
            return await super().receive()
        except trio.EndOfChannel:
            end = self._end or CloseFrame(1006)
            return {"type": "websocket.disconnect", "code": end.code, "reason": end.reason}

    async def send(self, event: Event) -> None:
        if self._end is not None and event["type"] not in ("websocket.close", "websocket.http.response.body"):
            await checkpoint()
            raise OSError(f"the connection is over: {self._end.code}")
        match event["type"], self.state:
            case "websocket.accept", "handshake":
                self.state = CONNECTED
                headers: list[tuple[bytes, bytes]] = list(event.get("headers") or ())
                await self._write(HandshakeResponse(101, headers, event.get("subprotocol")))
            case "websocket.http.response.start", "handshake":
                self._answer = event
                await checkpoint()
            case "websocket.http.response.body", ("handshake" | "response"):
                await self._deny(event)
            case "websocket.send", "connected":
                data = event.get("bytes")
                await self._write(DataMessage(event["text"] if data is None else bytes(data)))
            case "websocket.close", "handshake":
                self._refuse(403, [])
                await checkpoint()
            case "websocket.close", _:
                self._close(int(event.get("code", 1000)), event.get("reason") or "")
                await checkpoint()
            case other, state:
                raise ValueError(f"a WebSocket application cannot send {other!r} in state {state}")

    async def _write(self, item: Any) -> None:
        try:
            await self.link.down.put(item)
        except trio.BrokenResourceError:
            raise OSError("the connection is over") from None

    def _close(self, code: int, reason: str = "") -> None:
        if self._end is None:
            self._over(CloseFrame(code, reason))
            self._hang_up(code, reason)

    def _left(self, item: CloseFrame | EndOfStream) -> None:
        if isinstance(item, CloseFrame):
            if self._end is None:
                self._over(item)
                self.link.down.put_nowait(item)
            self.link.down.put_nowait(EndOfStream())
        else:
            self._lost()

    def _lost(self) -> None:
        self.link.down.shatter()
        self._over(CloseFrame(1006))

    def _over(self, end: CloseFrame) -> None:
        if self._end is None:
            self._end = end
            self.is_over = True
            self._events.close()

    def finish(self, failed: bool) -> None:
        if self.state in (HANDSHAKE, RESPONSE):
            self._refuse(500, [])
        elif self.state == CONNECTED:
            self._close(1011 if failed else 1000)
        self._over(CloseFrame(1006))
