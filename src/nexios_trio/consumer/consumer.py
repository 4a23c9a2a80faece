"""`WebSocketConsumer`: a connection's life as three methods, with a channel and its groups at hand."""

import copy
import inspect
import json
import logging
from collections.abc import Sequence
from typing import Any, ClassVar

import trio

from ..channels.channel import Channel
from ..connections.handler_errors import DISCONNECTS, end_after, mistake_in
from ..connections.last_calls import last_calls_scope
from ..connections.websocket import WebSocket
from ..core.json import encode_json
from ..core.lifecycle import Cause
from ..engines.base import Receipt
from ..exceptions import InvalidMessage, WebSocketDisconnect, WrongFrameType
from ..groups.box import current_box
from ..groups.results import ChannelAddStatusEnum, ChannelRemoveStatusEnum, GroupSendStatusEnum
from ..routing.route import WebsocketRoute
from ..validation.messages import Validate, validator
from ..validation.problems import not_json
from .synchronous import SynchronousMessages, check_hooks, is_hook_of

__all__ = ["WebSocketConsumer", "WebSocketEndpoint"]

_ENCODINGS = (None, "json", "text", "bytes")


class WebSocketConsumer:
    """Subclass it and register the class: every connection gets its own instance.

    Attributes:
        encoding: how received messages are decoded for `on_receive`: "json", "text", "bytes", or None for str or bytes
            as they come. It is also the payload type of `self.channel` ("json" for None).
        message_type: a pydantic model, a msgspec Struct or an attrs class: `on_receive` gets its objects, and a message
            that is none is answered, see `on_invalid`. The encoding is then "json".
        channel_class: what `self.channel` is made of.
        expires: seconds that the channel lives after the peer was last heard of, by a message or a pong; None for ever.
            A connection whose channel expires is closed with 1001.
        middleware: runs innermost, around this consumer.
        logging_enabled, logger: where connections and errors are noted; payloads never are.
    """

    encoding: ClassVar[str | None] = None
    message_type: ClassVar[type[Any] | None] = None
    channel_class: ClassVar[type[Channel]] = Channel
    expires: ClassVar[float | None] = 3600
    middleware: ClassVar[Sequence[Any]] = ()
    logging_enabled: bool = True
    logger: logging.Logger = logging.getLogger("nexios_trio.consumer")

    _validate: ClassVar[Validate[Any] | None] = None
    _is_synchronous: ClassVar[bool] = False  # `on_receive` is; read when a route is registered, too
    _can_be_idle: ClassVar[bool] = False  # nothing of its own stands around its life; read by routes

    # Set for the life of a connection.
    websocket: WebSocket
    channel: Channel

    def __init__(self, *, logging_enabled: bool | None = None) -> None:
        if logging_enabled is not None:
            self.logging_enabled = logging_enabled

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.encoding not in _ENCODINGS:
            accepted = ", ".join(map(repr, _ENCODINGS))
            raise ValueError(f"{cls.__name__}.encoding must be one of {accepted}, not {cls.encoding!r}")
        cls._declare_messages()
        cls._is_synchronous = check_hooks(cls, WebSocketConsumer)
        cls._can_be_idle = cls._is_synchronous and cls.__call__ is WebSocketConsumer.__call__

    @classmethod
    def _declare_messages(cls) -> None:
        if cls.message_type is None:
            cls._validate = None
            return
        if cls.encoding not in (None, "json"):
            raise ValueError(f'{cls.__name__} has a message_type: its encoding must be "json", not {cls.encoding!r}')
        cls.encoding = "json"
        cls._validate = validator(cls.message_type)

    @classmethod
    def as_route(
        cls, path: str, *, middleware: Sequence[Any] | None = None, name: str | None = None, **init_kwargs: Any
    ) -> WebsocketRoute:
        """A route that makes a new instance, with `init_kwargs`, for every connection.

        Raises: TypeError when the class does not take these arguments.
        """
        inspect.signature(cls).bind(**init_kwargs)

        async def consume(websocket: WebSocket) -> None:
            await cls(**init_kwargs)(websocket)

        consume._is_synchronous = cls._is_synchronous  # type: ignore[attr-defined]
        consume._idle_handler = consume if cls._can_be_idle else None  # type: ignore[attr-defined]
        consume.__name__ = consume.__qualname__ = cls.__name__
        return WebsocketRoute(path, consume, middleware=[*(middleware or ()), *cls.middleware], name=name)

    # To be overridden

    async def on_connect(self, websocket: WebSocket) -> None:
        """Greet a connection. It is accepted for you afterwards, unless you accepted or refused it.

        Checkpoint: as it is overridden. An error ends the connection, as in a handler.
        """
        await trio.lowlevel.checkpoint()

    def on_receive(self, websocket: WebSocket, data: Any) -> Any:
        """Handle one decoded message. The next is not read before this returns.

        An async method; or a plain one (`def`), called when the message comes, without a task. That must not block,
        sends with `send_nowait`, and so on, and gives what has to wait to `websocket.start_soon`.

        Checkpoint: as it is overridden. An error ends the connection, as in a handler.
        """
        return trio.lowlevel.checkpoint()  # noqa: ASYNC105 - to be awaited by the caller

    async def on_disconnect(self, websocket: WebSocket, close_code: int) -> None:
        """Clean up: called once on every way out. Groups still count this channel, which leaves them afterwards.

        Checkpoint: as it is overridden. Cancellation: shielded, bounded by the setting `cleanup_timeout`.
        """
        await trio.lowlevel.checkpoint()

    def on_decode_error(self, websocket: WebSocket, error: ValueError) -> Any:
        """Handle a message that does not decode. By default the connection is closed: 1007 for bad UTF-8, else 1003.

        Async, or not, as `on_receive`. With a `message_type`, what is not JSON is an invalid message, see `on_invalid`.

        Checkpoint: as `WebSocket.close`, until it is overridden.
        """
        if self.message_type is not None and not _is_bad_text(error):
            return self.on_invalid(websocket, not_json())
        return websocket.close(*self._explain_bad_message(error))

    def on_invalid(self, websocket: WebSocket, error: InvalidMessage) -> Any:
        """Handle what `message_type` does not take. By default the peer gets `error.reply()`, and may go on.

        Async, or not, as `on_receive`.

        Checkpoint: as `WebSocket.send_json`, until it is overridden.
        """
        return websocket.send_json(error.reply())

    # For the methods above

    async def join_group(self, group_name: str) -> ChannelAddStatusEnum:
        """See `ChannelBox.add_channel_to_group`."""
        return await current_box().add_channel_to_group(self.channel, group_name)

    async def leave_group(self, group_name: str) -> ChannelRemoveStatusEnum:
        """See `ChannelBox.remove_channel_from_group`."""
        return await current_box().remove_channel_from_group(self.channel, group_name)

    async def broadcast(
        self, payload: Any, group_name: str = "default", save_history: bool = False, exclude: Any = None
    ) -> GroupSendStatusEnum:
        """See `ChannelBox.group_send`."""
        return await current_box().group_send(group_name, payload, save_history, exclude)

    async def send_to(self, channel_id: Any, payload: Any) -> bool:
        """See `ChannelBox.send_to`."""
        return await current_box().send_to(channel_id, payload)

    async def group(self, group_name: str) -> list[Channel]:
        """Return the group's channels; an empty list if there is no such group. Checkpoint: always."""
        return list(await current_box().show_groups().get(group_name, {}))

    def join_nowait(self, group_name: str) -> ChannelAddStatusEnum:
        """See `ChannelBox.join_nowait`."""
        return current_box().join_nowait(self.channel, group_name)

    def leave_nowait(self, group_name: str) -> ChannelRemoveStatusEnum:
        """See `ChannelBox.leave_nowait`."""
        return current_box().leave_nowait(self.channel, group_name)

    def broadcast_nowait(
        self, payload: Any, group_name: str = "default", save_history: bool = False, exclude: Any = None
    ) -> Receipt:
        """See `ChannelBox.group_send_nowait`."""
        return current_box().post(group_name, payload, save_history, exclude)

    # The life of one connection

    async def __call__(self, websocket: WebSocket) -> None:
        """Serve one connection, on a copy: an instance may be registered for a route, and serves many."""
        await copy.copy(self)._live(websocket)

    async def _live(self, websocket: WebSocket, messages: SynchronousMessages | None = None) -> None:
        """Serve a connection until it is over, or idle; once more with its `messages`, when it is idle no longer."""
        code, is_idle, is_new = 1000, False, messages is None
        if is_new:
            messages = self._begin(websocket)
        try:
            if is_new:
                if not is_hook_of(self.on_connect, WebSocketConsumer.on_connect):  # which does nothing
                    await self.on_connect(websocket)
                if not websocket.is_connected() and websocket.end is None:
                    await websocket.accept()
            if messages is None:
                await self._receive_all(websocket)
            else:
                is_idle = await messages.receive_all()
        except DISCONNECTS:
            pass
        except Exception as error:
            code = end_after(mistake_in(error), is_connecting=False, debug=False).code
            raise
        except BaseException:  # cancelled, or interrupted
            code = 1012
            raise
        finally:
            if not is_idle:
                end = websocket.end
                code = end.code if end is not None else code
                if not is_hook_of(self.on_disconnect, WebSocketConsumer.on_disconnect):
                    with last_calls_scope(websocket.settings.cleanup_timeout) as scope:
                        await self._call_on_disconnect(websocket, code)
                    if scope.cancelled_caught:
                        self.logger.error("on_disconnect of %s took too long", type(self).__name__)
                self._note_end(code)

    def _begin(self, websocket: WebSocket) -> SynchronousMessages | None:
        self.websocket = websocket
        websocket._session.is_synchronous = self._is_synchronous
        self.channel = self.channel_class(websocket, payload_type=self.encoding or "json", expires=self.expires)
        self.channel.lives_with_peer = self.channel.close_on_expire = True
        if not self._is_synchronous:
            return None
        return SynchronousMessages(self, type(self)._validate, WebSocketConsumer.on_disconnect)

    async def _receive_all(self, websocket: WebSocket) -> None:
        while not _was_closed_here(websocket):  # what came before that is of no interest any more
            try:
                data = await self._decode(websocket)
            except InvalidMessage as error:
                await self.on_invalid(websocket, error)
            except (WrongFrameType, json.JSONDecodeError, UnicodeDecodeError) as error:
                await self.on_decode_error(websocket, error)
            else:
                await self.on_receive(websocket, data)

    async def _decode(self, websocket: WebSocket) -> Any:
        try:
            message = await (websocket.receive_message() if self.encoding is None else self.channel.receive())
        finally:
            self.channel.keep_alive()  # one that does not decode is a sign of life, too
        validate = type(self)._validate
        return message if validate is None else validate(message)

    def _on_bad_message(self, error: ValueError) -> Any:
        """Do as `_receive_all` does with a message that cannot be read, synchronously."""
        cls = type(self)
        is_invalid = isinstance(error, InvalidMessage)
        if not is_invalid and cls.on_decode_error is not WebSocketConsumer.on_decode_error:
            return self.on_decode_error(self.websocket, error)
        if not is_invalid and (self.message_type is None or _is_bad_text(error)):
            self.websocket.close_nowait(*self._explain_bad_message(error))
            return None
        invalid = error if isinstance(error, InvalidMessage) else not_json()
        if cls.on_invalid is not WebSocketConsumer.on_invalid:
            return self.on_invalid(self.websocket, invalid)
        self.websocket.send_nowait(encode_json(invalid.reply()).decode())
        return None

    def _explain_bad_message(self, error: ValueError) -> tuple[int, str]:
        """Return the code and reason to close with."""
        return 1007 if _is_bad_text(error) else 1003, f"the message is not {self.encoding}"

    async def _call_on_disconnect(self, websocket: WebSocket, code: int) -> None:
        try:
            await self.on_disconnect(websocket, code)
        except WebSocketDisconnect as error:  # it sent to a peer that has left, which is no mistake
            self.logger.debug("on_disconnect of %s ended early: %s", type(self).__name__, error)
        except Exception:
            was_accepted = websocket._session.is_accepted
            hint = "" if was_accepted else ": it also runs for connections that on_connect did not accept"
            self.logger.exception("on_disconnect of %s failed%s", type(self).__name__, hint)

    def _note_end(self, code: int) -> None:
        if self.logging_enabled:
            self.logger.debug("%s: connection ended with %d", type(self).__name__, code, extra={"code": code})


def _is_bad_text(error: ValueError) -> bool:
    return isinstance(error.__cause__ or error, UnicodeDecodeError)


def _was_closed_here(websocket: WebSocket) -> bool:
    end = websocket.end
    return end is not None and end.cause is Cause.LOCAL_CLOSE


WebSocketEndpoint = WebSocketConsumer
