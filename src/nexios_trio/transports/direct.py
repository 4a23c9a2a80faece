"""The socket itself: no task, no protocol stack and no copy between a message and the kernel.

Reading: the poller calls `ready`, one `recv` takes what is there, the parser puts messages into the inbox.
Writing: while nothing is queued, one non-blocking `send` in the sender's own task. What the kernel does not take goes
to the outbox, and everything after it too, so that order is kept; the poller empties it, joining what is queued into
one `send`, when the kernel has room again.

    _clear       open and nothing queued: the only state in which a message may be written inline
    _unsent      bytes on their way that the kernel has not taken; a frame may be torn here, so nothing overtakes them
    _urgent      one pong; it goes between two frames
    _goodbye     the close frame, or the HTTP response that refuses the handshake; it goes behind everything else

A write is never cancelled. A peer that does not take one within `write_timeout` is reset, and the kernel lets go too.
"""

import socket
import struct
from collections.abc import AsyncGenerator, Callable, Hashable
from contextlib import asynccontextmanager
from math import inf
from random import random

import trio
from trio.lowlevel import cancel_shielded_checkpoint, checkpoint, checkpoint_if_cancelled

from ..core.lifecycle import Cause, End, Occurrence, Phase
from ..core.messages import Batch, Frame, Kind
from ..core.settings import Settings
from ..exceptions import MessageTooBig
from .base import Headers, Scope, SendStatistics, Transport
from .frames import PING, PONG, FrameParser, Violation, close_frame, control_frame, messages_behind
from .outbox import Outbox
from .poller import BROKEN, PEER_LEFT, READ, WRITE, Poller
from .sweeper import Alarm, Sweeper

RECEIVE_SIZE = 65536
JOIN_SIZE = 65536  # bytes of queued frames joined into one write
# SO_LINGER on, 0 seconds: closing sends a reset and drops what the kernel holds
RESET = struct.pack("ii", 1, 0)
SENT_AT = struct.Struct("!d")  # the payload of our pings: seconds of trio's clock
# HTTP statuses of those who are sent away before their handshake was answered; 403 for the others
REFUSALS = {Cause.SERVER_SHUTDOWN: 503, Cause.ACCEPT_TIMEOUT: 503, Cause.HANDLER_ERROR: 500, Cause.NOT_FOUND: 404}

Answer = Callable[[str | None, Headers], bytes]
Refusal = Callable[[int, Headers, bytes], bytes]


