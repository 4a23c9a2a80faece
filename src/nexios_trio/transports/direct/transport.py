"""The transport on a socket of ours: its block, its handshake, its deadlines."""

import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from math import ceil, inf
from random import random
from typing import Final

import trio
from trio.lowlevel import cancel_shielded_checkpoint, checkpoint_if_cancelled

from ...asgi_types import Headers, Scope
from ...config.settings import Settings
from ...core.lifecycle import Cause, End, Occurrence
from ...core.overflow import resolve_policy
from ...protocol.parser import FrameParser
from ..base import Transport
from ..epoll import PEER_LEFT, READ, Poller
from ..progress import acknowledged_bytes, unacknowledged_bytes
from ..send_queue import Outbox
from ..timers import Timer, Timers, do_nothing
from .closing import Refusal
from .reader import Reader
from .states import State, Step

# docs/decisions/007
MAX_BEAT_SECONDS: Final = 0.5
MIN_WAIT_SECONDS: Final = 0.001
PINGS_BYTES: Final = 64  # as many as may be under way at once; that a system takes those shows no reading process

Answer = Callable[[str | None, Headers], bytes]


class DirectTransport(Reader):
    """One peer on a non-blocking socket of ours.

    Args:
        answer: the bytes of the handshake's 101 response.
        refuse: the bytes of an HTTP error response.
        received: what the peer sent behind its request.
        deflate: permessage-deflate was negotiated.
    """

    __slots__ = (
        "__weakref__",
        "_acknowledged",
        "_answer",
        "_heard_at",
        "_next_ping",
        "_received",
        "_timer",
        "_timers",
        "_was_waiting",
    )

    name = "direct"
    pings_bytes = PINGS_BYTES
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
        super().__init__(scope, settings, sock, poller, refuse=refuse, deflate=deflate)
        self._answer = answer
        self._received = received
        # Write deadline and heartbeat share one timer.
        self._timers: Timers | None = None
        self._timer = Timer(self._on_timer)
        self._heard_at = 0.0
        self._next_ping = inf
        # At the heartbeat's last look: whether the peer had something to take, and how much it had taken up to then.
        self._was_waiting = False
        self._acknowledged = 0

    def adopt(self, other: Transport, outbox: Outbox | None, timers: Timers) -> None:
        """Go on for a transport that has answered the handshake: its life, its queues and its owner are ours now.

        Somebody else reads from the socket, until `inherit` is called. `leave` must follow.
        """
        self.lifecycle, self.counts, self.policy = other.lifecycle, other.counts, other.policy
        self.inbox, self._outbox = other.inbox, outbox
        self.inbox.on_room = self._resume_reading
        self.on_message = self.inbox.put
        self.on_end = other.on_end
        self._may_read = False
        self.start(timers)
        self.begin()

    def use_settings(self, settings: Settings, *, deflate: bool) -> None:
        """Go by other settings from here on. To be called before a group is joined, and the handshake answered."""
        self.settings = settings
        self.policy = resolve_policy(settings.overflow)
        self.inbox.bound(settings.inbox_messages, settings.inbox_bytes)
        self._max_size = settings.outbox_bytes
        self._deflate = deflate
        self._parser.release()
        self._parser = FrameParser(self, settings.max_message_size, settings.max_fragments, deflate=deflate)

    def inherit(self, data: bytes) -> None:
        """Read from here on. `data` is what somebody else has read last."""
        self._may_read = True
        self._watch(self.interest | READ | PEER_LEFT)
        if data and self.state is not State.GONE:
            self._is_silent = False
            self._feed(data)

    def open(self, timers: Timers) -> AbstractAsyncContextManager[None]:
        return _Block(self, timers)

    def start(self, timers: Timers) -> None:
        """Notice from now on when the peer leaves. `leave` must follow."""
        self._timers = timers
        self._watch(self.interest | PEER_LEFT)

    async def leave(self) -> None:
        """Wait until both goodbyes are through; close the socket.

        The peer has `close_timeout`, which does not run while it reads what was sent before; who does not read is
        reset.

        Cancellation: from then on only the kernel is waited for, to take our goodbye: `close_timeout` at most.
        """
        is_stalled = False
        try:
            if self.state is not State.GONE and self.lifecycle.end is not None:
                is_stalled = not await self._until_parted()
        finally:
            if self._timers is not None:
                self._timers.retire(self._timer)
            self._let_go(reset=is_stalled or not self.state.is_flushed)
            # Whatever refers back to us: a cycle would wait for a full collection, which is rare.
            self.inbox.on_room = self.on_end = do_nothing
            self._answer = self._refuse = None
            self._parser.release()

    async def _until_parted(self) -> bool:
        """Wait for the peer to take everything and to answer; False when it does not take it."""
        is_cancelled = trio.current_effective_deadline() == -inf
        try:
            if not is_cancelled:
                return await self._until_answered()
        except trio.Cancelled:
            await self._until_written()
            raise
        await self._until_written()
        return True

    async def _until_written(self) -> None:
        """Wait for the kernel, and not for the peer. Shielded, and bounded."""
        with trio.move_on_after(self.settings.close_timeout, shield=True):
            await self._until_flushed()
        self._discard_received()

    async def _until_answered(self) -> bool:
        deadline = self._reading_deadline(self.settings.close_timeout)
        is_met = True
        while is_met:
            with trio.move_on_at(deadline.look_at) as scope:
                await self._until_gone()
            if not scope.cancelled_caught:
                return True
            is_met = deadline.is_met(self._taken(), trio.current_time())
        self._discard_received()
        return self.state.is_flushed and not unacknowledged_bytes(self._sock)

    # Handshake

    async def accept(self, subprotocol: str | None, headers: Headers) -> Transport:
        await checkpoint_if_cancelled()
        if not self.lifecycle.advance(Occurrence.ACCEPT):
            await cancel_shielded_checkpoint()
            raise self._disconnect()
        answer, self._answer = self._answer, None
        if answer is not None:
            self._write(answer(subprotocol, headers))
        is_gone = self.state is State.GONE
        self.begin()
        await cancel_shielded_checkpoint()
        if is_gone:  # else it was accepted, and that the peer has left since is for whoever receives
            raise self._disconnect()
        return self

    def begin(self) -> None:
        """Speak frames from here on: the handshake is answered."""
        if self.state is State.GONE:
            return
        self._move(Step.BEGUN)
        self.heed_policy(self.policy)
        now = trio.current_time()
        self._heard_at = now
        if self.settings.ping_interval < inf:
            self._next_ping = self._on_beat(now + self.settings.ping_interval * (0.5 + random() / 2))
        self._set_timer()
        self._drain()  # messages from before the handshake
        self._resume_reading()
        if self._received:
            data, self._received = self._received, b""
            self._feed(data)

    async def deny(self, status: int, headers: Headers, body: bytes, reason: str = "") -> None:
        await checkpoint_if_cancelled()
        if self._ended(Occurrence.DENY, End(1006, reason, Cause.DENIED, status)):
            self._queue_goodbye(self._refuse(status, headers, body) if self._refuse is not None else b"")
            await self._until_flushed()
        else:
            await cancel_shielded_checkpoint()

    # Deadlines

    def _set_timer(self) -> None:
        if self._timers is not None:
            due = self._next_ping if self._deadline is None else min(self._deadline.look_at, self._next_ping)
            if due < inf:
                self._timers.set(self._timer, due)

    def _on_timer(self) -> None:
        now = trio.current_time()
        deadline = self._deadline
        if deadline is not None and deadline.look_at <= now and not deadline.is_met(self._taken(), now):
            self.kill(End.of(Cause.WRITE_TIMEOUT, deadline.explain(now)))
        elif self._next_ping <= now:
            self._heartbeat(now)
        if self.state is not State.GONE:
            self._set_timer()

    def stop_heartbeat(self) -> None:
        self._next_ping = inf  # the timer that is set for it finds nothing to do

    def _heartbeat(self, now: float) -> None:
        settings = self.settings
        if self.lifecycle.end is not None:  # the deadlines of the goodbye hold now
            self._next_ping = inf
            return
        if self._shows_life():
            self._is_silent = True
            self._heard_at = now
        if now - self._heard_at >= settings.ping_timeout:
            self._next_ping = inf
            self.kill(End.of(Cause.HEARTBEAT_TIMEOUT, "nothing was heard of the peer"))
            return
        wait = min(settings.ping_interval, max(self._heard_at + settings.ping_timeout - now, MIN_WAIT_SECONDS))
        self._next_ping = self._on_beat(now + wait)
        if self.state is State.CLEAR:
            self._write(self._new_ping())
        else:
            self._is_ping_due = True  # between two frames

    def _shows_life(self) -> bool:
        """Tell whether anything was heard of the peer since the last look, or it has taken some of what waited then.

        A peer that reads more slowly than we write sees our ping late. While our inbox is full we do not hear it; that
        its system takes what we send has to do.
        """
        waiting = unacknowledged_bytes(self._sock)
        taken = acknowledged_bytes(self._sock) if waiting or self._was_waiting else 0
        is_reading = self._was_waiting and taken != self._acknowledged
        self._was_waiting, self._acknowledged = waiting > self.pings_bytes, taken
        return not self._is_silent or is_reading or (self.is_full and not waiting)

    def _on_beat(self, when: float) -> float:
        """Return when to ping: spread over the clients, but many at once, or waking up would cost more than pings."""
        beat = min(MAX_BEAT_SECONDS, self.settings.ping_interval / 16)
        return ceil(when / beat) * beat


class _Block:
    """`DirectTransport.open`: a class, since every idle connection has one, and a generator takes half a KiB."""

    __slots__ = ("_timers", "_transport")

    def __init__(self, transport: DirectTransport, timers: Timers) -> None:
        self._transport = transport
        self._timers = timers

    async def __aenter__(self) -> None:
        self._transport.start(self._timers)

    async def __aexit__(self, *_: object) -> None:
        await self._transport.leave()
