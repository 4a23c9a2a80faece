"""The way out through an ASGI server's `send`: one task that empties the outbox.

How much of a message the peer has taken cannot be seen here, only when the server takes the next one. So a write may
last as long as a peer that reads at `min_read_rate` needs for it, `write_timeout` at least; and each message that was
taken buys time for the next ones, as on a socket of ours (`progress`).

Some servers shield their `send` from cancellation. A writer stuck in one holds nobody up but its own block: the
connection ends, its memberships are gone, its handler runs out, and only then is it waited for.
"""

import logging
from collections.abc import Hashable
from math import inf
from typing import Any

import trio
from trio.lowlevel import checkpoint

from ..asgi_types import Scope, Send
from ..config.settings import Settings
from ..core.lifecycle import Cause, End, Occurrence, Phase
from ..core.message import Batch, Frame
from ..core.overflow import Policy
from ..exceptions import MessageTooBig
from ..pubsub.group import Membership
from ..pubsub.writing import Backlog
from .base import SendStatistics, Transport
from .lazy_event import LazyEvent
from .send_queue import Outbox
from .timers import Timer, Timers

logger = logging.getLogger("nexios_trio.transport")

# How servers say that the peer is gone. ASGI asks for OSError. Hypercorn's stream is busy while hypercorn closes it, as
# it does when peer and application close at the same time: it sends the end without its lock.
GONE = (OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError)
# What h11 and wsproto raise, by whose names no other server need be bothered: the peer has broken the protocol before
# (data ahead of the handshake's answer), and hypercorn has given the connection up, which its `send` tells in this way.
BROKEN_BY_PEER = "LocalProtocolError"


