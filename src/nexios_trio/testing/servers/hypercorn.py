"""How hypercorn 0.18 on its trio worker looks to an application.

Events carry both "text" and "bytes", one of them None. The peer's close code and reason are lost: 1006, or 1000 after
the application closed. Ten events are queued, then the server stops reading, and sees neither a close nor a loss. A
send cannot be cancelled. Sends after the end return without a checkpoint.
"""

from typing import Any

import trio
from trio.lowlevel import checkpoint

from ...asgi_types import ASGIApp, Event
from ..client.link import CloseFrame, DataMessage, EndOfStream, HandshakeResponse, Link
from .base import CLOSED, CONNECTED, HANDSHAKE, Server

__all__ = ["HypercornServer"]


class HypercornServer(Server):
    """hypercorn 0.18 on its trio worker."""

    queue_size = 10
    spec_version = "2.3"

    def __init__(self, link: Link) -> None:
        super().__init__(link)
        self._send_lock = trio.Lock()

    def event(self, data: str | bytes) -> Event:
        text = isinstance(data, str)
        return {"type": "websocket.receive", "bytes": None if text else data, "text": data if text else None}

    async def send(self, event: Event) -> None:
        if self.is_over:
            return  # and no checkpoint
        match event["type"], self.state:
            case "websocket.accept", "handshake":
                await self._write(self._welcome(event))
            case "websocket.http.response.start", "handshake":
                self._answer = event
            case "websocket.http.response.body", ("handshake" | "response"):
                await self._deny(event)
            case "websocket.send", "connected":
                data = event.get("bytes")
                if data is None and not isinstance(event["text"], str):
                    raise TypeError(f"{event['text']} should be a str")
                await self._write(DataMessage(event["text"] if data is None else bytes(data)))
            case "websocket.close", "handshake":
                self._refuse(403, [(b"content-length", b"0"), (b"connection", b"close")])
                await checkpoint()
            case "websocket.close", _:
                self.state = CLOSED
                await self._write(CloseFrame(int(event.get("code", 1000)), event.get("reason") or ""))
            case other, state:
                raise RuntimeError(f"Unexpected message type, {other} in state {state}")

    def _welcome(self, event: Event) -> HandshakeResponse:
        subprotocol = event.get("subprotocol")
        if subprotocol is not None and subprotocol not in self.offered:
            raise Exception("Invalid Subprotocol")  # noqa: TRY002 - as hypercorn does, which ends the process
        headers: list[tuple[bytes, bytes]] = list(event.get("headers") or ())
        for name, _ in headers:
            if name == b"sec-websocket-protocol" or name.startswith(b":"):
                raise Exception(f"Invalid additional header, {name.decode()}")  # noqa: TRY002
        self.state = CONNECTED
        return HandshakeResponse(101, headers, subprotocol)

    offered: tuple[str, ...] = ()

    async def run(self, app: ASGIApp, scope: Event) -> None:
        self.offered = tuple(scope["subprotocols"])
        await super().run(app, scope)

    async def _write(self, item: Any) -> None:
        async with self._send_lock:
            if self.link.down.put_if_fits(item):
                return
            try:
                with trio.CancelScope(shield=True):
                    await self.link.down.put(item)
            except trio.BrokenResourceError:
                if not self.is_over:  # waits for room in the queue, with the lock held
                    self.is_over = True
                    self._put(self._disconnect())
                    while self._in_hand:
                        await self._handed_over.park()

    def _left(self, item: CloseFrame | EndOfStream) -> None:
        event = self._disconnect()
        if isinstance(item, CloseFrame):
            if self.state == CONNECTED:
                self.link.down.put_nowait(item)
            self.link.down.put_nowait(EndOfStream())
        self.is_over = True
        self._put(event)

    def _disconnect(self) -> Event:
        return {"type": "websocket.disconnect", "code": 1000 if self.state == CLOSED else 1006}

    def finish(self, failed: bool) -> None:
        if self.is_over:
            return
        if self.state == HANDSHAKE:
            self._refuse(500, [(b"content-length", b"0"), (b"connection", b"close")])
        elif self.state == CONNECTED:
            self._hang_up(1011)
        self.is_over = True
