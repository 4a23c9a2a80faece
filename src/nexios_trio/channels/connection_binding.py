"""The side of a channel that its box and its connection see. Users see `Channel`."""

import logging
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import trio
from trio.lowlevel import checkpoint

from ..connections.last_calls import LastCall, make_last_calls
from ..connections.session import Session
from ..core.envelope import ENVELOPE, envelope_of
from ..core.json import JsonDefault
from ..core.lifecycle import DROPPED, Cause, End
from ..core.message import Batch, Frame, FrameIndex, Message, Position
from ..core.payloads import FRAME_INDEXES, PayloadTypeEnum, encode
from ..engines.base import Receipt
from ..exceptions import MessageTooBig, WebSocketDisconnect
from ..groups.box_member import BoxMember, MemberBox
from ..pubsub.group import Membership, Receiver
from ..pubsub.writing import Backlog
from .events import Event, Events
from .override_queue import OverrideQueue

logger = logging.getLogger("nexios_trio.channel")


class _ThroughOverride(Receiver):
    """Reaches a channel whose class overrides `send`."""

    def __init__(self, offer: Callable[[Batch], Backlog | None]) -> None:
        self._offer = offer

    def offer_batch(self, membership: Membership[Any], batch: Batch, written: int = 0) -> Backlog | None:
        return self._offer(batch)