class DirectTransport(Transport):
    """One peer on a non-blocking socket of ours.

    Args:
        answer: the bytes of the handshake's 101 response.
        refuse: the bytes of an HTTP error response.
        received: what the peer sent behind its request.
        deflate: permessage-deflate was negotiated.
    """

    __slots__ = (
        "__weakref__",
        "_alarm",
        "_answer",
        "_clear",
        "_deflate",
        "_events",
        "_flushed",
        "_gone",
        "_goodbye",
        "_goodbye_sent",
        "_heard_at",
        "_is_begun",
        "_is_deaf",
        "_is_gone",
        "_is_silent",
        "_is_watched",
        "_max_size",
        "_may_read",
        "_next_ping",
        "_outbox",
        "_parser",
        "_ping",
        "_poller",
        "_received",
        "_refuse",
        "_sock",
        "_sock_recv",
        "_sock_send",
        "_sweeper",
        "_unsent",
        "_urgent",
        "_writing_since",
        "latency",
        "on_message",
    )

    name = "direct"
    can_abort = True

    def __init__(
        self,
        scope: Scope,
        settings: Settings,
        sock: socket.socket,
        poller: Poller,
        *,
        answer: Answer | None = None,
        refuse: Refusal | None = None,
        received: bytes = b"",
        deflate: bool = False,
    ) -> None:
        super().__init__(scope, settings)
        self._sock = sock
        self._sock_send = sock.send
        self._sock_recv = sock.recv
        self._poller = poller
        self._answer = answer
        self._refuse = refuse
        self._received = received
        self.on_message = self.inbox.put
        self._parser = FrameParser(self, settings.max_message_size, settings.max_fragments, deflate=deflate)
        self._deflate = deflate
        self._outbox: Outbox | None = None
        self._clear = False
        self._unsent: memoryview | None = None
        self._urgent = b""
        self._goodbye = b""  # while it has to wait
        self._goodbye_sent = False
        self._max_size = settings.outbox_bytes
        self._events = 0  # what the poller watches for
        self._is_watched = False
        self._may_read = True
        self._is_begun = False  # frames are spoken; before that, HTTP
        self._is_deaf = False  # the peer broke the protocol: what it sends has no meaning any more
        self._is_gone = False  # the socket is closed
        self._gone: trio.Event | None = None  # somebody waits for that
        self._flushed: trio.Event | None = None
        # Write deadline and heartbeat share one alarm.
        self._sweeper: Sweeper | None = None
        self._alarm = Alarm(self._ring)
        self._writing_since = inf
        self._is_silent = True  # nothing heard since the last look
        self._heard_at = 0.0
        self._next_ping = inf
        self._ping = b""  # the payload of the last one, until it is answered
        self.latency: float | None = None  # seconds, of the last ping that was answered

    def adopt(self, other: Transport, outbox: Outbox | None, sweeper: Sweeper) -> None:
        """Go on for a transport that has answered the handshake: its life, its queues and its owner are ours now.

        Somebody else reads from the socket, until `inherit` is called. `leave` must follow.
        """
        self.lifecycle, self.counts, self.policy = other.lifecycle, other.counts, other.policy
        self.inbox, self._outbox = other.inbox, outbox
        self.inbox.on_room = self._resume_reading
        self.on_message = self.inbox.put
        self.on_end = other.on_end
        self._may_read = False
        self.start(sweeper)
        self.begin()

    def inherit(self, data: bytes) -> None:
        """From here on we read. `data` is what somebody else has read last."""
        self._may_read = True
        self._watch(self._events | READ | PEER_LEFT)
        if data and not self._is_gone:
            self._heard(data)

    # The block

    @asynccontextmanager
    async def open(self, sweeper: Sweeper) -> AsyncGenerator[None]:
        self.start(sweeper)
        try:
            yield
        finally:
            await self.leave()

    def start(self, sweeper: Sweeper) -> None:
        """Notice from now on when the peer leaves. `leave` must follow."""
        self._sweeper = sweeper
        self._watch(self._events | PEER_LEFT)

    async def leave(self) -> None:
        """Wait until both goodbyes are through, shielded, within `close_timeout`; close the socket.

        In a cancelled scope only ours is waited for.
        """
        is_stalled = False
        if not self._is_gone and self.lifecycle.end is not None:
            is_cancelled = trio.current_effective_deadline() == -inf
            with trio.move_on_after(self.settings.close_timeout, shield=True) as scope:
                await self._until_parted(in_a_hurry=is_cancelled)
            is_stalled = scope.cancelled_caught
        if self._sweeper is not None:
            self._sweeper.stop(self._alarm)
        self._let_go(reset=is_stalled or not self._goodbye_sent)
        # Whatever refers back to us: a cycle would wait for a full collection, which is rare (`application.garbage`).
        self._alarm.ring = self.inbox.on_room = self.on_end = _nothing
        self._parser.release()

    async def _until_parted(self, *, in_a_hurry: bool) -> None:
        if not in_a_hurry:
            self._gone = trio.Event()
            await self._gone.wait()
            return
        if not self._goodbye_sent:
            await self._until_flushed()
        self._skim()

    def _skim(self) -> None:
        """Throw away what has come: closing a socket with unread bytes sends a reset, which overtakes our goodbye."""
        try:
            for _ in range(16):
                self._sock_recv(RECEIVE_SIZE)
        except OSError:
            pass

    def _watch(self, events: int) -> None:
        if not self._may_read:
            events &= ~(READ | PEER_LEFT)
        if self._is_gone or events == self._events:
            return
        if self._is_watched:
            self._poller.change(self._sock, events)
        else:
            self._poller.watch(self._sock, self, events)
            self._is_watched = True
        self._events = events

    def _let_go(self, *, reset: bool) -> None:
        """Close the socket."""
        if self._is_gone:
            return
        self._is_gone = True
        self._clear = False
        unsent, self._unsent = self._unsent, None
        if unsent is not None and self._is_begun:
            self.counts.lost += messages_behind(unsent)
        if self._outbox is not None:
            self._outbox.discard()
            self._outbox.close()
        self._poller.forget(self._sock)
        if reset:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._sock.close()
        for event in (self._gone, self._flushed):
            if event is not None:
                event.set()

    # Handshake

    async def accept(self, subprotocol: str | None, headers: Headers) -> Transport:
        await checkpoint_if_cancelled()
        if not self.lifecycle.advance(Occurrence.ACCEPT):
            await cancel_shielded_checkpoint()
            raise self._disconnect()
        if self._answer is not None:
            self._write(self._answer(subprotocol, headers))
        self.begin()
        await cancel_shielded_checkpoint()
        if self._is_gone and not self.inbox:  # what came with the request is read before its end is seen
            raise self._disconnect()
        return self

    def begin(self) -> None:
        """The handshake is answered: frames from here on."""
        if self._is_gone:
            return
        self._is_begun = True
        self._clear = self._unsent is None
        now = trio.current_time()
        self._heard_at = now
        if self.settings.ping_interval < inf:
            self._next_ping = now + self.settings.ping_interval * (0.5 + random() / 2)  # spread over the clients
        self._set_alarm()
        if self._outbox is not None:  # messages from before the handshake
            self._drain()
        self._resume_reading()
        if self._received:
            data, self._received = self._received, b""
            self._feed(data)

    async def deny(self, status: int, headers: Headers, body: bytes, reason: str = "") -> None:
        await checkpoint_if_cancelled()
        if self._ended(Occurrence.DENY, End.of(Cause.DENIED, reason)):
            self._say_goodbye(self._refuse(status, headers, body) if self._refuse is not None else b"")
            await self._until_goodbye_sent()
        else:
            await cancel_shielded_checkpoint()

    # Sending

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
            self._clear = False
            self._drain()

    def offer(self, frame: Frame, key: Hashable = None) -> None:
        if self._clear:
            self._write(frame.deflated if self._deflate else frame.wire)
        elif self.lifecycle.end is not None:
            self.counts.lost += 1
        elif not self._queue().offer(frame, key):
            self.evict(End.of(Cause.OVERFLOW, "too slow"))

    def offer_batch(self, kind: Kind, batch: Batch) -> None:
        if not self._clear or self._deflate:
            super().offer_batch(kind, batch)
            return
        data = batch.wires[kind] or batch.wire(kind)
        try:
            sent = self._sock_send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._lost(data)
            return
        if sent != len(data):
            self._back_up(kind, batch, sent)

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
        self._clear = False
        self._writing_since = trio.current_time()
        self._set_alarm()
        self._watch(self._events | WRITE)

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
        self._watch(self._events & ~WRITE)
        if self.lifecycle.phase is Phase.OPEN:
            self._clear = True
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
        self._clear = False
        if self._outbox is not None:
            self._outbox.close()
        self._goodbye = goodbye
        if self._writing_since == inf:  # else the deadline of what is on its way stands
            self._writing_since = trio.current_time()
            self._set_alarm()
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

    def _abort(self) -> None:
        self._let_go(reset=True)

    def _lost(self, data: bytes = b"") -> None:
        """The peer is gone. `data`: what could not be written to it."""
        if data:
            self._unsent = memoryview(data)
        self._ended(Occurrence.LOST, End.of(Cause.PEER_LOST))
        self._let_go(reset=False)

    def _shut_down_writing(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._let_go(reset=True)

    # Reading: what the poller and the parser call

    def ready(self, events: int) -> None:
        if events == READ:
            self._read()
            return
        if events & READ:
            self._read()
        elif events & BROKEN:
            self._lost()
        elif events & PEER_LEFT:
            self._peer_left()
        if events & WRITE and not self._is_gone:
            self._resume_writing()

    def failed(self, error: Exception) -> None:
        self.kill(End.of(Cause.ABORTED))

    def _read(self) -> None:
        try:
            data = self._sock_recv(RECEIVE_SIZE)
        except BlockingIOError:
            return
        except OSError:
            self._lost()
            return
        if not data:
            self._lost()
            return
        self._heard(data)

    def _heard(self, data: bytes) -> None:
        self._is_silent = False
        if self.lifecycle.phase is not Phase.CLOSED and not self._is_deaf:
            self._feed(data)

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed(data)
        except Violation as violation:
            self._is_deaf = True
            self._ended(Occurrence.LOCAL_CLOSE, violation.end)
            self._say_goodbye(close_frame(violation.end.code, violation.end.reason))
            return
        if self.is_full:
            self._watch(self._events & ~READ)

    @property
    def is_full(self) -> bool:
        """The inbox takes no more for now."""
        return self.inbox.full and self.lifecycle.phase is Phase.OPEN

    def _peer_left(self) -> None:
        """The peer will send no more. What it sent before may still be unread, if the inbox is full."""
        if self.is_full:
            self._watch(self._events & ~PEER_LEFT)
        else:
            self._lost()

    def _resume_reading(self) -> None:
        if self._is_gone or not self._is_begun:
            return
        if self._deflate and not self._is_deaf:
            self._feed(b"")  # compressed messages that had to wait
        if not self.is_full:
            self._watch(self._events | READ)

    def on_ping(self, payload: bytes) -> None:
        pong = control_frame(PONG, payload)
        if self._clear:
            self._write(pong)
        elif self.lifecycle.phase is Phase.OPEN:
            self._urgent = pong  # of several unanswered pings, the last one's suffices

    def on_pong(self, payload: bytes) -> None:
        if payload and payload == self._ping:
            self.latency = trio.current_time() - SENT_AT.unpack(payload)[0]
            self._ping = b""

    def on_close(self, code: int, reason: str) -> None:
        if self.lifecycle.phase is Phase.CLOSING:  # the answer to ours
            self.lifecycle.advance(Occurrence.CLOSED_CLEANLY)
            if self._goodbye_sent:
                self._let_go(reset=False)
            return
        end = End.of(Cause.PEER_CLOSED, reason, code)
        self._ended(Occurrence.PEER_CLOSE, end)
        if self._outbox is not None:
            self._outbox.discard()
        self._say_goodbye(close_frame(end.code, end.reason))
        self.lifecycle.advance(Occurrence.CLOSED_CLEANLY)
        if self._goodbye_sent:
            self._let_go(reset=False)

    # Deadlines

    def _set_alarm(self) -> None:
        if self._sweeper is not None:
            due = min(self._writing_since + self.settings.write_timeout, self._next_ping)
            if due < inf:
                self._sweeper.set(self._alarm, due)

    def _ring(self) -> None:
        now = trio.current_time()
        if self._writing_since + self.settings.write_timeout <= now:
            self.kill(End.of(Cause.WRITE_TIMEOUT, "the peer does not read"))
        elif self._next_ping <= now:
            self._heartbeat(now)
        if not self._is_gone:
            self._set_alarm()

    def _heartbeat(self, now: float) -> None:
        settings = self.settings
        if not self._is_silent or self.is_full:  # we do not listen while it is
            self._is_silent = True
            self._heard_at = now
        if now - self._heard_at >= settings.ping_timeout:
            self._next_ping = inf
            self.kill(End.of(Cause.HEARTBEAT_TIMEOUT, "nothing was heard of the peer"))
            return
        self._next_ping = now + min(settings.ping_interval, max(self._heard_at + settings.ping_timeout - now, 0.001))
        if self._clear:
            self._ping = SENT_AT.pack(now)
            self._write(control_frame(PING, self._ping))

    def statistics(self) -> SendStatistics:
        messages = size = 0
        if self._unsent is not None:
            messages, size = 1, len(self._unsent)
        if self._outbox is not None:
            messages, size = messages + self._outbox.messages, size + self._outbox.bytes
        return SendStatistics.of(messages, size, self.counts)


def _nothing(*_: object) -> None:
    """Stands for a callback that nobody calls any more."""
