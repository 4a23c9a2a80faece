"""Writing: while nothing is queued, one non-blocking `send` in the sender's own task.

What the kernel does not take goes to the outbox, and everything after it too, so that order is kept; the poller empties
it, joining what is queued into one `send`, when the kernel has room again.

    _clear       open and nothing queued: the only state in which a message may be written inline
    _unsent      bytes on their way that the kernel has not taken; a frame may be torn here, so nothing overtakes them
    _urgent      one pong; it goes between two frames
    _goodbye     the close frame, or the HTTP response that refuses the handshake; it goes behind everything else

A write is never cancelled. A peer that does not take one within `write_timeout` is reset, and the kernel lets go too.
"""

import socket
from abc import abstractmethod
from collections.abc import Callable, Hashable
from math import inf
from typing import Any

import trio
from trio.lowlevel import cancel_shielded_checkpoint, checkpoint, checkpoint_if_cancelled

from ...config.settings import Settings
from ...core.lifecycle import Cause, End, Occurrence, Phase
from ...core.message import Batch, Frame, Kind
from ...exceptions import MessageTooBig
from ...protocol.parser import close_frame, messages_behind
from ...pubsub.group import Membership
from ..base import Headers, Scope, SendStatistics
from ..epoll import PEER_LEFT, READ, WRITE, Poller
from ..send_queue import Outbox
from .socket import Wire

JOIN_SIZE = 65536  # bytes of queued frames joined into one write
# HTTP statuses of those who are sent away before their handshake was answered; 403 for the others
REFUSALS = {Cause.SERVER_SHUTDOWN: 503, Cause.ACCEPT_TIMEOUT: 503, Cause.HANDLER_ERROR: 500, Cause.NOT_FOUND: 404}

Refusal = Callable[[int, Headers, bytes], bytes]


