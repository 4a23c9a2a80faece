"""Writing: while nothing is queued, one non-blocking `send` in the sender's own task.

What the kernel does not take goes to the outbox, and everything after it too, so that order is kept; the poller empties
it, joining what is queued into one `send`, when the kernel has room again.

    CLEAR                   the only state in which a message may be written at once
    _unsent                 bytes that the kernel has not taken; a frame may be torn here, so nothing overtakes them
    _pong, _is_ping_due     control frames; they go between two frames
    _goodbye                the close frame, or the HTTP response that refuses the handshake; behind everything else

A write is never cancelled. While something waits, the peer has a deadline that moves as it reads (`progress`). Who
misses it is reset, and the kernel lets go too.
"""

import socket
import struct
from abc import abstractmethod
from collections.abc import Hashable
from typing import Any, Final

import trio
from trio.lowlevel import cancel_shielded_checkpoint, checkpoint, checkpoint_if_cancelled

from ...asgi_types import Scope
from ...config.settings import Settings
from ...core.lifecycle import PEER_LOST, Cause, End, Occurrence, Phase
from ...core.message import BINARY_HEADERS, MIN_DEFLATE_BYTES, SHORT_BYTES, TEXT_HEADERS, Batch, Frame, wire_header
from ...core.overflow import Policy
from ...exceptions import MessageTooBig
from ...protocol.frames import BINARY, PING, TEXT, control_frame, messages_behind
from ...pubsub.group import Membership
from ..base import SendStatistics
from ..epoll import WRITE, Poller
from ..send_queue import Outbox
from .kernel import KernelWriter
from .states import State, Step

# Why there is no task that writes, and no lock: docs/decisions/002 and 006
MAX_WRITE_BYTES: Final = 65536  # of queued frames, joined into one write
SENT_AT: Final = struct.Struct("!d")  # the payload of our pings: seconds of trio's clock

_CLEAR = State.CLEAR