class ConnectionBinding(BoxMember):
    """One channel's tie to its connection, and to the boxes that know it.

    Args:
        overrides_send: group messages go through `send`, which a subclass overrides.
    Raises: WebSocketDisconnect when the connection has been cleaned up.
    """

    def __init__(
        self, session: Session, payload_type: PayloadTypeEnum, *, overrides_send: bool, close_on_expire: bool
    ) -> None:
        self.uuid: UUID = uuid4()
        self.close_on_expire = close_on_expire
        self._session = session
        self._payload_type = payload_type
        self._frame_index: FrameIndex = FRAME_INDEXES[payload_type]
        self._events = Events()
        self._boxes: tuple[MemberBox, ...] = ()
        self._releases: tuple[Callable[[Any], None], ...] = ()
        self._override_queue: OverrideQueue | None = None
        self._overrides_send = overrides_send
        self._is_connected_told = session.is_accepted
        self._is_over = False
        self.is_released = False
        self._told_expiry: float | None = None  # the deadline of the last expiry that was told
        if session.is_released:
            raise self._gone()
        session.channels.append(self)

    @abstractmethod
    async def send(self, payload: Any) -> None: ...

    @abstractmethod
    async def close(self, code: int = 1000, reason: str | None = None) -> None: ...

    @property
    def is_over(self) -> bool:
        """Either side has closed, or the channel was released."""
        return self.is_released or self._session.transport.end is not None

    @property
    def identity(self) -> object:
        return self._session.identity

    @property
    def user_key(self) -> str | None:
        return self._session.user_key

    def cancel_on_revoke(self, scope: trio.CancelScope) -> None:
        """A plain channel's identity is read again after each wait; nobody tells it when it changes."""

    def keep_on_revoke(self, scope: trio.CancelScope) -> None: ...

    def receiver(self) -> tuple[Receiver, FrameIndex]:
        receiver = _ThroughOverride(self._offer_batch) if self._overrides_send else self._session.transport
        return receiver, self._frame_index

    def push(self, payload: Any, json_default: JsonDefault | None = None) -> None:
        frame = self._encode(payload, json_default)
        limit = self._session.runtime.settings.outbox_bytes
        if frame.size > limit:
            raise MessageTooBig(f"a message of {frame.size} bytes: an outbox holds {limit}")
        if self._overrides_send:
            self._offer(payload, frame)
        else:
            self._session.transport.offer_alone(frame, payload, self.uuid, self.overflow)

    def _encode(self, payload: Any, json_default: JsonDefault | None) -> Frame:
        """Make a payload that is for this channel alone one frame. Raises: PayloadError."""
        if self._frame_index == ENVELOPE:
            return envelope_of(payload, json_default)
        return encode(payload, self._payload_type, json_default)

    def _offer_batch(self, batch: Batch) -> Backlog | None:
        for message in batch.messages:
            self._offer(message.payload, message.frame(self._frame_index))
        queue = self._override_queue
        return queue if queue is not None and queue.is_high else None

    def _offer(self, payload: Any, frame: Frame) -> None:
        if self._override_queue is None:
            self._override_queue = OverrideQueue(self._session, self.send, self._override_failed)
        self._override_queue.offer(payload, frame)

    async def _override_failed(self, error: Exception) -> None:
        """An overridden `send` raised for a group message."""
        if isinstance(error, WebSocketDisconnect):
            await checkpoint()
        else:
            await self._events.failed("send", self, error)

    def entered(self, box: MemberBox) -> None:
        self._boxes = (*self._boxes, box)

    def expire(self) -> None:
        """The time to live is over. Called for each box that knows the channel; told once."""
        if self._told_expiry == self.expires_at:
            return
        self._told_expiry = self.expires_at
        logger.info("channel %s has expired", self.uuid, extra=self._session.log_fields(channel=self.uuid))
        if self._events.of(Event.EXPIRE) and not self._session.is_over:
            self._session.start_soon(self._call_on_expire)
        if self.close_on_expire:
            self._session.expire()

    def is_excluded(self, message: Message) -> bool:
        return self.uuid in message.excluded or (
            bool(message.excluded_users) and self.user_key in message.excluded_users
        )

    async def send_group_message(self, message: Message) -> None:
        if self._overrides_send:
            await self.send(message.payload)
        else:
            await self._session.send(message.frame(self._frame_index))

    @property
    def has_nothing_queued(self) -> bool:
        return not self._overrides_send and not self._session.transport.statistics().queued_messages

    def push_group_message(self, message: Message) -> None:
        frame = message.frame(self._frame_index)
        if self._overrides_send:
            self._offer(message.payload, frame)
        else:
            self._session.transport.offer_alone(frame, message.payload, self.uuid, self.overflow)

    def missed(self, group: str, after: Position | None, upto: Position | None) -> bool:
        if not self._events.of(Event.GAP) or self._session.is_over:
            return False
        self._session.start_soon(partial(self._events.fire, Event.GAP, self, group, after, upto))
        return True

    def fail_join(self, end: End) -> None:
        self._session.transport.evict(end)

    def come_back(self) -> None:
        self._session.transport.evict(End.of(Cause.GAP, "messages were missed"))

    def catch_up(self) -> None:
        for box in self._boxes:
            box.catch_up(self)

    def unsettled_posts(self) -> list[Receipt]:
        return [receipt for box in self._boxes for receipt in box.unsettled_posts(self)]

    async def settle_posts(self) -> None:
        for box in self._boxes:
            await box.settle_posts(self)

    async def accepted(self) -> None:
        for box in self._boxes:
            box.renew_receiver(self)
        if not self._is_connected_told:
            self._is_connected_told = True
            await self._events.fire(Event.CONNECT, self)

    def disconnect_calls(self) -> list[LastCall]:
        if self._is_over:
            return []
        self._is_over = True
        return self._last_calls(Event.DISCONNECT) if self._events.handlers else []

    def _last_calls(self, event: Event) -> list[LastCall]:
        name, fields = f"{event.value} of channel {self.uuid}", {"channel": self.uuid}
        return [
            LastCall(partial(self._events.call, event, handler, self), name, fields)
            for handler in self._events.of(event)
        ]

    async def _call_on_expire(self) -> None:
        await make_last_calls(self._last_calls(Event.EXPIRE), self._session.runtime.settings.cleanup_timeout)

    def on_release(self, release: Callable[[Any], None]) -> None:
        """Call `release(channel)`, which must not block, when the channel leaves every group for good."""
        if release not in self._releases:
            self._releases = (*self._releases, release)

    def check_joinable(self) -> None:
        """Raises WebSocketDisconnect when there is nobody left who would take the channel out again."""
        end = self._session.transport.lifecycle.end
        if self.is_released or (end is not None and end.cause in DROPPED):
            raise self._gone()

    def leave_groups(self) -> None:
        for box in self._boxes:
            box.leave_all(self)

    def release(self) -> None:
        self.is_released = True
        for box in self._boxes:
            box.forget(self)
        for release in self._releases:
            try:
                release(self)
            except Exception:  # the others must still let go of it, and of the connection's other channels
                logger.exception("a callback at the release of channel %s failed", self.uuid)
        self._boxes = self._releases = ()
        self._override_queue = None
        if self._session.is_released:  # else `on_disconnect` is still to come
            self._events.handlers.clear()  # they may refer to the channel
        elif self._session.personal is not None:
            self._session.personal.renew()

    def _gone(self) -> WebSocketDisconnect:
        end = self._session.transport.end
        return WebSocketDisconnect(1000) if end is None else WebSocketDisconnect(end.code, end.reason)

    async def shut(self, code: int, reason: str) -> None:
        """Call `close`, whatever a subclass makes of it, for `write_timeout` and `close_timeout` at most."""
        settings = self._session.runtime.settings
        with trio.move_on_after(settings.write_timeout + settings.close_timeout) as scope:
            try:
                await self.close(code, reason)
            except Exception:
                logger.exception("close of channel %s failed", self.uuid, extra={"channel": self.uuid})
        is_closing = self._session.transport.end is not None  # as fast as its peer reads
        if scope.cancelled_caught and not is_closing:
            self._session.transport.kill(End(code, reason, Cause.LOCAL_CLOSE))
