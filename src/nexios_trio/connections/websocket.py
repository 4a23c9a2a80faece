"""`WebSocket`: one connection, as its handler sees it."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from enum import Enum
from functools import partial
from math import inf
from typing import Any, Generic, TypeVar

from starlette.datastructures import QueryParams
from starlette.requests import HTTPConnection
from trio import current_time
from trio.lowlevel import checkpoint

from ..config.settings import Settings
from ..core.json import decode_json
from ..core.lifecycle import Cause, End, Phase, check_close_code, check_reason
from ..core.message import Frame, binary_frame, encode_json, text_frame
from ..exceptions import LifecycleError, WebSocketDisconnect, WebSocketException, WrongFrameType
from ..protocol.handshake import check_headers, check_subprotocol
from .session import Session

__all__ = ["WebSocket", "WebSocketDisconnect", "WebSocketException", "WebSocketState"]


logger = logging.getLogger("nexios_trio.connection")

T = TypeVar("T")


class WebSocketState(Enum):
    """Where a connection is in its life."""

    CONNECTING = 0
    CONNECTED = 1
    DISCONNECTED = 2
    RESPONSE = 3


_STATES = {
    Phase.CONNECTING: WebSocketState.CONNECTING,
    Phase.OPEN: WebSocketState.CONNECTED,
    Phase.CLOSING: WebSocketState.DISCONNECTED,
    Phase.CLOSED: WebSocketState.DISCONNECTED,
}


class UntilDisconnect(Generic[T]):
    """`async for` over what a function receives, until the connection is over.

    Not an async generator: it may be left at any time, and an error in between (a bad message) does not end it.
    """

    __slots__ = ("_receive",)

    def __init__(self, receive: Callable[[], Awaitable[T]]) -> None:
        self._receive = receive

    def __aiter__(self) -> "UntilDisconnect[T]":
        return self

    async def __anext__(self) -> T:
        try:
            return await self._receive()
        except WebSocketDisconnect:
            raise StopAsyncIteration from None


class WebSocket(HTTPConnection):
    """One WebSocket connection. Made by the application, given to the handler, over when the handler ends.

    Headers, cookies, URL, client address and state are as on Starlette's connection object.

    Concurrency: one task at a time may receive; any number may send.
    """

    def __init__(self, session: Session) -> None:
        scope = dict(session.transport.scope)
        scope.setdefault("path_params", {})
        scope["query_params"] = QueryParams(scope.get("query_string", b""))
        scope["app"] = session.app
        super().__init__(scope)
        self._session = session
        self._told_disconnect = False
        self._fanout = session.runtime.box.fanout
        self._get: Callable[[], Awaitable[str | bytes | End]] = partial(not_accepted, session)

    # Information

    @property
    def path_params(self) -> dict[str, Any]:
        params: dict[str, Any] = self.scope["path_params"]
        return params

    @property
    def query_params(self) -> QueryParams:
        params: QueryParams = self.scope["query_params"]
        return params

    @property
    def user(self) -> Any:
        """The user that was authenticated, or None."""
        return self.scope.get("user")

    @property
    def subprotocols(self) -> list[str]:
        """The subprotocols that the client offered, in its order of preference."""
        return list(self.scope.get("subprotocols", ()))

    @property
    def client_state(self) -> WebSocketState:
        return _STATES[self._session.transport.lifecycle.phase]

    application_state = client_state

    def is_connected(self) -> bool:
        """True between `accept` and the first close from either side."""
        return self._session.transport.is_open

    @property
    def end(self) -> End | None:
        """The connection's end (code, reason, cause); None while it goes on."""
        return self._session.transport.end

    @property
    def latency(self) -> float | None:
        """Seconds to the peer and back, of the last ping that it answered; None before, and where we do not ping."""
        return self._session.transport.latency

    @property
    def settings(self) -> Settings:
        """The limits of the application."""
        return self._session.runtime.settings

    @property
    def id(self) -> str:
        """This connection's name in the log, in the field `connection`."""
        return self._session.id

    # Handshake

    async def accept(
        self,
        subprotocol: str | None = None,
        headers: Mapping[str, str] | Iterable[tuple[bytes | str, bytes | str]] | None = None,
    ) -> None:
        """Open the connection.

        Checkpoint: always. Cancellation: the connection may or may not be open.
        Args:
            subprotocol: one of those that the client offered.
            headers: added to the response.
        Raises: ValueError for what the client did not offer, or headers that HTTP or WebSocket forbid; nothing was
            sent. LifecycleError (a RuntimeError) when accepted before. WebSocketDisconnect when the client has left.
        """
        check_subprotocol(subprotocol, self.subprotocols)
        checked = check_headers(headers)
        if self._session.transport.is_open:
            raise LifecycleError("accept() was called before: a connection is accepted once")
        await self._session.accept(subprotocol, checked)
        self._get = self._session.transport.inbox.get

    async def deny(
        self,
        status: int = 403,
        headers: Mapping[str, str] | Iterable[tuple[bytes | str, bytes | str]] | None = None,
        body: bytes = b"",
        reason: str = "",
    ) -> None:
        """Refuse the connection with an HTTP response, instead of `accept`.

        Where the server cannot send one, the client sees 403. A no-op when the connection is over.

        Checkpoint: always. Raises: LifecycleError when the connection was accepted.
        """
        if self._session.transport.is_open:
            raise LifecycleError("the connection was accepted: close() or reject() it")
        if not 400 <= status <= 599:
            raise ValueError(f"status must be an HTTP error, 400 to 599, not {status}")
        await self._session.transport.deny(status, [*check_headers(headers), *_content_length(body)], body, reason)

    async def reject(self, code: int = 1008, reason: str | None = None) -> None:
        """Close with a code that the client sees: a refusal before `accept` is a bare HTTP 403 for a browser.

        Checkpoint: always. Raises: ValueError for a code or reason that may not be sent.
        """
        check_close_code(code)
        check_reason(reason)
        if self._session.transport.lifecycle.phase is Phase.CONNECTING:
            await self.accept()
        await self.close(code, reason)

    # Receiving

    async def receive(self) -> dict[str, Any]:
        """The next message as an ASGI event that has only the key it uses: "text" or "bytes".

        Once the connection is over, one `websocket.disconnect` event, then WebSocketDisconnect.

        Checkpoint: always. Cancellation: nothing is lost.
        Raises: LifecycleError before accept(); trio.BusyResourceError when another task is receiving.
        """
        item = await self._get()
        if isinstance(item, str):
            return {"type": "websocket.receive", "text": item}
        if isinstance(item, bytes):
            return {"type": "websocket.receive", "bytes": item}
        if self._told_disconnect:
            raise WebSocketDisconnect(item.code, item.reason)
        self._told_disconnect = True
        return {"type": "websocket.disconnect", "code": item.code, "reason": item.reason}

    async def receive_message(self) -> str | bytes:
        """The next message: str for text, bytes for binary. Checkpoint, cancellation: as `receive`.

        Raises: WebSocketDisconnect when the connection is over.
        """
        item = await self._get()
        if isinstance(item, End):
            raise WebSocketDisconnect(item.code, item.reason)
        return item

    async def receive_text(self) -> str:
        """The next message, which must be text. Checkpoint, cancellation: as `receive`.

        Raises: WrongFrameType (a ValueError) for a binary message, which is consumed; WebSocketDisconnect.
        """
        item = await self._get()
        if isinstance(item, str):
            return item
        if isinstance(item, End):
            raise WebSocketDisconnect(item.code, item.reason)
        raise WrongFrameType("a text message was expected, a binary one came: use receive_bytes() or receive()")

    async def receive_bytes(self) -> bytes:
        """The next message, which must be binary. Otherwise as `receive_text`."""
        item = await self._get()
        if isinstance(item, bytes):
            return item
        if isinstance(item, End):
            raise WebSocketDisconnect(item.code, item.reason)
        raise WrongFrameType("a binary message was expected, a text one came: use receive_text() or receive()")

    async def receive_json(self, mode: str | None = None) -> Any:
        """The next message, text or binary, decoded from JSON. Checkpoint, cancellation: as `receive`.

        Args:
            mode: "text" or "binary" accepts that frame type only.
        Raises: InvalidJson (a json.JSONDecodeError) for a message that is not JSON, or nested deeper than the setting
            `max_json_depth`; it is consumed, the connection is intact. WrongFrameType; WebSocketDisconnect.
        """
        _check_mode(mode)
        max_depth = self.settings.max_json_depth
        if mode is None:
            return decode_json(await self.receive_message(), max_depth)
        return decode_json(await (self.receive_text() if mode == "text" else self.receive_bytes()), max_depth)

    def __aiter__(self) -> AsyncIterator[str | bytes]:
        """`async for message in ws`: str or bytes, until the connection is over."""
        return UntilDisconnect(self.receive_message)

    def iter_text(self) -> AsyncIterator[str]:
        """`receive_text` until the connection is over."""
        return UntilDisconnect(self.receive_text)

    def iter_bytes(self) -> AsyncIterator[bytes]:
        """`receive_bytes` until the connection is over."""
        return UntilDisconnect(self.receive_bytes)

    def iter_json(self) -> AsyncIterator[Any]:
        """`receive_json` until the connection is over."""
        return UntilDisconnect(self.receive_json)

    # Sending

    async def send_text(self, data: str) -> None:
        """Send a text message.

        Waits for room in the outbox, not for the peer.

        Checkpoint: always. Cancellation: the message was not queued.
        Raises: WebSocketDisconnect when the connection is over; ValueError for text that UTF-8 cannot carry;
            MessageTooBig for one that never fits into the outbox; LifecycleError before accept().
        """
        if not isinstance(data, str):
            raise TypeError(f"send_text takes a str, not {type(data).__name__}; see send_bytes and send_json")
        if self._fanout.dirty:  # group messages are on their way: they go first
            self._session.catch_up()
        await self._session.transport.send(text_frame(data))

    async def send_bytes(self, data: bytes | bytearray | memoryview) -> None:
        """Send a binary message. Otherwise as `send_text`."""
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"send_bytes takes bytes, not {type(data).__name__}; see send_text and send_json")
        await self._session.send(binary_frame(data))

    async def send_json(self, data: Any, mode: str = "text") -> None:
        """Send compact JSON, as a text message or, with mode="binary", a binary one. Otherwise as `send_text`.

        Raises: ValueError for what JSON cannot carry, NaN included; nothing was queued.
        """
        _check_mode(mode)
        await self._session.send(Frame(encode_json(data), text=mode == "text"))

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send an ASGI event: `websocket.accept`, `websocket.send` or `websocket.close`.

        Raises: TypeError for anything else, such as a message for `send_text`.
        """
        if not isinstance(message, Mapping):
            raise TypeError(
                f"send takes an ASGI event, not {type(message).__name__}; see send_text, send_bytes and send_json"
            )
        match message["type"]:
            case "websocket.accept":
                await self.accept(message.get("subprotocol"), message.get("headers"))
            case "websocket.send" if message.get("bytes") is not None:
                await self.send_bytes(message["bytes"])
            case "websocket.send":
                await self.send_text(message["text"])
            case "websocket.close":
                await self.close(message.get("code", 1000), message.get("reason"))
            case other:
                raise ValueError(f"an event type to send must be websocket.accept, .send or .close, not {other!r}")

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        """Close. What is queued goes out first, within the write deadline; a no-op once either side has closed.

        Before accept() the client sees HTTP 403; see `reject` and `deny`.

        Checkpoint: always. Cancellation: the connection is over all the same; what was queued may be lost.
        Raises: ValueError for a code other than 1000, 1001, 1003, 1007-1013, 3000-4999, or a reason over 123 bytes.
        """
        check_close_code(code)
        end = End(code, check_reason(reason), Cause.LOCAL_CLOSE)
        if self._session.transport.lifecycle.phase is Phase.CONNECTING:
            if code != 1000:
                logger.debug(
                    "closed with %d before accept(): the client sees HTTP 403; reject() tells it the code", code
                )
            await self._session.transport.deny(403, _content_length(b""), b"", end.reason)
        elif self.is_connected():
            await self._session.close(end)
        else:
            await checkpoint()

    # Time

    @property
    def expires_at(self) -> float | None:
        """The time on `trio.current_time()` at which `expire_after` ends the connection; None for never."""
        return self._session.expires_at

    def expire_after(
        self, seconds: float | None, code: int = 4001, reason: str | None = "authentication has expired"
    ) -> None:
        """Close the connection that many seconds from now; called again, it moves the deadline.

        So a refreshed token needs no new connection. The channels leave their groups at once, and what is queued is
        lost.

        Args:
            seconds: above 0; None, or inf, for never.
        Raises: ValueError, TypeError.
        """
        check_close_code(code)
        end = End(code, check_reason(reason), Cause.EXPIRED)
        if seconds is None or seconds == inf:
            self._session.expire_at(None)
        elif not seconds > 0:
            raise ValueError(f"seconds must be above 0, or None for never, not {seconds!r}")
        elif self._session.transport.end is None:
            self._session.expire_at(current_time() + seconds, end)

    # Tasks

    def start_soon(self, function: Callable[..., Awaitable[Any]], *args: Any) -> None:
        """Start a task in this connection's nursery: it is cancelled when the handler ends.

        An error in it ends the connection as an error in the handler does.

        Raises: LifecycleError when the connection is over.
        """
        self._session.start_soon(function, *args)


async def not_accepted(session: Session) -> str | bytes | End:
    """Stands for the inbox until `accept` has been called."""
    if session.transport.lifecycle.phase is Phase.CONNECTING:
        raise LifecycleError("call accept() before receiving")
    return await session.transport.inbox.get()


def _check_mode(mode: str | None) -> None:
    if mode not in (None, "text", "binary"):
        raise ValueError(f'mode must be "text" or "binary", not {mode!r}')


def _content_length(body: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"content-length", b"%d" % len(body))]
