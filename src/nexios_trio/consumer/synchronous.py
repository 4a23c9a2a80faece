"""Consumers whose `on_receive` is a plain function: what is done with each of their messages."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, Final, Protocol

from ..channels.channel import Channel
from ..channels.events import Event
from ..connections.callables import is_async_callable
from ..connections.message_calls import Admit, Handle, MessageCalls
from ..connections.session import Session
from ..connections.transport_wrapper import behind_wrappers
from ..connections.websocket import WebSocket
from ..core.lifecycle import End
from ..core.payloads import PayloadTypeEnum, decode
from ..exceptions import InvalidMessage, WrongFrameType
from ..transports.base import Transport
from ..validation.messages import Validate

__all__ = ["SynchronousConsumer", "SynchronousMessages", "check_hooks", "is_hook_of"]

_ALWAYS_ASYNC: Final = ("on_connect", "on_disconnect")
_LIKE_ON_RECEIVE: Final = ("on_decode_error", "on_invalid")


class SynchronousConsumer(Protocol):
    """A consumer, as far as it matters here."""

    encoding: ClassVar[str | None]
    websocket: WebSocket
    channel: Channel

    def on_receive(self, websocket: WebSocket, data: Any) -> Any: ...

    def _on_bad_message(self, error: ValueError) -> Any:
        """Call the hook for a message that cannot be read, or do what it does by default."""

    async def on_disconnect(self, websocket: WebSocket, close_code: int) -> None: ...
    def _note_end(self, code: int) -> None: ...

    async def _live(self, websocket: WebSocket, messages: "SynchronousMessages") -> None:
        """Go on with a connection that was idle."""


def is_hook_of(hook: Any, inherited: Callable[..., Any]) -> bool:
    """Tell whether an object's method is the one of the base class, overridden nowhere."""
    return getattr(hook, "__func__", None) is inherited


def check_hooks(cls: type, base: type) -> bool:
    """Tell whether the `on_receive` of a consumer's class is synchronous.

    Raises: TypeError when its other methods do not go with that.
    """
    on_receive = vars(base).get("on_receive")
    if getattr(cls, "on_receive", None) is on_receive or is_async_callable(getattr(cls, "on_receive", None)):
        return False
    for name in _ALWAYS_ASYNC:
        if not is_async_callable(getattr(cls, name)):
            raise TypeError(
                f"{cls.__name__}.{name} is not async: of a consumer's methods only on_receive may be,"
                " on_decode_error and on_invalid; declare it with `async def`"
            )
    for name in _LIKE_ON_RECEIVE:
        hook = getattr(cls, name)
        if hook is not getattr(base, name) and is_async_callable(hook):
            raise TypeError(
                f"{cls.__name__}.on_receive is synchronous, so nobody can await {name}: declare it with `def`"
            )
    return True


class SynchronousMessages:
    """The messages of one connection, for its consumer.

    Args:
        no_on_disconnect: the one that does nothing.
    """

    __slots__ = (
        "_channel",
        "_consumer",
        "_encoding",
        "_events",
        "_idle",
        "_max_depth",
        "_no_on_disconnect",
        "_validate",
        "_websocket",
    )

    def __init__(
        self, consumer: SynchronousConsumer, validate: Validate[Any] | None, no_on_disconnect: Callable[..., Any]
    ) -> None:
        self._consumer = consumer
        self._no_on_disconnect = no_on_disconnect
        self._websocket = consumer.websocket
        self._channel = consumer.channel
        self._validate = validate
        self._encoding = None if consumer.encoding is None else PayloadTypeEnum(consumer.encoding)
        self._max_depth = consumer.websocket.settings.max_json_depth
        self._events = consumer.channel._events
        self._idle = consumer.websocket._session.claim_idle(self)
        behind_wrappers(consumer.websocket._session.transport)  # before anybody is greeted

    async def go_on(self) -> None:
        """Go on in another task, after `receive_all` has become idle."""
        await self._consumer._live(self._websocket, self)

    def end_at_once(self, end: End) -> bool:
        """End here, if the consumer has nothing to wait for."""
        consumer, calls = self._consumer, self._websocket._session.calls
        if not is_hook_of(consumer.on_disconnect, self._no_on_disconnect) or (calls is not None and calls.has_failed):
            return False
        consumer._note_end(end.code)
        self._end_calls()
        return True

    async def receive_all(self) -> bool:
        """Call `on_receive` for each message until the connection is over, or idle. Returns whether it is idle.

        Checkpoint: always, unless it is idle. Raises: what `on_receive` raised.
        """
        session, idle = self._websocket._session, self._idle
        if session.calls is None or idle is None:
            # No name for the transport here either: an error that somebody keeps leads to this frame.
            session.calls = MessageCalls(*self._way(self._handle_of(session)))
        is_idle = False
        try:
            if idle is None:
                await session.calls.run(_never)
            else:
                is_idle = await session.calls.run(session.become_idle, idle.take())
            return is_idle
        finally:
            if not is_idle:
                self._end_calls()

    def _end_calls(self) -> None:
        session = self._websocket._session
        calls, session.calls = session.calls, None
        if calls is not None:
            calls.end()
        self._channel.keep_alive()  # which asks the calls no more

    def _handle_of(self, session: Session) -> Handle:
        handle: Handle = self._handle
        if self._encoding is None and self._validate is None:
            handle = partial(self._consumer.on_receive, self._websocket)
        for watch in session.runtime.watches:
            handle = watch.calling(session, handle)
        return handle

    def _way(self, handle: Handle) -> tuple[Transport, Handle, Sequence[Admit]]:
        transport, admits = behind_wrappers(self._websocket._session.transport)
        return transport, handle, admits

    def _handle(self, item: str | bytes) -> Any:
        consumer = self._consumer
        try:
            data: Any = item
            if self._encoding is not None:
                data = self._decode(item)
            if self._validate is not None:
                data = self._validate(data)
        except (InvalidMessage, WrongFrameType, json.JSONDecodeError, UnicodeDecodeError) as error:
            return consumer._on_bad_message(error)
        return consumer.on_receive(self._websocket, data)

    def _decode(self, item: str | bytes) -> Any:
        encoding = self._encoding
        assert encoding is not None
        events = self._events
        if not events.handlers:
            return decode(item, encoding, self._max_depth)
        start_soon = self._websocket.start_soon
        try:
            data = decode(item, encoding, self._max_depth)
        except ValueError as error:
            events.fire_nowait(Event.ERROR, start_soon, self._channel, error)
            raise
        events.fire_nowait(Event.MESSAGE, start_soon, self._channel, data)
        return data


def _never() -> None:
    """Become idle: not where a task waits in the place of the connection."""
