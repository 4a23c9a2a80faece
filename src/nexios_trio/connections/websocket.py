"""`WebSocket`: one connection, as its handler sees it."""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from math import inf
from typing import Any, Final

from starlette.datastructures import QueryParams
from trio import current_time
from trio.lowlevel import checkpoint

from ..core.close_codes import check_asgi_close_code, check_close_code, check_reason
from ..core.json import encode_json, encode_utf8
from ..core.lifecycle import Cause, End, Phase
from ..core.message import Frame, binary_frame, text_frame
from ..exceptions import LifecycleError, NexiosError, WebSocketDisconnect, WebSocketException
from ..protocol.handshake import check_denial_headers, check_headers, check_subprotocol
from .receiving import ReceivingConnection, WebSocketState, check_mode
from .session import Session

__all__ = ["WebSocket", "WebSocketDisconnect", "WebSocketException", "WebSocketState"]


logger = logging.getLogger("nexios_trio.connection")

_NO_QUERY: Final = QueryParams(b"")  # which cannot be changed


class WebSocket(ReceivingConnection):
    """One WebSocket connection. Made by the application, given to the handler, over when the handler ends.

    Headers, cookies, URL, client address and state are as on Starlette's connection object.

    Concurrency: one task at a time may receive; any number may send.
    """

    def __init__(self, session: Session) -> None:
        scope = session.scope
        scope.setdefault("path_params", {})
        query = scope.get("query_string", b"")
        scope["query_params"] = QueryParams(query) if query else _NO_QUERY
        scope["app"] = session.app
        super().__init__(scope)
        self._session = session
        self._broadcaster = session.runtime.box.broadcaster

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

    async def deny(
        self,
        status: int = 403,
        headers: Mapping[str, str] | Iterable[tuple[bytes | str, bytes | str]] | None = None,
        body: bytes = b"",
        reason: str = "",
    ) -> None:
        """Refuse the connection with an HTTP response, instead of `accept`.

        Where the server cannot send one, the client sees 403. A no-op when the connection is over.

        Checkpoint: always. Cancellation: the connection is over all the same.
        Args:
            status: an HTTP error, 400 to 599.
            reason: for our log.
        Raises: LifecycleError when the connection was accepted; ValueError for a status or headers that may not be
            sent.
        """
        if self._session.transport.is_open:
            raise LifecycleError("the connection was accepted: close() or reject() it")
        if not 400 <= status <= 599:
            raise ValueError(f"status must be an HTTP error, 400 to 599, not {status}")
        length = (b"content-length", b"%d" % len(body))
        await self._session.transport.deny(status, [*check_denial_headers(headers), length], body, reason)

    async def reject(self, code: int = 1008, reason: str | None = None) -> None:
        """Close with a code that the client sees: a refusal before `accept` is a bare HTTP 403 for a browser.

        Checkpoint: always. Cancellation: as `accept` and `close`.
        Raises: ValueError for a code or reason that may not be sent; WebSocketDisconnect when the client has left.
        """
        check_close_code(code)
        check_reason(reason)
        if self._session.transport.lifecycle.phase is Phase.CONNECTING:
            await self.accept()
        await self.close(code, reason)

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
        session = self._session
        group = self._broadcaster
        if group.dirty or group.underway or session.override_queues:  # group messages are on their way: they go first
            await session.send(text_frame(data))
            return
        try:
            await session.transport.send(text_frame(data))
        except NexiosError as error:
            raise error.with_traceback(None) from None  # as in `Session.send`

    async def send_bytes(self, data: bytes | bytearray | memoryview) -> None:
        """Send a binary message. Otherwise as `send_text`."""
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"send_bytes takes bytes, not {type(data).__name__}; see send_text and send_json")
        await self._session.send(binary_frame(data))

    async def send_json(self, data: Any, mode: str = "text") -> None:
        """Send compact JSON, as a text message or, with mode="binary", a binary one. Otherwise as `send_text`.

        Raises: ValueError for what JSON cannot carry, NaN included; nothing was queued.
        """
        check_mode(mode)
        await self._session.send(Frame(encode_json(data, self.settings.json_default), text=mode == "text"))

    def send_nowait(self, data: str | bytes | bytearray | memoryview) -> None:
        """Send a str as a text message, or bytes as a binary one, without waiting for room in the outbox.

        Where there is none, the overflow policy decides, as for a group's messages. What comes after a `post` to a
        group of this connection is held until that is numbered, and then goes out behind it.

        Raises: WebSocketDisconnect when the connection is over; LifecycleError before accept(); TypeError for anything
            else; ValueError for text that UTF-8 cannot carry; MessageTooBig for what never fits into the outbox.
        """
        if isinstance(data, str):
            payload = encode_utf8(data) if not data.isascii() else data.encode()
        elif isinstance(data, bytes | bytearray | memoryview):
            payload = bytes(data)
        else:
            raise TypeError(f"send_nowait takes a str or bytes, not {type(data).__name__}; a Channel's takes JSON")
        is_text = isinstance(data, str)
        session, group = self._session, self._broadcaster
        is_behind = group.dirty or group.underway or session.override_queues
        if is_behind or not session.transport.write_nowait(payload, is_text):
            session.send_nowait(Frame(payload, is_text), data)

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send an ASGI event: `websocket.accept`, `websocket.send` or `websocket.close`.

        Checkpoint, cancellation: as `accept`, `send_text` or `close`.
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
                await self._close(check_asgi_close_code(message.get("code", 1000)), message.get("reason"))
            case other:
                raise ValueError(f"an event type to send must be websocket.accept, .send or .close, not {other!r}")

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        """Close. What is queued goes out first, within the write deadline; a no-op once either side has closed.

        Before accept() the client sees HTTP 403; see `reject` and `deny`.

        Checkpoint: always. Cancellation: the connection is over all the same; what was queued may be lost.
        Raises: ValueError for a code other than 1000, 1001, 1003, 1007-1013, 3000-4999, or a reason over 123 bytes.
        """
        await self._close(check_close_code(code), reason)

    def close_nowait(self, code: int = 1000, reason: str | None = None) -> None:
        """Do as `close`, without waiting for what is queued to go out, which happens all the same.

        Raises: ValueError, as `close`.
        """
        self._session.close_nowait(End(check_close_code(code), check_reason(reason), Cause.LOCAL_CLOSE))

    async def _close(self, code: int, reason: str | None) -> None:
        end = End(code, check_reason(reason), Cause.LOCAL_CLOSE)
        phase = self._session.transport.lifecycle.phase
        if phase is Phase.CONNECTING and code != 1000:
            logger.debug("closed with %d before accept(): the client sees HTTP 403; reject() tells it the code", code)
        if phase is Phase.CONNECTING or phase is Phase.OPEN:
            await self._session.refuse_or_close(end)
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

        An error in it ends the connection as an error in the handler does. It acts for this connection, whoever starts
        it, and has a copy of the caller's context variables where the caller is of this connection too.

        Raises: LifecycleError when the connection is over.
        """
        self._session.start_soon(function, *args)
