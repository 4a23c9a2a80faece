"""How one peer is reached. Three ways, one contract: plain ASGI, our own socket, hypercorn's socket taken over.

A transport lives inside `async with transport.open(timers):`. Its reader fills `inbox`, whatever the handler does, and
ends it with the one `End` of the connection. Its writer empties the outbox. The rest of the house calls

    accept, deny            the handshake's answer, once
    send                    waits for room in the outbox
    offer, offer_batch      never wait: the group's way, under the overflow policy
    close                   what is queued, then the close frame, then the end; bounded by `write_timeout`
    evict                   the close frame, in place of what is queued, which is lost, and counted
    kill                    the end now, without a goodbye

and is told of the end, once, by `on_end(end)`, a synchronous function that must not block.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar, Final, Protocol

import attrs

from ..asgi_types import Headers, Scope
from ..config.settings import Settings
from ..core.lifecycle import End, Lifecycle, Occurrence, Phase
from ..core.message import Batch, Frame
from ..core.overflow import Key, Policy, resolve_policy
from ..exceptions import LifecycleError, WebSocketDisconnect
from ..pubsub.group import Membership, Receiver
from ..pubsub.writing import Backlog
from .receive_queue import Inbox
from .send_queue import DeliveryCounts
from .timers import Timers, do_nothing


class MessageSink(Protocol):
    """Who is given the messages of one connection in the turns that they come in, in place of its inbox."""

    turn_calls: int  # in this turn; the transport sets it to 0 at the end of each

    def put(self, item: str | bytes) -> None:
        """Take one message. Must not block, and must not raise."""


# Where a server of ours puts its transport for a connection, and the `receive` and `send` that stand for it. A lifespan
# has it too, without.
TRANSPORT_EXTENSION: Final = "nexios_trio.transport"

logger = logging.getLogger("nexios_trio.fanout")


@attrs.frozen
class SendStatistics:
    """One peer's outbox, and the messages meant for the peer that it did not get."""

    queued_messages: int
    queued_bytes: int
    dropped_oldest: int
    dropped_latest: int
    replaced: int
    lost: int
    policy_errors: int = 0

    @classmethod
    def of(cls, messages: int, size: int, counts: DeliveryCounts) -> "SendStatistics":
        """Of `messages` queued messages, of `size` bytes together."""
        return cls(
            messages,
            size,
            counts.dropped_oldest,
            counts.dropped_latest,
            counts.replaced,
            counts.lost,
            counts.policy_errors,
        )

    @property
    def undelivered(self) -> int:
        return self.dropped_oldest + self.dropped_latest + self.replaced + self.lost


