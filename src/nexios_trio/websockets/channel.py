"""`Channel`: one connection's mailbox, as groups and other connections see it."""

import inspect
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from enum import Enum
from functools import partial
from math import inf
from typing import Any, TypeVar
from uuid import UUID, uuid4

import trio
from trio.lowlevel import checkpoint

from ..core.groups import Backlog, Deliver
from ..core.lifecycle import Cause, End
from ..core.messages import KINDS, Batch, Frame, Kind, PayloadTypeEnum, encode
from ..core.messages import payload_type as to_payload_type
from ..exceptions import MessageTooBig, WebSocketDisconnect
from ..transports.base import SendStatistics
from .base import UntilDisconnect, WebSocket
from .box import ChannelBox, current_box
from .relay import Relay
from .statuses import ChannelAddStatusEnum

logger = logging.getLogger("nexios_trio.channel")

Callback = TypeVar("Callback", bound=Callable[..., Any])


class _Event(Enum):
    CONNECT = "on_connect"
    DISCONNECT = "on_disconnect"
    MESSAGE = "on_message"
    ERROR = "on_error"


class Channel:
    """A connection with a payload type, an identity and a time to live. Several may share one connection.

    Subclasses may override `send`, `_send` and `receive`; group messages then go through the override, one after the
    other, in a task of the channel's own connection.

    Args:
        websocket: the connection.
        payload_type: "json", "text" or "bytes": how payloads are written and read.
        expires: seconds from now after which the channel leaves its groups; None for never.
        close_on_expire: also close the connection then, with 1001.
    Raises: ValueError, TypeError.
    Source: 002, 004.
    """

    def __init__(
        self,
        websocket: WebSocket,
        payload_type: str | PayloadTypeEnum = "json",
        expires: float | None = None,
        *,
        close_on_expire: bool = False,
    ) -> None:
        if not isinstance(websocket, WebSocket):
            raise TypeError(f"a Channel wraps a WebSocket, not {type(websocket).__name__}")
        kind = to_payload_type(payload_type)
        _check_expires(expires)
        self.websocket = websocket
        self.payload_type: str = kind.value
        self.expires = expires
        self.close_on_expire = close_on_expire
        self.uuid: UUID = uuid4()
        self.created = time.time()  # wall clock: for people
        self._kind: Kind = KINDS[kind]
        self._encoding = kind
        self._expires_at = trio.current_time() + expires if expires is not None else None
        self._boxes: tuple[ChannelBox, ...] = ()
        self._releases: tuple[Callable[[Channel], None], ...] = ()
        self._handlers: dict[_Event, list[Callable[..., Any]]] = {}
        self._relay: Relay | None = None
        cls = type(self)
        self._is_relayed = cls.send is not Channel.send or cls._send is not Channel._send
        self._is_over = False
        self._is_released = False
        self._peer = websocket._peer
        self._is_connected_told = self._peer.is_accepted
        if self._peer.is_released:
            raise self._gone()
        self._peer.channels.append(self)
        current_box().track(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.uuid} {self.payload_type}>"

    # Time to live

    @property
    def expires_at(self) -> float | None:
        """When the time to live ends, on `trio.current_time()`; None for never."""
        return self._expires_at

    @property
    def expired(self) -> bool:
        return self._expires_at is not None and self._expires_at <= trio.current_time()

    async def _is_expired(self) -> bool:
        """Checkpoint: always. Source: 002."""
        await checkpoint()
        return self.expired

    def touch(self) -> None:
        """Begin the time to live anew. Does not bring back groups that the channel has left."""
        if self.expires is not None:
            self._expires_at = trio.current_time() + self.expires
            for box in self._boxes:
                box.watch(self)

    # Sending

    async def send(self, payload: Any) -> None:
        """Send to this channel's peer, written as its payload type says. See `WebSocket.send_text`. Source: 004."""
        await self._send(payload)

    async def _send(self, payload: Any) -> None:
        """What `send` does, for subclasses. Source: 002."""
        await self._peer.send(encode(payload, self._encoding))

    async def send_json(self, data: Any) -> None:
        """See `WebSocket.send_json`. Source: 004."""
        await self.websocket.send_json(data)

    async def send_text(self, text: str) -> None:
        """See `WebSocket.send_text`. Source: 004."""
        await self.websocket.send_text(text)

    async def send_bytes(self, data: bytes) -> None:
        """See `WebSocket.send_bytes`. Source: 004."""
        await self.websocket.send_bytes(data)

    # Receiving

    async def receive(self) -> Any:
        """The next message, decoded as the payload type says.

        Checkpoint: always. Cancellation: a message is lost only if an `on_message` handler was running for it.
        Raises: as `WebSocket.receive_json`, `receive_text`, `receive_bytes`. Source: 004.
        """
        match self._encoding:
            case PayloadTypeEnum.JSON:
                return await self.receive_json()
            case PayloadTypeEnum.TEXT:
                return await self.receive_text()
            case PayloadTypeEnum.BYTES:
                return await self.receive_bytes()

    async def receive_json(self) -> Any:
        """See `WebSocket.receive_json`. Source: 004."""
        return await self._received(self.websocket.receive_json)

    async def receive_text(self) -> str:
        """See `WebSocket.receive_text`. Source: 004."""
        text: str = await self._received(self.websocket.receive_text)
        return text

    async def receive_bytes(self) -> bytes:
        """See `WebSocket.receive_bytes`. Source: 004."""
        data: bytes = await self._received(self.websocket.receive_bytes)
        return data

    async def _received(self, receive: Callable[[], Any]) -> Any:
        try:
            message = await receive()
        except ValueError as error:
            await self._fire(_Event.ERROR, error)
            raise
        await self._fire(_Event.MESSAGE, message)
        return message

    def __aiter__(self) -> AsyncIterator[Any]:
        """`async for message in channel`: until the connection is over."""
        return UntilDisconnect(self.receive)

    # The connection

    async def accept(self, subprotocol: str | None = None, headers: Any = None) -> None:
        """See `WebSocket.accept`. Source: 004."""
        await self.websocket.accept(subprotocol, headers)

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        """See `WebSocket.close`. Source: 004."""
        await self.websocket.close(code, reason)

    @property
    def connected(self) -> bool:
        """True between accept and the first close from either side. Source: 004."""
        return self.websocket.is_connected()

    def statistics(self) -> SendStatistics:
        """What is queued for the peer, and what it did not get."""
        return self._peer.transport.statistics()

    def member(self, group_name: str = "default") -> AbstractAsyncContextManager[ChannelAddStatusEnum]:
        """`async with channel.member("room"):` leaving is guaranteed."""
        return current_box().member(self, group_name)

    @property
    def is_over(self) -> bool:
        """Either side has closed, or the channel was released."""
        return self._is_released or self._peer.transport.end is not None

    # Events: each registers a function, sync or async, and returns it unchanged. Source: 004.

    def on_connect(self, handler: Callback) -> Callback:
        """Call `handler(channel)` once: before `accept` returns, or in a task of its own if that was earlier."""
        self._handlers.setdefault(_Event.CONNECT, []).append(handler)
        if self._is_connected_told and not self._peer.is_over:
            self._peer.start_soon(self._call, _Event.CONNECT, handler)
        return handler

    def on_disconnect(self, handler: Callback) -> Callback:
        """Call `handler(channel)` exactly once, when the connection is over; shielded, with `cleanup_timeout` each."""
        self._handlers.setdefault(_Event.DISCONNECT, []).append(handler)
        return handler

    def on_message(self, handler: Callback) -> Callback:
        """Call `handler(channel, message)` for each message that was received and decoded."""
        self._handlers.setdefault(_Event.MESSAGE, []).append(handler)
        return handler

    def on_error(self, handler: Callback) -> Callback:
        """Call `handler(channel, error)` for messages that cannot be decoded, and handlers and overrides that fail."""
        self._handlers.setdefault(_Event.ERROR, []).append(handler)
        return handler

    async def _fire(self, event: _Event, *args: Any) -> None:
        for handler in self._handlers.get(event, ()):
            await self._call(event, handler, *args)

    async def _call(self, event: _Event, handler: Callable[..., Any], *args: Any) -> None:
        """Errors of handlers are reported and go no further."""
        try:
            result = handler(self, *args)
            if inspect.isawaitable(result):
                await result
        except Exception as error:
            await self._failed(event, error)

    async def _failed(self, event: _Event, error: Exception) -> None:
        logger.error("%s of channel %s failed", event.value, self.uuid, exc_info=error, extra={"channel": self.uuid})
        if event is not _Event.ERROR:
            await self._fire(_Event.ERROR, error)

    async def relay_failed(self, error: Exception) -> None:
        """An overridden `send` raised for a group message."""
        if isinstance(error, WebSocketDisconnect):
            await checkpoint()
            return
        logger.error("send of channel %s failed", self.uuid, exc_info=error, extra={"channel": self.uuid})
        await self._fire(_Event.ERROR, error)

    # What the box and the connection call

    def receiver(self) -> Deliver:
        return self._relayed if self._is_relayed else partial(self._peer.transport.offer_batch, self._kind)

    def push(self, payload: Any) -> None:
        frame = encode(payload, self._encoding)
        limit = self._peer.runtime.settings.outbox_bytes
        if frame.size > limit:
            raise MessageTooBig(f"a message of {frame.size} bytes: an outbox holds {limit}")
        if self._is_relayed:
            self._to_relay(payload, frame)
            return
        transport = self._peer.transport
        key_of = transport.policy.key
        transport.offer(frame, None if key_of is None else key_of(payload))

    def _relayed(self, batch: Batch) -> Backlog | None:
        for message in batch.messages:
            self._to_relay(message.payload, message.frame(self._kind))
        return self._relay if self._relay is not None and self._relay.is_high else None

    def _to_relay(self, payload: Any, frame: Frame) -> None:
        if self._relay is None:
            self._relay = Relay(self._peer, self.send, self.relay_failed)
        self._relay.offer(payload, frame)

    def entered(self, box: ChannelBox) -> None:
        self._boxes = (*self._boxes, box)

    def expire(self) -> None:
        if self.close_on_expire:
            self._peer.expire()

    def catch_up(self) -> None:
        for box in self._boxes:
            box.catch_up(self)

    async def accepted(self) -> None:
        for box in self._boxes:
            box.rewire(self)
        if not self._is_connected_told:
            self._is_connected_told = True
            await self._fire(_Event.CONNECT)

    async def disconnected(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        for handler in self._handlers.get(_Event.DISCONNECT, ()):
            with trio.move_on_after(self._peer.runtime.settings.cleanup_timeout, shield=True) as scope:
                await self._call(_Event.DISCONNECT, handler)
            if scope.cancelled_caught:
                logger.error("on_disconnect of channel %s took too long", self.uuid, extra={"channel": self.uuid})

    def on_release(self, release: Callable[["Channel"], None]) -> None:
        """Call `release(channel)`, which must not block, when the channel leaves every group for good."""
        if release not in self._releases:
            self._releases = (*self._releases, release)

    def check_joinable(self) -> None:
        """Raises WebSocketDisconnect when there is nobody left who would take the channel out again."""
        if self._is_released or self._peer.is_dropped:
            raise self._gone()

    def leave_groups(self) -> None:
        for box in self._boxes:
            box.leave_all(self)

    def release(self) -> None:
        self._is_released = True
        for box in self._boxes:
            box.forget(self)
        for release in self._releases:
            release(self)
        self._boxes = self._releases = ()

    def _gone(self) -> WebSocketDisconnect:
        end = self._peer.transport.end
        return WebSocketDisconnect(1000) if end is None else WebSocketDisconnect(end.code, end.reason)

    async def shut(self, code: int, reason: str) -> None:
        """`close`, whatever a subclass makes of it, in bounded time."""
        settings = self._peer.runtime.settings
        with trio.move_on_after(settings.write_timeout + settings.close_timeout) as scope:
            try:
                await self.close(code, reason)
            except Exception:
                logger.exception("close of channel %s failed", self.uuid, extra={"channel": self.uuid})
        if scope.cancelled_caught:
            self._peer.transport.kill(End(code, reason, Cause.LOCAL_CLOSE))


def _check_expires(expires: object) -> None:
    if expires is None:
        return
    if isinstance(expires, bool) or not isinstance(expires, int | float):
        raise TypeError(f"expires must be a number of seconds, or None, not {type(expires).__name__}")
    if not 0 < expires < inf:
        raise ValueError(f"expires must be a number of seconds above 0, or None for never, not {expires!r}")


@asynccontextmanager
async def open_channel(
    websocket: WebSocket,
    payload_type: str | PayloadTypeEnum = "json",
    expires: float | None = None,
    *,
    close_on_expire: bool = False,
    subprotocol: str | None = None,
) -> AsyncGenerator[Channel]:
    """Accept the connection if that is still to do, and have a channel for the length of the block.

    At the end of the block the channel has left every group, and the connection is closed with 1000.

    Checkpoint: on entry and exit. Raises: as `WebSocket.accept` and `Channel`.
    """
    channel = Channel(websocket, payload_type, expires, close_on_expire=close_on_expire)
    try:
        if websocket.is_connected():
            await checkpoint()
        else:
            await websocket.accept(subprotocol)
        yield channel
    finally:
        channel.release()
    await channel.close()