class Writer(KernelWriter):
    """The way out."""

    __slots__ = (
        "_goodbye",
        "_is_ping_due",
        "_max_size",
        "_outbox",
        "_ping",
        "_pong",
    )

    def __init__(self, scope: Scope, settings: Settings, sock: socket.socket, poller: Poller, *, deflate: bool) -> None:
        super().__init__(scope, settings, sock, poller, deflate=deflate)
        self._outbox: Outbox | None = None  # made when there is something to queue
        self._pong = b""  # that waits for the end of a frame
        self._ping = b""  # the payload of the last one, until it is answered
        self._is_ping_due = False
        self._goodbye = b""  # while it has to wait
        self._max_size = settings.outbox_bytes

    @abstractmethod
    def _goodbye_written(self) -> None:
        """Everything is in the kernel, our goodbye last."""

    async def send(self, frame: Frame) -> None:
        if self.state is _CLEAR and frame.size <= self._max_size:
            await checkpoint_if_cancelled()  # without yielding: nothing has changed behind it
            self.counts.meant += 1
            self._write((frame.deflated if self._deflate else frame).wire)
            await cancel_shielded_checkpoint()
        else:
            await self._send_queued(frame)

    async def _send_queued(self, frame: Frame) -> None:
        if self.lifecycle.phase is not Phase.OPEN:
            await checkpoint()
            self._check_open()
        try:
            await self._queue().send(frame)
            self.counts.meant += 1
            return
        except trio.ClosedResourceError:
            pass  # raised from in here, the error would lead to that one, and to whom it came through
        except MessageTooBig:
            await checkpoint()
            raise
        raise self._disconnect()

    def use_policy(self, policy: Policy) -> None:
        super().use_policy(policy)
        if self._outbox is not None:
            self._outbox.policy = policy

    def write_nowait(self, payload: bytes, is_text: bool) -> bool:
        size = len(payload)
        if self.state is not _CLEAR or size > self._max_size or (self._deflate and size >= MIN_DEFLATE_BYTES):
            return False
        self.counts.meant += 1
        if size < SHORT_BYTES:
            self._write((TEXT_HEADERS if is_text else BINARY_HEADERS)[size] + payload)
        else:
            self._write(wire_header(TEXT if is_text else BINARY, size) + payload)
        return True

    def offer(self, frame: Frame, key: Hashable = None, policy: Policy | None = None) -> None:
        if self.state is _CLEAR:
            self._write((frame.deflated if self._deflate else frame).wire)
        elif self.lifecycle.end is not None:
            self.counts.lost += 1
        elif not self._queue().offer(frame, key, policy):
            self.evict(End.of(Cause.OVERFLOW, "too slow"))

    def offer_batch(self, membership: Membership[Any], batch: Batch, written: int = 0) -> None:
        if self.state is not _CLEAR or self._is_bounded:
            super().offer_batch(membership, batch)
            return
        data = batch.wire(membership.frame_index)
        if not written:
            try:
                written = self._sock_send(data)
            except BlockingIOError:
                pass
            except OSError:
                self._lost(data)
                return
        if written != len(data):
            self._keep_rest_of_batch(membership, batch, written)

    def _keep_rest_of_batch(self, membership: Membership[Any], batch: Batch, sent: int) -> None:
        """Keep the rest of a batch of which `sent` bytes are gone: the torn frame first, the others by the policy."""
        frames = batch.frames(membership.frame_index)
        torn = 0
        while sent >= len(frames[torn].wire):
            sent -= len(frames[torn].wire)
            torn += 1
        self._keep(memoryview(frames[torn].wire)[sent:])
        if torn + 1 < len(frames):
            super().offer_batch(membership, Batch(batch.messages[torn + 1 :]))

    def _queue(self) -> Outbox:
        if self._outbox is None:
            settings = self.settings
            self._outbox = Outbox(settings.outbox_messages, settings.outbox_bytes, self.policy, self.counts)
        return self._outbox

    def _drain(self) -> None:
        """Write what is queued until there is no more or the kernel is full."""
        while self._unsent is None and self.state is not State.GONE:
            if self._kernel_limit and self._hold_back():
                return
            data = self._next_bytes()
            if not data:
                self._drained()
                return
            self._write(data)
            self._handed += len(data) - self._unsent_bytes

    def _next_bytes(self) -> bytes:
        if self._pong:
            data, self._pong = self._pong, b""
            return data
        if self._is_ping_due:
            self._is_ping_due = False
            return self._new_ping()
        parts: list[bytes] = []
        size = 0
        outbox = self._outbox
        most = self._kernel_limit or MAX_WRITE_BYTES
        while outbox is not None and outbox.messages and size < most:
            frame = outbox.take_nowait()
            parts.append((frame.deflated if self._deflate else frame).wire)
            size += frame.size
        if not parts and self._goodbye:
            data, self._goodbye = self._goodbye, b""
            return data
        return b"".join(parts)

    def _new_ping(self) -> bytes:
        self._ping = SENT_AT.pack(trio.current_time())
        return control_frame(PING, self._ping)

    def _drained(self) -> None:
        self._deadline = None
        self._watch(self.interest & ~WRITE)
        if self.lifecycle.phase is Phase.OPEN:
            self._move(Step.DRAINED)
        else:
            self._goodbye_written()

    def _resume_writing(self) -> None:
        """Go on: the kernel has room again."""
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
            self._handed += sent
            if sent < len(unsent):
                self._unsent = unsent[sent:]
                return
        self._drain()

    def statistics(self) -> SendStatistics:
        messages = size = 0
        if self._unsent is not None:
            messages, size = 1, len(self._unsent)
        if self._outbox is not None:
            messages, size = messages + self._outbox.messages, size + self._outbox.bytes
        return SendStatistics.of(messages, size, self.counts)

    def waiting_since(self) -> float | None:
        return None if self._deadline is None else self._deadline.stalled_since(self._taken())

    def _lost(self, data: bytes = b"") -> None:
        """End: the peer is gone. `data`: what could not be written to it."""
        if data:
            self._unsent = memoryview(data)
        self._ended(Occurrence.LOST, PEER_LOST)
        self._let_go(reset=False)

    def _let_go(self, *, reset: bool) -> None:
        if self.state is State.GONE:
            return
        unsent, self._unsent = self._unsent, None
        if unsent is not None and not self.state.is_http:
            self.counts.lost += messages_behind(unsent)
        if self._outbox is not None:
            self._outbox.discard()
            self._outbox.close()
        super()._let_go(reset=reset)