class Writer(Wire):
    """The way out."""

    __slots__ = (
        "_clear",
        "_deflate",
        "_flushed",
        "_goodbye",
        "_goodbye_sent",
        "_is_begun",
        "_is_deaf",
        "_max_size",
        "_memberships",
        "_outbox",
        "_refuse",
        "_unsent",
        "_urgent",
        "_writing_since",
    )

    def __init__(
        self,
        scope: Scope,
        settings: Settings,
        sock: socket.socket,
        poller: Poller,
        *,
        refuse: Refusal | None,
        deflate: bool,
    ) -> None:
        super().__init__(scope, settings, sock, poller)
        self._refuse = refuse
        self._deflate = deflate
        self._outbox: Outbox | None = None  # made when there is something to queue
        self._clear = False
        self._memberships: tuple[Membership[Any], ...] = ()
        self._unsent: memoryview | None = None
        self._urgent = b""
        self._goodbye = b""  # while it has to wait
        self._goodbye_sent = False
        self._max_size = settings.outbox_bytes
        self._is_begun = False  # frames are spoken; before that, HTTP
        self._is_deaf = False  # the peer broke the protocol: what it sends has no meaning any more
        self._flushed: trio.Event | None = None
        self._writing_since = inf

    def _set_clear(self, is_clear: bool) -> None:
        self._clear = is_clear
        for membership in self._memberships:
            self._set_inline(membership)

    def _set_inline(self, membership: Membership[Any]) -> None:
        """Groups may use the socket's own `send`, unless the peer is written to compressed."""
        membership.set_inline(self._sock_send if self._clear and not self._deflate else None)

    def attach(self, membership: Membership[Any]) -> None:
        self._memberships = (*self._memberships, membership)
        self._set_inline(membership)

    def detach(self, membership: Membership[Any]) -> None:
        self._memberships = tuple(other for other in self._memberships if other is not membership)

    @abstractmethod
    def _set_timer(self) -> None:
        """A deadline has changed."""

    async def send(self, frame: Frame) -> None:
        if self._clear and frame.size <= self._max_size:
            await checkpoint_if_cancelled()  # without yielding: nothing has changed behind it
            self._write(frame.deflated if self._deflate else frame.wire)
            await cancel_shielded_checkpoint()
        else:
            await self._send_queued(frame)

    async def _send_queued(self, frame: Frame) -> None:
        if self.lifecycle.phase is not Phase.OPEN:
            await checkpoint()
            self._check_open()
        try:
            await self._queue().send(frame)
        except trio.ClosedResourceError:
            raise self._disconnect() from None
        except MessageTooBig:
            await checkpoint()
            raise
        self.flush()

    def flush(self) -> None:
        """Somebody has waited for room in the outbox, and meanwhile the backlog may have gone away."""
        if self._clear:
            self._set_clear(False)
            self._drain()

    def offer(self, frame: Frame, key: Hashable = None) -> None:
        if self._clear:
            self._write(frame.deflated if self._deflate else frame.wire)
        elif self.lifecycle.end is not None:
            self.counts.lost += 1
        elif not self._queue().offer(frame, key):
            self.evict(End.of(Cause.OVERFLOW, "too slow"))

    def offer_batch(self, kind: Kind, batch: Batch, written: int = 0) -> None:
        if not self._clear or self._deflate:
            super().offer_batch(kind, batch)
            return
        data = batch.wire(kind)
        if not written:
            try:
                written = self._sock_send(data)
            except BlockingIOError:
                pass
            except OSError:
                self._lost(data)
                return
        if written != len(data):
            self._back_up(kind, batch, written)

    def _write(self, data: bytes) -> None:
        """One non-blocking send of a whole frame; what the kernel does not take is kept."""
        try:
            sent = self._sock_send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._lost(data)
            return
        if sent != len(data):
            self._keep(memoryview(data)[sent:])

    def _back_up(self, kind: Kind, batch: Batch, sent: int) -> None:
        """Keep the rest of a batch of which `sent` bytes are gone: the torn frame first, the others by the policy."""
        frames = batch.frames(kind)
        torn = 0
        while sent >= len(frames[torn].wire):
            sent -= len(frames[torn].wire)
            torn += 1
        self._keep(memoryview(frames[torn].wire)[sent:])
        if torn + 1 < len(frames):
            super().offer_batch(kind, Batch(batch.messages[torn + 1 :]))

    def _keep(self, rest: memoryview) -> None:
        self._unsent = rest
        self._set_clear(False)
        self._writing_since = trio.current_time()
        self._set_timer()
        self._watch(self.interest | WRITE)

    def _queue(self) -> Outbox:
        if self._outbox is None:
            settings = self.settings
            self._outbox = Outbox(settings.outbox_messages, settings.outbox_bytes, self.policy, self.counts)
        return self._outbox

    def _drain(self) -> None:
        """Write what is queued until there is no more or the kernel is full."""
        while self._unsent is None and not self._is_gone:
            data = self._next_bytes()
            if not data:
                self._drained()
                return
            self._write(data)

    def _next_bytes(self) -> bytes:
        if self._urgent:
            data, self._urgent = self._urgent, b""
            return data
        parts: list[bytes] = []
        size = 0
        outbox = self._outbox
        while outbox is not None and outbox.messages and size < JOIN_SIZE:
            frame = outbox.take_nowait()
            parts.append(frame.deflated if self._deflate else frame.wire)
            size += frame.size
        if not parts and self._goodbye:
            data, self._goodbye = self._goodbye, b""
            return data
        return b"".join(parts)

    def _drained(self) -> None:
        self._writing_since = inf
        self._watch(self.interest & ~WRITE)
        if self.lifecycle.phase is Phase.OPEN:
            self._set_clear(True)
        elif self.lifecycle.phase is not Phase.CONNECTING:
            self._said_goodbye()

    def _resume_writing(self) -> None:
        """The kernel has room again."""
        unsent, self._unsent = self._unsent, None
        if unsent is not None:
            try:
                sent = self._sock_send(unsent)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._unsent = unsent
                self._lost()
                return
            if sent < len(unsent):
                self._unsent = unsent[sent:]
                return
        self._writing_since = trio.current_time()
        self._drain()

    def statistics(self) -> SendStatistics:
        messages = size = 0
        if self._unsent is not None:
            messages, size = 1, len(self._unsent)
        if self._outbox is not None:
            messages, size = messages + self._outbox.messages, size + self._outbox.bytes
        return SendStatistics.of(messages, size, self.counts)

    # Ending

    async def close(self, end: End) -> None:
        if not self._ended(Occurrence.LOCAL_CLOSE, end):
            await checkpoint()
            return
        self._say_goodbye(self._goodbye_for(end))
        await self._until_goodbye_sent()

    async def _until_goodbye_sent(self) -> None:
        """Checkpoint: always. Cancellation: the goodbye is still on its way, until the block is left."""
        with trio.move_on_after(self.settings.write_timeout) as scope:
            await self._until_flushed()
        if scope.cancelled_caught:
            self._let_go(reset=True)

    async def _until_flushed(self) -> None:
        """Until the kernel has everything, or the socket is closed. Checkpoint: always."""
        if self._goodbye_sent or self._is_gone:
            await checkpoint()
            return
        if self._flushed is None:
            self._flushed = trio.Event()
        await self._flushed.wait()

    def evict(self, end: End) -> None:
        self._ended(Occurrence.LOCAL_CLOSE, end)
        self.inbox.discard()
        if self._outbox is not None:
            self._outbox.discard()
        self._say_goodbye(self._goodbye_for(end))

    def _goodbye_for(self, end: End) -> bytes:
        if self._is_begun or self._refuse is None:
            return close_frame(end.code, end.reason)
        if self._outbox is not None:
            self._outbox.discard()  # a peer without a handshake cannot get messages
        return self._refuse(REFUSALS.get(end.cause, 403), (), b"")

    def _say_goodbye(self, goodbye: bytes) -> None:
        """Send it behind what is queued. Nothing is accepted after it."""
        if self._is_gone or self._goodbye_sent or self._goodbye:
            return
        self._set_clear(False)
        if self._outbox is not None:
            self._outbox.close()
        self._goodbye = goodbye
        if self._writing_since == inf:  # else the deadline of what is on its way stands
            self._writing_since = trio.current_time()
            self._set_timer()
        if self._unsent is None:
            self._drain()

    def _said_goodbye(self) -> None:
        self._goodbye_sent = True
        if self._flushed is not None:
            self._flushed.set()
        if not self._is_begun or self._is_deaf:  # there will be no close frame that we understand
            self._shut_down_writing()
        elif self.lifecycle.phase is Phase.CLOSED:
            self._let_go(reset=False)
        self._watch(READ | PEER_LEFT)  # for the peer's close frame, or until it hangs up

    def _lost(self, data: bytes = b"") -> None:
        """The peer is gone. `data`: what could not be written to it."""
        if data:
            self._unsent = memoryview(data)
        self._ended(Occurrence.LOST, End.of(Cause.PEER_LOST))
        self._let_go(reset=False)

    def _let_go(self, *, reset: bool) -> None:
        if self._is_gone:
            return
        self._set_clear(False)
        unsent, self._unsent = self._unsent, None
        if unsent is not None and self._is_begun:
            self.counts.lost += messages_behind(unsent)
        if self._outbox is not None:
            self._outbox.discard()
            self._outbox.close()
        super()._let_go(reset=reset)
        if self._flushed is not None:
            self._flushed.set()