class AsgiWriter(Transport):
    """The way out, and its end."""

    __slots__ = (
        "_deadline",
        "_flushed",
        "_gone",
        "_may_write",
        "_outbox",
        "_send",
        "_timer",
        "_timer_at",
        "_timers",
        "_writing",
        "_writing_bytes",
        "_writing_since",
        "_written",
    )

    def __init__(self, scope: Scope, send: Send, settings: Settings) -> None:
        super().__init__(scope, settings)
        self._outbox: Outbox | None = None
        self._send = send
        self._may_write = LazyEvent()  # the handshake is answered, or a goodbye is its answer
        self._written = LazyEvent()  # the writer is done
        self._flushed = LazyEvent()  # the same, or nothing more can be said
        self._gone = LazyEvent()  # nothing more can be said to the peer, or is heard of it
        self._deadline = inf  # of what is being written, in seconds of trio's clock, if it is short
        self._writing_since = inf
        self._writing_bytes = 0
        self._timer = Timer(self._check_write_deadline)
        self._timer_at = inf
        self._timers: Timers | None = None
        # A write is cancelled only to give its connection up: cancelling the handler leaves the writer alone, or the
        # peer would not be told.
        self._writing = trio.CancelScope(shield=True)

    @property
    def outbox(self) -> Outbox:
        """Made when it is needed: a socket that is taken over may never need it."""
        if self._outbox is None:
            settings = self.settings
            self._outbox = Outbox(settings.outbox_messages, settings.outbox_bytes, self.policy, self.counts)
        return self._outbox

    async def send(self, frame: Frame) -> None:
        if self.lifecycle.phase is not Phase.OPEN:
            await checkpoint()  # or a loop of sends to a peer that has left would freeze the program
            self._check_open()
        try:
            await self.outbox.send(frame)
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

    def offer(self, frame: Frame, key: Hashable = None, policy: Policy | None = None) -> None:
        outbox = self._outbox
        if outbox is None:
            outbox = self.outbox
        if not outbox.offer(frame, key, policy):
            self.evict(End.of(Cause.OVERFLOW, "too slow"))

    def offer_batch(self, membership: Membership[Any], batch: Batch, written: int = 0) -> Backlog | None:
        super().offer_batch(membership, batch)
        return self._outbox if self._outbox is not None and self._outbox.is_high else None

    async def close(self, end: End) -> None:
        if self.close_nowait(end):
            await self._flushed.wait()  # cancelled from outside, the writer goes on until the block is left
        else:
            await checkpoint()

    def close_nowait(self, end: End) -> bool:
        is_connecting = self.lifecycle.phase is Phase.CONNECTING
        if not self._ended(Occurrence.LOCAL_CLOSE, end):
            return False
        self.outbox.close()
        if is_connecting:
            self._may_write.set()
        return True

    async def _until_flushed(self) -> None:
        """Wait until everything is said, as long as messages are taken, and `close_timeout` while none is."""
        settings = self.settings
        is_moving = True
        while is_moving and not self._flushed.is_set():
            taken = self.outbox.taken
            with trio.move_on_after(max(settings.close_timeout, self._writing_bytes / settings.min_read_rate)):
                await self._flushed.wait()
            is_moving = self.outbox.taken != taken

    def evict(self, end: End) -> None:
        is_connecting = self.lifecycle.phase is Phase.CONNECTING
        self._ended(Occurrence.LOCAL_CLOSE, end)
        self.inbox.discard()
        self._discard()
        if is_connecting:
            self._may_write.set()

    def statistics(self) -> SendStatistics:
        if self._outbox is None:
            return SendStatistics.of(0, 0, self.counts)
        return SendStatistics.of(self._outbox.messages, self._outbox.bytes, self.counts)

    def waiting_since(self) -> float | None:
        return self._writing_since if self._writing_since < inf else None

    def _abort(self) -> None:
        self._gone.set()
        self._flushed.set()
        self._discard()

    def _discard(self) -> None:
        self.outbox.discard()
        self.outbox.close()

    def _lost(self, end: End | None = None) -> None:
        self._ended(Occurrence.LOST, end or End.of(Cause.PEER_LOST))
        self._abort()

    # A task

    async def _write(self) -> None:
        try:
            with self._writing:
                await self._may_write.wait()
                await self._write_all()
        finally:
            self._written.set()
            self._flushed.set()

    async def _write_all(self) -> None:
        take = self.outbox.take
        try:
            while True:
                frame = await take()
                # A copy: it is shared, and what stands in between may change it.
                await self._say(frame.event.copy(), frame.size)
        except trio.EndOfChannel:
            end = self.end
            if end is not None:
                await self._say({"type": "websocket.close", "code": end.code, "reason": end.reason})

    async def _say(self, event: dict[str, Any], size: int = 0) -> bool:
        """Hand one event of `size` bytes to the server, under the write deadline; False when the peer is gone."""
        if self._gone.is_set():
            return False
        self._begin_write(size)
        try:
            await self._send(event)
        except GONE:
            self._lost()
            return False
        except Exception as error:
            if type(error).__name__ != BROKEN_BY_PEER:
                logger.exception("the server's send failed")
            self._lost()
            return False
        finally:
            self._writing_since = inf
        self._end_write(size)
        return True

    def _begin_write(self, size: int) -> None:
        self._writing_since = now = trio.current_time()
        self._writing_bytes = size
        if self._deadline == inf:
            self._deadline = now + self.settings.write_timeout
        due = max(self._deadline, now + size / self.settings.min_read_rate)
        if due < self._timer_at and self._timers is not None:
            self._timer_at = due
            self._timers.set(self._timer, due)

    def _end_write(self, size: int) -> None:
        if self._outbox is None or not self._outbox.messages:
            self._deadline = inf  # nobody waits
        else:
            settings, now = self.settings, trio.current_time()
            self._deadline = min(now + settings.write_timeout, max(self._deadline, now) + size / settings.min_read_rate)

    def _check_write_deadline(self) -> None:
        """Kill the connection if one write has taken too long; else look again when the present one would have."""
        self._timer_at = inf
        if self._writing_since == inf or self._timers is None:
            return
        now = trio.current_time()
        due = max(self._deadline, self._writing_since + self._writing_bytes / self.settings.min_read_rate)
        if due <= now:
            seconds = now - self._writing_since
            reason = f"a message of {self._writing_bytes} bytes was not taken in {seconds:.3g} s"
            self.kill(End.of(Cause.WRITE_TIMEOUT, reason))
        else:
            self._timer_at = due
            self._timers.set(self._timer, due)
