"""The way that every ASGI server offers: correct everywhere, as fast and as abortable as the server's `send`.

Two tasks per connection: the reader takes every event the server has, so that the server never fills its own queue; the
writer empties the outbox. Some servers shield their `send` from cancellation. A writer stuck in one holds nobody up but
its own block: the connection ends, its memberships are gone, its handler runs out, and only then is it waited for.
"""

import logging
from collections.abc import AsyncGenerator, Callable, Hashable
from contextlib import asynccontextmanager
from math import inf
from typing import Any

import trio
from trio.lowlevel import checkpoint

from ..asgi_types import Headers, Receive, Scope, Send
from ..config.settings import Settings
from ..core.lifecycle import Cause, End, Occurrence, Phase
from ..core.message import Batch, Frame
from ..exceptions import MessageTooBig
from ..pubsub.group import Backlog, Membership
from .base import SendStatistics, Transport
from .direct import DirectTransport
from .epoll import Poller
from .hypercorn import hijack as takeover
from .hypercorn.drain_receive import discard_remains, has_remains
from .send_queue import Outbox
from .timers import Timer, Timers

logger = logging.getLogger("nexios_trio.transport")

LeaveBehind = Callable[..., None]

# How servers say that the peer is gone. ASGI asks for OSError. Hypercorn's stream is busy while hypercorn closes it, as
# it does when peer and application close at the same time: it sends the end without its lock.
GONE = (OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError)


class AsgiTransport(Transport):
    """One peer behind an ASGI server's `receive` and `send`.

    Args:
        poller: for a socket that can be taken over.
        leave_behind: starts a task (a function and its arguments) that may outlive the connection.
    """

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
        super().__init__(scope, settings)
        self._outbox: Outbox | None = None
        self._poller = poller
        self._leave_behind = leave_behind
        self._claim: takeover.Claim | None = None
        self._successor: DirectTransport | None = None
        self._receive = receive
        self._send = send
        self._inbox_has_room = trio.Event()
        self._may_write = trio.Event()  # the handshake is answered, or a goodbye is its answer
        self._written = trio.Event()  # the writer is done
        self._is_gone = False  # nothing more can be said to the peer
        self._is_disconnected = False  # the server has said so
        self._has_remains = has_remains(receive)
        self._writing_since = inf
        self._timer = Timer(self._check_write_deadline)
        self._timer_is_set = False
        self._timers: Timers | None = None
        # A write is cancelled only to give its connection up: cancelling the handler leaves the writer alone, or the
        # peer would not be told.
        self._writing = trio.CancelScope(shield=True)
        self._reading = trio.CancelScope()

    @property
    def outbox(self) -> Outbox:
        """Made when it is needed: a socket that is taken over may never need it."""
        if self._outbox is None:
            settings = self.settings
            self._outbox = Outbox(settings.outbox_messages, settings.outbox_bytes, self.policy, self.counts)
        return self._outbox

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
                    await self._part()  # shielded, and bounded
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
        """Let the goodbyes get through."""
        if self._successor is not None:
            await self._successor.leave()
        elif self.end is not None and self._may_write.is_set() and not self._is_gone:
            with trio.move_on_after(self.settings.close_timeout, shield=True):
                await self._written.wait()

    def _lay_claim(self) -> None:
        """Lay claim to the server's socket, where it can be taken over, before anything can go wrong with it."""
        if self._poller is not None:
            self._claim = takeover.claim(self._receive, self._send, self.settings)
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
        if not self._ended(Occurrence.DENY, End(1006, reason, Cause.DENIED)):
            await checkpoint()
            return
        self._discard()
        if "websocket.http.response" in (self.scope.get("extensions") or {}):
            await self._say({"type": "websocket.http.response.start", "status": status, "headers": list(headers)})
            await self._say({"type": "websocket.http.response.body", "body": body})
        else:
            await self._say({"type": "websocket.close", "code": 4404 if status == 404 else 1008, "reason": reason})
        self._is_gone = True
        await checkpoint()

    async def send(self, frame: Frame) -> None:
        if self.lifecycle.phase is not Phase.OPEN:
            await checkpoint()  # or a loop of sends to a peer that has left would freeze the program
            self._check_open()
        try:
            await self.outbox.send(frame)
        except trio.ClosedResourceError:
            raise self._disconnect() from None
        except MessageTooBig:
            await checkpoint()
            raise

    def offer(self, frame: Frame, key: Hashable = None) -> None:
        if self._successor is not None:  # a group that was joined before the handshake was answered
            self._successor.offer(frame, key)
        elif not self.outbox.offer(frame, key):
            self.evict(End.of(Cause.OVERFLOW, "too slow"))

    def offer_batch(self, membership: Membership[Any], batch: Batch, written: int = 0) -> Backlog | None:
        super().offer_batch(membership, batch)
        return self._outbox if self._outbox is not None and self._outbox.is_high else None

    async def close(self, end: End) -> None:
        is_connecting = self.lifecycle.phase is Phase.CONNECTING
        if not self._ended(Occurrence.LOCAL_CLOSE, end):
            await checkpoint()
            return
        self.outbox.close()
        if is_connecting:
            self._may_write.set()
        with trio.move_on_after(self.settings.write_timeout) as scope:
            await self._written.wait()  # cancelled from outside, the writer goes on until the block is left
        if scope.cancelled_caught:
            self._abort()

    def evict(self, end: End) -> None:
        is_connecting = self.lifecycle.phase is Phase.CONNECTING
        self._ended(Occurrence.LOCAL_CLOSE, end)
        self.inbox.discard()
        self._discard()
        if is_connecting:
            self._may_write.set()

    def statistics(self) -> SendStatistics:
        return SendStatistics.of(self.outbox.messages, self.outbox.bytes, self.counts)

    def _abort(self) -> None:
        self._is_gone = True
        self._discard()

    def _discard(self) -> None:
        self.outbox.discard()
        self.outbox.close()

    def _lost(self, end: End | None = None) -> None:
        self._ended(Occurrence.LOST, end or End.of(Cause.PEER_LOST))
        self._abort()

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

    # Writing: a task

    async def _write(self) -> None:
        try:
            with self._writing:
                await self._may_write.wait()
                await self._write_all()
        finally:
            self._written.set()

    async def _write_all(self) -> None:
        try:
            while True:
                frame = await self.outbox.take()
                await self._say(frame.event.copy())  # it is shared, and what stands in between may change it
        except trio.EndOfChannel:
            end = self.end
            if end is not None:
                await self._say({"type": "websocket.close", "code": end.code, "reason": end.reason})

    async def _say(self, event: dict[str, Any]) -> bool:
        """Hand one event to the server, under the write deadline; False when the peer is gone."""
        if self._is_gone:
            return False
        self._writing_since = trio.current_time()
        if not self._timer_is_set:
            self._set_timer()
        try:
            await self._send(event)
        except GONE:
            self._lost()
            return False
        except Exception:
            logger.exception("the server's send failed")
            self._lost()
            return False
        finally:
            self._writing_since = inf
        return True

    def _set_timer(self) -> None:
        if self._timers is not None:
            self._timer_is_set = True
            self._timers.set(self._timer, self._writing_since + self.settings.write_timeout)

    def _check_write_deadline(self) -> None:
        """Kill the connection if one write has taken too long; else look again when the present one would have."""
        self._timer_is_set = False
        if self._writing_since == inf:
            return
        if self._writing_since + self.settings.write_timeout <= trio.current_time():
            self.kill(End.of(Cause.WRITE_TIMEOUT, "the peer does not read"))
        else:
            self._set_timer()