class Transport(Receiver, ABC):
    """One peer's connection, from its request to its end."""

    __slots__ = ("counts", "inbox", "lifecycle", "on_end", "policy", "scope", "settings")

    # What this way can do, for the table in the docs and for tests that must know.
    name: ClassVar[str]
    can_abort: ClassVar[bool]  # a peer that does not read is really gone after `kill`
    latency: float | None = None  # seconds, of the last ping that was answered; for those that ping
    pong_at: float | None = None  # trio's time of the peer's last pong; None before, and where a server keeps it

    def __init__(self, scope: Scope, settings: Settings) -> None:
        self.scope = scope
        self.settings = settings
        self.inbox = Inbox(settings.inbox_messages, settings.inbox_bytes, self._resume_reading)
        self.lifecycle = Lifecycle()
        self.counts = DeliveryCounts()
        self.policy: Policy = resolve_policy(settings.overflow)
        self.on_end: Callable[[End], None] = do_nothing

    @property
    def end(self) -> End | None:
        return self.lifecycle.end

    @property
    def is_open(self) -> bool:
        """Accepted, and neither side has closed."""
        return self.lifecycle.phase is Phase.OPEN

    @abstractmethod
    def open(self, timers: Timers) -> AbstractAsyncContextManager[None]:
        """The block that the transport's tasks live in. Leaving it is bounded in time where `can_abort`."""

    @abstractmethod
    async def accept(self, subprotocol: str | None, headers: Headers) -> "Transport":
        """Answer the handshake with 101. Returns the transport to use from now on. The arguments have been checked."""

    @abstractmethod
    async def deny(self, status: int, headers: Headers, body: bytes, reason: str = "") -> None:
        """Answer the handshake with an HTTP response. Then the connection is over."""

    @abstractmethod
    async def send(self, frame: Frame) -> None:
        """Queue `frame`, waiting for room.

        Checkpoint: always. Cancellation: the frame was not queued.
        Raises: WebSocketDisconnect when the connection has ended, before or while waiting; MessageTooBig.
        """

    @abstractmethod
    def offer(self, frame: Frame, key: Hashable = None, policy: Policy | None = None) -> None:
        """Queue `frame`, or do with it what the overflow policy says. After the end it is counted as lost.

        Args:
            policy: in place of the connection's.
        """

    def write_nowait(self, payload: bytes, is_text: bool) -> bool:
        """Send a message if the connection is open and nothing has to be decided: nothing waits, and it is not too big.

        False where nothing was sent; `offer_alone` is for that.
        """
        return False

    def detach(self, membership: Membership[Any]) -> None:
        self.counts.meant += membership.cursor - membership.first

    def offer_batch(self, membership: Membership[Any], batch: Batch, written: int = 0) -> Backlog | None:
        """`offer` each message of a group's batch. Returns what is queued, if that is more than half of the bounds.

        `written`: bytes of it that the membership's `write_now` has written already.
        """
        index, group = membership.frame_index, membership.group
        own = group.policy or membership.policy
        policy = own or self.policy
        self.counts.has_refused = False
        for number, message in enumerate(batch.messages, 1):
            key = None
            if policy.key is not None:
                key = self._key_of(policy.key, message.payload, id(membership.member), group.name)
            self.offer(message.frame(index), key, own)
            if self.counts.has_refused:
                self.counts.has_refused = False
                self.counts.dropped_latest += len(batch.messages) - number
                membership.receiver.interrupt(membership)
                break
        if self.counts.policy_error is not None and not group.policy_error_told:
            group.policy_error_told = True
            _log_policy_error(f"a member of group {group.name!r}", self.counts.policy_error)
        self.counts.policy_error = None
        return None

    def offer_alone(self, frame: Frame, payload: Any, channel: Hashable, policy: Policy | None = None) -> None:
        """`offer` a message that is for one channel, and was not sent to a group."""
        self.counts.meant += 1
        key = None if (policy or self.policy).key is None else self.key_alone(payload, channel, policy)
        self.offer(frame, key, policy)
        if self.counts.policy_error is not None and self.counts.policy_errors == 1:
            _log_policy_error(f"channel {channel}", self.counts.policy_error)
        self.counts.policy_error = None

    def key_alone(self, payload: Any, channel: Hashable, policy: Policy | None = None) -> Hashable:
        """Return the key of such a message, by which a policy may replace it."""
        key_of = (policy or self.policy).key
        return None if key_of is None else self._key_of(key_of, payload, channel, None)

    def _key_of(self, key_of: Key, payload: Any, channel: Hashable, group: str | None) -> Hashable:
        """The key by which `payload` replaces queued ones of the same channel and group; None where it fails."""
        try:
            key = key_of(payload)
            hash(key)
        except Exception as error:
            self.counts.note_policy_error(error)
            return None
        return None if key is None else (channel, group, key)

    def use_policy(self, policy: Policy) -> None:
        """Go by another overflow policy from here on."""
        self.policy = policy
        self.heed_policy(policy)

    def heed_policy(self, policy: Policy) -> None:
        """Let the kernel hold little, for a policy that has to see what waits; where there is a socket for that."""
        if policy.eager or self.settings.send_buffer is not None:
            self.bound_kernel()

    def bound_kernel(self) -> None:
        """Bound what the kernel holds for the peer, where this way of reaching it can."""

    def stop_heartbeat(self) -> None:
        """Ping no more: a protocol over WebSocket does so itself. Where a server pings, it goes on."""

    @abstractmethod
    async def close(self, end: End) -> None:
        """Send what is queued, then a close frame with `end.code`. A no-op once either side has closed.

        Checkpoint: always. Cancellation: the connection is over all the same; what is queued may be lost.
        """

    @abstractmethod
    def close_nowait(self, end: End) -> bool:
        """Begin to `close`; False once either side has closed."""

    def divert(self, sink: MessageSink | None) -> None:
        """Give messages to `sink`, in the turns that they come in, where this way of reaching the peer has turns.

        None: to the inbox again. The sink takes messages while somebody waits for one in the inbox.
        """

    @abstractmethod
    def evict(self, end: End) -> None:
        """Throw away what is queued and say goodbye with `end.code`, as far as the peer still listens."""

    def kill(self, end: End) -> None:
        """End the connection now, without a goodbye."""
        self._ended(Occurrence.KILL, end)
        self.inbox.discard()
        self._abort()

    @abstractmethod
    def statistics(self) -> SendStatistics:
        """Count what is queued for this peer and what it did not get."""

    def waiting_since(self) -> float | None:
        """Return since when the peer has taken nothing of what waits for it, on trio's clock; None if nothing waits."""
        return None

    @abstractmethod
    def _abort(self) -> None:
        """Let go of the peer without waiting for it, as far as this way of reaching it can."""

    @abstractmethod
    def _resume_reading(self) -> None:
        """The inbox has room again."""

    def _ended(self, occurrence: Occurrence, end: End) -> bool:
        """Note the end; False when there was one already."""
        is_first = self.lifecycle.end is None
        self.lifecycle.advance(occurrence, end)
        if is_first:
            end = self.lifecycle.end or end  # as its protocol has it
            self.inbox.finish(end)
            self.on_end(end)
        return is_first

    def _check_open(self) -> None:
        phase = self.lifecycle.phase
        if phase is Phase.CONNECTING:
            raise LifecycleError("call accept() before sending")
        if phase is not Phase.OPEN:
            raise self._disconnect()

    def _disconnect(self) -> WebSocketDisconnect:
        end = self.lifecycle.end
        return WebSocketDisconnect(1006) if end is None else WebSocketDisconnect(end.code, end.reason)


def _log_policy_error(whose: str, error: Exception) -> None:
    logger.error(
        "the overflow policy failed for %s; its messages are queued without it, as far as there is room",
        whose,
        exc_info=error,
    )
