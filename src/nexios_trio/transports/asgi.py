"""The way that every ASGI server offers: correct everywhere, as fast and as abortable as the server's `send`.

Two tasks per connection: the reader takes every event the server has, so that the server never fills its own queue; the
writer empties the outbox (`asgi_writer`).
"""

import logging
from collections.abc import AsyncGenerator, Callable, Hashable
from contextlib import asynccontextmanager
from math import inf
from typing import Any, Final

import trio
from trio.lowlevel import checkpoint

from ..asgi_types import Headers, Receive, Scope, Send
from ..config.settings import Settings
from ..core.lifecycle import Cause, End, Occurrence
from ..core.message import Frame
from ..core.overflow import Policy
from .asgi_writer import GONE, AsgiWriter
from .base import Transport
from .direct import DirectTransport
from .epoll import Poller
from .hypercorn import hijack
from .hypercorn.drain_receive import discard_remains, has_remains
from .timers import Timers

logger = logging.getLogger("nexios_trio.transport")

LeaveBehind = Callable[..., None]

_NOBODY_WAITS: Final = trio.Event()  # in place of one for each connection; who waits for room makes its own


class AsgiTransport(AsgiWriter):
    """One peer behind an ASGI server's `receive` and `send`.

    Args:
        poller: for a socket that can be taken over.
        leave_behind: starts a task (a function and its arguments) that may outlive the connection.
    """

    __slots__ = (
        "__dict__",  # empty, and so not made: for what somebody notes of a connection
        "__weakref__",
        "_claim",
        "_has_remains",
        "_inbox_has_room",
        "_is_disconnected",
        "_leave_behind",
        "_poller",
        "_reading",
        "_receive",
        "_successor",
    )

    name = "asgi"
    can_abort = False

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        settings: Settings,
        poller: Poller | None = None,
        leave_behind: LeaveBehind | None = None,
    ) -> None:
        super().__init__(scope, send, settings)
        self._poller = poller
        self._leave_behind = leave_behind
        self._claim: hijack.Claim | None = None
        self._successor: DirectTransport | None = None
        self._receive = receive
        self._inbox_has_room = _NOBODY_WAITS
        self._is_disconnected = False  # the server has said so
        self._has_remains = has_remains(receive)
        self._reading = trio.CancelScope()

    @asynccontextmanager
    async def open(self, timers: Timers) -> AsyncGenerator[None]:
        self._timers = timers
        self._lay_claim()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read)
                nursery.start_soon(self._write)
                try:
                    yield
                finally:
                    try:
                        await self._part()
                    finally:
                        self._gone.set()
                        self._flushed.set()  # whoever waits in `close`, in another task
                        self._timers = None
                        timers.retire(self._timer)
                        self.inbox.on_room = self._inbox_has_room.set  # refers back to us no more
                        self._writing.cancel(reason="the connection has ended")
                        with trio.CancelScope(shield=True):  # while the reader reads on, or a server full of unread
                            await self._written.wait()  # messages would never notice that the peer has left
                        nursery.cancel_scope.cancel(reason="the connection has ended")
        finally:
            if self._claim is not None:
                self._claim.release()
            if self._leave_behind is not None and self._successor is None and self._has_remains:
                self._leave_behind(discard_remains, self._receive, self._is_disconnected)

    async def _part(self) -> None:
        """Let the goodbyes get through: ours as long as the peer reads, and the peer's within `close_timeout`.

        A server closes the connection when its application has returned. If it has not read what the peer sent up to
        then, that brings a reset, which takes our last messages away.

        Cancellation: from then on only ours is waited for, `close_timeout` at most.
        """
        if self._successor is not None:
            await self._successor.leave()
        elif self.end is not None and self._may_write.is_set() and not self._gone.is_set():
            is_cancelled = trio.current_effective_deadline() == -inf
            try:
                if not is_cancelled:
                    await self._until_flushed()
                    if self._flushed.is_set():
                        with trio.move_on_after(self.settings.close_timeout):
                            await self._gone.wait()
                    return
            except trio.Cancelled:
                await self._until_flushed_in_a_hurry()
                raise
            await self._until_flushed_in_a_hurry()

    async def _until_flushed_in_a_hurry(self) -> None:
        with trio.move_on_after(self.settings.close_timeout, shield=True):
            await self._flushed.wait()

    def _lay_claim(self) -> None:
        """Lay claim to the server's socket, where it can be taken over, before anything can go wrong with it."""
        if self._poller is not None:
            self._claim = hijack.claim(self._receive, self._send, self.settings)
            if self._claim is not None and self._claim.is_lost:
                self._lost()

    async def accept(self, subprotocol: str | None, headers: Headers) -> Transport:
        await checkpoint()
        if not self.lifecycle.advance(Occurrence.ACCEPT):
            raise self._disconnect()
        more = self._claim.headers if self._claim is not None else ()
        event = {"type": "websocket.accept", "subprotocol": subprotocol, "headers": [*headers, *more]}
        try:
            has_said = await self._say(event)
            if has_said and self.end is None:
                self._hand_over()
        except trio.Cancelled:  # the server may have answered or not; a goodbye is right in both cases
            self.evict(End.of(Cause.CANCELLED))
            raise
        finally:
            self._may_write.set()
        if not has_said:
            raise self._disconnect()
        return self._successor or self

    def _hand_over(self) -> None:
        """If the socket becomes ours, this object is only the block that its successor lives in from here on."""
        if self._claim is None or self._poller is None or self._timers is None:
            return
        self._successor = self._claim.complete(self, self._outbox, self._poller, self._timers, self.settings)
        if self._successor is not None:
            self._reading.cancel(reason="taken over")
            self._writing.cancel(reason="taken over")

    async def deny(self, status: int, headers: Headers, body: bytes, reason: str = "") -> None:
        if not self._ended(Occurrence.DENY, End(1006, reason, Cause.DENIED, status)):
            await checkpoint()
            return
        self._discard()
        if "websocket.http.response" in (self.scope.get("extensions") or {}):
            await self._say({"type": "websocket.http.response.start", "status": status, "headers": list(headers)})
            await self._say({"type": "websocket.http.response.body", "body": body})
        else:
            await self._say({"type": "websocket.close", "code": 4404 if status == 404 else 1008, "reason": reason})
        self._abort()
        await checkpoint()

    def offer(self, frame: Frame, key: Hashable = None, policy: Policy | None = None) -> None:
        if self._successor is not None:  # a group that was joined before the handshake was answered
            self._successor.offer(frame, key, policy)
        else:
            super().offer(frame, key, policy)

    # Reading: a task

    async def _read(self) -> None:
        with self._reading:
            await self._read_all()

    async def _read_all(self) -> None:
        try:
            while True:
                event = await self._receive()
                if event["type"] == "websocket.receive":
                    await self._received(event)
                elif event["type"] == "websocket.disconnect":
                    code = event.get("code") or 1005
                    cause = Cause.PEER_LOST if code == 1006 else Cause.PEER_CLOSED
                    self._is_disconnected = True
                    self._lost(End(code, event.get("reason") or "", cause))
                    return
        except GONE:
            self._has_remains = False
            self._lost()
        except Exception:
            self._has_remains = False
            logger.exception("the server's receive failed")
            self._lost()

    async def _received(self, event: Any) -> None:
        text = event.get("text")
        item = text if text is not None else event.get("bytes") or b""
        limit = self.settings.max_message_size
        if len(item) > limit or (text is not None and not text.isascii() and len(text.encode()) > limit):
            self._ended(Occurrence.LOCAL_CLOSE, End.of(Cause.MESSAGE_TOO_BIG, f"a message may have {limit} bytes"))
            self.outbox.close()
            return
        self.inbox.put(item)
        with trio.move_on_after(self.settings.ping_timeout) as scope:
            await self._until_room()
        if scope.cancelled_caught:  # we cannot hear whether it is still there, nor can the server
            self.kill(End.of(Cause.HEARTBEAT_TIMEOUT, "its messages are not received"))

    async def _until_room(self) -> None:
        while self.inbox.full and self.end is None:
            self._inbox_has_room = trio.Event()
            await self._inbox_has_room.wait()

    def _resume_reading(self) -> None:
        self._inbox_has_room.set()
