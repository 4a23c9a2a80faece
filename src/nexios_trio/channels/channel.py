"""`Channel`: one connection's mailbox, as groups and other connections see it."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from math import inf
from typing import Any, ClassVar, TypeVar, overload

import trio
from trio.lowlevel import checkpoint

from ..connections.until_disconnect import UntilDisconnect
from ..connections.websocket import WebSocket
from ..core.envelope import ENVELOPE
from ..core.message import Position
from ..core.overflow import Decide, Policy, resolve_policy
from ..core.payloads import PayloadTypeEnum
from ..core.payloads import payload_type as to_payload_type
from ..groups.box import current_box
from ..groups.results import ChannelAddStatusEnum, Oldest, Resumed
from ..transports.base import SendStatistics
from .connection_binding import ConnectionBinding
from .events import Event
from .override_queue import after_queued, is_ours

Callback = TypeVar("Callback", bound=Callable[..., Any])


class Channel(ConnectionBinding):
    """A connection with a payload type, an identity and a time to live. Several may share one connection.

    Subclasses may override `send`, `_send` and `receive`; group messages then go through the override, one after the
    other, in a task of the channel's own connection.

    Args:
        websocket: the connection.
        payload_type: "json", "text" or "bytes": how payloads are written and read.
        expires: seconds from now after which the channel leaves its groups; None for never.
        close_on_expire: also close the connection then, with 1001.
        overflow: a policy for group messages that the peer has no room for; None for the connection's. Not for
            subclasses that override `send`: what they do with a message is not dropped.
        positions: for "json": each message is written as `{"data": ...}`, a group's with `"group"` and, where the group
            numbers it, `"position"`, which the peer sends back to `resume`.
    Raises: ValueError, TypeError.
    """

    lives_with_peer = False  # a pong of the peer begins the time to live anew; a consumer's channel has it so

    _has_override: ClassVar[bool] = False  # of `send` or `_send`, by a class of the application's

    def __init_subclass__(cls, **options: Any) -> None:
        """Let direct calls of an override wait for the group messages before them."""
        super().__init_subclass__(**options)
        for name in ("send", "_send"):
            function = getattr(cls, name)
            if not is_ours(function):
                cls._has_override = True
                setattr(cls, name, after_queued(function))

    def __init__(
        self,
        websocket: WebSocket,
        payload_type: str | PayloadTypeEnum = "json",
        expires: float | None = None,
        *,
        close_on_expire: bool = False,
        overflow: Policy | str | Decide | None = None,
        positions: bool = False,
    ) -> None:
        if not isinstance(websocket, WebSocket):
            raise TypeError(f"a Channel wraps a WebSocket, not {type(websocket).__name__}")
        type_of_payload = to_payload_type(payload_type)
        _check_expires(expires)
        if positions and type_of_payload is not PayloadTypeEnum.JSON:
            raise ValueError(f'positions need the payload type "json", not {type_of_payload.value!r}')
        super().__init__(
            websocket._session, type_of_payload, overrides_send=self._has_override, close_on_expire=close_on_expire
        )
        if positions:
            self._frame_index = ENVELOPE
        self.websocket = websocket
        self.overflow = None if overflow is None else resolve_policy(overflow)
        self.payload_type: str = type_of_payload.value
        self.expires = expires
        self.created = time.time()  # wall clock: for people
        self._expires_at = trio.current_time() + expires if expires is not None else None
        current_box().track(self)
        if self._session.personal is not None:
            self._session.personal.renew()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.uuid} {self.payload_type}>"

    # Time to live

    @property
    def expires_at(self) -> float | None:
        """The time on `trio.current_time()` at which the time to live ends; None for never."""
        expires_at, expires = self._expires_at, self.expires
        if expires_at is None or expires is None or not self.lives_with_peer:
            return expires_at
        pong_at, calls = self._session.transport.pong_at, self._session.calls
        if calls is not None:
            expires_at = max(expires_at, calls.called_at + expires)
        return expires_at if pong_at is None else max(expires_at, pong_at + expires)

    @property
    def expired(self) -> bool:
        if self.expires is None:
            return False
        expires_at = self.expires_at
        return expires_at is not None and expires_at <= trio.current_time()

    async def _is_expired(self) -> bool:
        """Checkpoint: always."""
        await checkpoint()
        return self.expired

    def touch(self) -> None:
        """Begin the time to live anew. Does not bring back groups that the channel has left."""
        if self.expires is not None:
            self._expires_at = trio.current_time() + self.expires
            for box in self._boxes:
                box.watch(self)

    def keep_alive(self) -> None:
        """Do as `touch`, for each message: the timer stays where it is, and is set anew when it fires too early."""
        if self.expires is not None:
            self._expires_at = trio.current_time() + self.expires

    # Sending

    async def send(self, payload: Any) -> None:
        """Send to this channel's peer, written as its payload type says. See `WebSocket.send_text`."""
        await self._send(payload)

    async def _send(self, payload: Any) -> None:
        """Do what `send` does, for subclasses."""
        await self._session.send(self._encode(payload, self._session.runtime.settings.json_default))

    def send_nowait(self, payload: Any) -> None:
        """Send without waiting for room. See `WebSocket.send_nowait`; where `send` is overridden, through that."""
        frame = self._encode(payload, self._session.runtime.settings.json_default)
        if self._overrides_send:
            self._session.check_open()
            self._offer(payload, frame)
        else:
            self._session.send_nowait(frame, payload, self.uuid, self.overflow)

    async def send_json(self, data: Any) -> None:
        """See `WebSocket.send_json`."""
        await self.websocket.send_json(data)

    async def send_text(self, text: str) -> None:
        """See `WebSocket.send_text`."""
        await self.websocket.send_text(text)

    async def send_bytes(self, data: bytes) -> None:
        """See `WebSocket.send_bytes`."""
        await self.websocket.send_bytes(data)

    # Receiving

    async def receive(self) -> Any:
        """The next message, decoded as the payload type says.

        Checkpoint: always. Cancellation: a message is lost only if an `on_message` handler was running for it.
        Raises: as `WebSocket.receive_json`, `receive_text`, `receive_bytes`.
        """
        match self._payload_type:
            case PayloadTypeEnum.JSON:
                return await self.receive_json()
            case PayloadTypeEnum.TEXT:
                return await self.receive_text()
            case PayloadTypeEnum.BYTES:
                return await self.receive_bytes()

    async def receive_json(self) -> Any:
        """See `WebSocket.receive_json`."""
        return await self._received(self.websocket.receive_json)

    async def receive_text(self) -> str:
        """See `WebSocket.receive_text`."""
        text: str = await self._received(self.websocket.receive_text)
        return text

    async def receive_bytes(self) -> bytes:
        """See `WebSocket.receive_bytes`."""
        data: bytes = await self._received(self.websocket.receive_bytes)
        return data

    async def _received(self, receive: Callable[[], Any]) -> Any:
        try:
            message = await receive()
        except ValueError as error:
            await self._events.fire(Event.ERROR, self, error)
            raise
        if self._events.handlers:
            await self._events.fire(Event.MESSAGE, self, message)
        return message

    def __aiter__(self) -> AsyncIterator[Any]:
        """`async for message in channel`: until the connection is over."""
        return UntilDisconnect(self.receive)

    # The connection

    async def accept(self, subprotocol: str | None = None, headers: Any = None) -> None:
        """See `WebSocket.accept`."""
        await self.websocket.accept(subprotocol, headers)

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        """See `WebSocket.close`."""
        await self.websocket.close(code, reason)

    def close_nowait(self, code: int = 1000, reason: str | None = None) -> None:
        """See `WebSocket.close_nowait`."""
        self.websocket.close_nowait(code, reason)

    @property
    def connected(self) -> bool:
        """True between accept and the first close from either side."""
        return self.websocket.is_connected()

    def statistics(self) -> SendStatistics:
        """Count what is queued for the peer, and what it did not get."""
        return self._session.transport.statistics()

    @overload
    def member(self, group_name: str = "default") -> AbstractAsyncContextManager[ChannelAddStatusEnum]: ...
    @overload
    def member(
        self, group_name: str = "default", *, since: Position | Oldest | str
    ) -> AbstractAsyncContextManager[Resumed]: ...
    @overload
    def member(
        self, group_name: str = "default", *, since: Position | Oldest | str | None
    ) -> AbstractAsyncContextManager[ChannelAddStatusEnum | Resumed]: ...
    def member(
        self, group_name: str = "default", *, since: Position | Oldest | str | None = None
    ) -> AbstractAsyncContextManager[Any]:
        """`async with channel.member("room"):` leaving is guaranteed. With `since`, joining is as in `resume`."""
        return current_box().member(self, group_name, since=since)

    async def resume(self, group_name: str, since: Position | Oldest | str) -> Resumed:
        """Join at a position: get what was missed, then what comes. See `ChannelBox.resume`."""
        return await current_box().resume(self, group_name, since)

    # Events: each registers a function, sync or async, and returns it unchanged.

    def on_connect(self, handler: Callback) -> Callback:
        """Call `handler(channel)` once: before `accept` returns, or in a task of its own if that was earlier."""
        self._events.add(Event.CONNECT, handler)
        if self._is_connected_told and not self._session.is_over:
            self._session.start_soon(self._events.call, Event.CONNECT, handler, self)
        return handler

    def on_disconnect(self, handler: Callback) -> Callback:
        """Call `handler(channel)` exactly once, when the connection is over.

        In the order of registration, shielded; all handlers of a connection have `cleanup_timeout` together. One that
        takes longer than its share goes on beside the next.
        """
        self._events.add(Event.DISCONNECT, handler)
        return handler

    def on_message(self, handler: Callback) -> Callback:
        """Call `handler(channel, message)` for each message that was received and decoded."""
        self._events.add(Event.MESSAGE, handler)
        return handler

    def on_expire(self, handler: Callback) -> Callback:
        """Call `handler(channel)` when the time to live is over, in a task of its own with `cleanup_timeout`."""
        self._events.add(Event.EXPIRE, handler)
        return handler

    def on_gap(self, handler: Callback) -> Callback:
        """Call `handler(channel, group, after, upto)` when messages of a group are lost to this process for good.

        In a task for each gap, in no order: what comes after the gap does not wait for it, and may reach the peer
        before what it sends. The channel stays in the group: it has everything up to the position `after`, and the
        next message comes after `upto`; None for what nobody knows. A channel without such a handler leaves the group,
        and its connection is closed with 1012 within two seconds: the peer comes back and loads anew what it shows.
        """
        self._events.add(Event.GAP, handler)
        return handler

    def on_error(self, handler: Callback) -> Callback:
        """Call `handler(channel, error)` for messages that cannot be decoded, and handlers and overrides that fail."""
        self._events.add(Event.ERROR, handler)
        return handler


def _check_expires(expires: object) -> None:
    if expires is None:
        return
    if isinstance(expires, bool) or not isinstance(expires, int | float):
        raise TypeError(f"expires must be a number of seconds, or None, not {type(expires).__name__}")
    if not 0 < expires < inf:
        raise ValueError(f"expires must be a number of seconds above 0, or None for never, not {expires!r}")
