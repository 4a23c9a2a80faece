"""The server's side of an in-memory connection: what ASGI's `receive` and `send` do; each server in its own module.

A server takes items from the link's `up` pipe while it has room for them, in `pull`, and puts items into `down`.
"""

from collections import deque
from typing import ClassVar

import trio
from trio.lowlevel import checkpoint

from ...asgi_types import ASGIApp, Event
from ..client.link import CloseFrame, DataMessage, EndOfStream, HandshakeRequest, HandshakeResponse, Link

__all__ = ["CLOSED", "CONNECTED", "HANDSHAKE", "RESPONSE", "Server"]


HANDSHAKE = "handshake"
CONNECTED = "connected"
RESPONSE = "response"  # an HTTP answer has begun
CLOSED = "closed"  # the application has said goodbye, or refused


class Server:
    """One connection, as its server sees it."""

    queue_size: ClassVar[int]
    spec_version: ClassVar[str]

    def __init__(self, link: Link) -> None:
        self.link = link
        self.state = HANDSHAKE
        self.is_over = False  # the application will hear no more than the disconnect
        self._events, self._queue = trio.open_memory_channel[Event](self.queue_size)
        self._in_hand: deque[Event] = deque()  # of tasks that wait for room in the queue
        self._handed_over = trio.lowlevel.ParkingLot()
        self._has_request = trio.Event()
        self._answer: Event = {}
        self._body = b""
        link.up.on_arrival = self.pull

    async def run(self, app: ASGIApp, scope: Event) -> None:
        """Run the application for this connection; its errors are the caller's."""
        failed = True
        try:
            await self._has_request.wait()
            await app(scope, self.receive, self.send)
            failed = False
        except trio.Cancelled:  # the server stops: its sockets close
            if self.state != CLOSED:
                self.state = CLOSED
                self.link.down.put_nowait(EndOfStream())
            raise
        finally:
            self.finish(failed)

    async def receive(self) -> Event:
        event = await self._queue.receive()
        while self._in_hand and self._queue.statistics().current_buffer_used < self.queue_size:
            self._events.send_nowait(self._in_hand.popleft())
            self._handed_over.unpark_all()
        self.pull()
        return event

    async def send(self, event: Event) -> None:
        raise NotImplementedError

    def pull(self) -> None:
        """Queue what the client has sent, as far as there is room."""
        while not self.is_over and not self._in_hand:
            item = self.link.up.take()
            if item is None:
                return
            match item:
                case HandshakeRequest():
                    self._has_request.set()
                    self._put({"type": "websocket.connect"})
                case DataMessage():
                    self._put(self.event(item.data))
                case _:
                    self._left(item)

    def event(self, data: str | bytes) -> Event:
        raise NotImplementedError

    def finish(self, failed: bool) -> None:
        """The application has returned, or raised."""
        raise NotImplementedError

    def _left(self, item: CloseFrame | EndOfStream) -> None:
        raise NotImplementedError

    def _put(self, event: Event) -> None:
        """Queue an event; where there is no room, the server's reader waits with it in hand."""
        try:
            self._events.send_nowait(event)
        except trio.WouldBlock:
            self._in_hand.append(event)

    async def _deny(self, event: Event) -> None:
        self._body += event.get("body", b"")
        self.state = RESPONSE
        if event.get("more_body", False):
            await checkpoint()
            return
        self._refuse(int(self._answer["status"]), list(self._answer.get("headers") or ()), self._body)
        await checkpoint()

    def _refuse(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes = b"") -> None:
        self.state = CLOSED
        self.link.down.put_nowait(HandshakeResponse(status, headers, None, body))
        self.link.down.put_nowait(EndOfStream())

    def _hang_up(self, code: int, reason: str = "") -> None:
        self.state = CLOSED
        self.link.down.put_nowait(CloseFrame(code, reason))
        self.link.down.put_nowait(EndOfStream())
