"""A connection as ASGI's `receive` and `send`, for what knows no more of it than plain ASGI."""

from typing import Any

from trio.lowlevel import checkpoint

from ..asgi_types import Event, Headers
from ..core.asgi_events import received_event
from ..core.close_codes import check_asgi_close_code, check_reason, clip_reason
from ..core.lifecycle import Cause, End, Phase
from ..core.message import binary_frame, text_frame
from ..exceptions import LifecycleError, WebSocketDisconnect
from ..protocol.denial import BODILESS_STATUSES, Denial
from ..protocol.handshake import check_headers, check_subprotocol
from ..transports.base import Transport
from .websocket import WebSocket

__all__ = ["AsgiSide", "PeerHasLeft", "SessionAsgiSide"]


class PeerHasLeft(WebSocketDisconnect, OSError):
    """Raised into an ASGI application that sends to a peer that has left. No failure of the application's."""


class AsgiSide:
    """One connection. What is said in the wrong order, or is none of ASGI's, raises, and nothing was sent."""

    def __init__(self) -> None:
        self._told_connect = False
        self._denial: Denial | None = None  # the HTTP response in place of the handshake's answer

    def _reach(self) -> Transport:
        """Return the transport that the next event is for."""
        raise NotImplementedError

    async def receive(self) -> Event:
        """Return the next event. A message has both keys, one of them None: some applications read both.

        Checkpoint: always. Cancellation: nothing was received.
        """
        transport = self._reach()
        if not self._told_connect:
            self._told_connect = True
            await checkpoint()
            return {"type": "websocket.connect"}
        return received_event(await transport.inbox.get(), both_keys=True)

    async def send(self, event: Any) -> None:
        """Send an event.

        Checkpoint: always. Cancellation: as that of the transport's method.
        Raises:
            OSError: the peer has left, as ASGI asks for.
            LifecycleError: the event cannot follow what was sent before. TypeError, ValueError: it is not in order.
        """
        self._reach()
        kind = event["type"]
        if self._denial is not None and not self._denial.is_whole and kind != "websocket.http.response.body":
            raise LifecycleError(
                f"websocket.http.response.body has to follow websocket.http.response.start, not {kind}"
            )
        try:
            match kind:
                case "websocket.accept":
                    await self._accept(event.get("subprotocol"), event.get("headers"))
                case "websocket.send":
                    await _send_message(self._reach(), event)
                case "websocket.close":
                    await _close(self._reach(), event.get("code"), event.get("reason"))
                case "websocket.http.response.start":
                    await self._start_denial(event)
                case "websocket.http.response.body":
                    await self._deny(event)
                case other:
                    raise ValueError(f"a WebSocket application cannot send {other!r}")
        except WebSocketDisconnect as error:
            error.with_traceback(None)  # whoever keeps what we raise must not keep the transport's frames
            raise PeerHasLeft(error.code, error.reason) from None
        except Exception as error:
            raise error.with_traceback(None) from None

    async def _accept(self, subprotocol: str | None, headers: Any) -> None:
        transport = self._reach()
        check_subprotocol(subprotocol, transport.scope["subprotocols"])
        checked = check_headers(headers)
        is_answered = transport.lifecycle.phase is Phase.CONNECTING
        try:
            await self._answer(subprotocol, checked)
        except WebSocketDisconnect:
            if not is_answered:
                raise
            # The answer went out, and finds nobody: that is for the next `receive` to tell.

    async def _answer(self, subprotocol: str | None, headers: Headers) -> None:
        """Answer the handshake with 101. Raises: as `Transport.accept`."""
        await self._reach().accept(subprotocol, headers)

    async def _start_denial(self, event: Any) -> None:
        self._check_deniable()
        self._denial = Denial(event)
        await checkpoint()

    async def _deny(self, event: Any) -> None:
        denial = self._denial
        if denial is None:
            self._check_deniable()
            raise ValueError("websocket.http.response.body came before websocket.http.response.start")
        denial.add(event)
        if not denial.is_whole:
            await checkpoint()
            return
        length = () if denial.status in BODILESS_STATUSES else ((b"content-length", b"%d" % len(denial.body)),)
        await self._reach().deny(denial.status, [*denial.headers, *length], denial.body)

    def _check_deniable(self) -> None:
        if self._denial is not None:
            raise LifecycleError("the handshake has been refused: it can be refused once")
        if self._reach().lifecycle.phase in (Phase.OPEN, Phase.CLOSING):
            raise LifecycleError("the connection was accepted: close it with websocket.close")


class SessionAsgiSide(AsgiSide):
    """A connection that has a session: whoever speaks ASGI to it stands where its handler does, or around it."""

    def __init__(self, websocket: WebSocket) -> None:
        super().__init__()
        self._websocket = websocket

    def _reach(self) -> Transport:
        return self._websocket._session.transport

    async def _answer(self, subprotocol: str | None, headers: Headers) -> None:
        await self._websocket.accept(subprotocol, headers)


async def _send_message(transport: Transport, event: Any) -> None:
    data, text = event.get("bytes"), event.get("text")
    if data is not None:
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"the bytes of websocket.send are bytes, not {type(data).__name__}")
        await transport.send(binary_frame(data))
    elif isinstance(text, str):
        await transport.send(text_frame(text))
    else:
        raise TypeError(f"websocket.send has a str as text, or bytes, not {type(text).__name__}")


async def _close(transport: Transport, code: object, reason: object) -> None:
    if transport.lifecycle.phase is Phase.CONNECTING:
        await transport.deny(
            403, [(b"content-length", b"0")], b"", clip_reason(reason) if isinstance(reason, str) else ""
        )
        return
    checked = check_asgi_close_code(1000 if code is None else code)
    await transport.close(End(checked, check_reason(reason), Cause.LOCAL_CLOSE))
