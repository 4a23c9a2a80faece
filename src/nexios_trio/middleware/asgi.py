"""Plain ASGI middleware around WebSocket handlers.

Such a middleware is given `scope`, `receive` and `send`, and calls the application inside it with the same or with its
own. Its own are respected: the scope it passes on is the connection's from then on, and where it passes on another
`receive` or `send`, the handler's messages go through them.
"""

from collections.abc import Callable
from typing import Any, Final, cast

from ..asgi_types import ASGIApp, Event, Headers, Receive, Scope, Send
from ..connections.transport_wrapper import TransportWrapper, wrapped_transport
from ..connections.websocket import WebSocket
from ..core.asgi_events import received_event
from ..core.close_codes import check_asgi_close_code, clip_reason
from ..core.lifecycle import Cause, End, Phase
from ..core.message import Frame, binary_frame, text_frame
from ..exceptions import LifecycleError, WebSocketDisconnect
from ..protocol.denial import BODILESS_STATUSES, Denial
from ..protocol.handshake import check_headers
from ..transports.base import Transport
from .chain import Middleware, Next

__all__ = ["wrap_asgi"]

_SIDE: Final = "nexios_trio.asgi_side"  # the scope's way back to its connection
_CACHED: Final = ("_headers", "_cookies", "_url", "_base_url", "_query_params")  # by Starlette, from the scope


def wrap_asgi(cls: Callable[..., Any], **options: Any) -> Middleware:
    """A middleware made of plain ASGI middleware, as in ``wrap_asgi(SessionMiddleware, secret_key=...)``.

    Messages of groups do not pass through it.

    Args:
        cls: called once, now, with the application inside it and `options`.
    Raises: TypeError: `cls` is not callable or does not take these options.
    """
    if not callable(cls):
        raise TypeError(f"wrap_asgi takes an ASGI middleware class, not {cls!r}")
    asgi = cast(ASGIApp, cls(_enter, **options))

    async def middleware(websocket: WebSocket, call_next: Next) -> None:
        side = _AsgiSide(websocket, call_next)
        await asgi({**websocket.scope, _SIDE: side}, side.receive, side.send)

    return middleware


async def _enter(scope: Scope, receive: Receive, send: Send) -> None:
    """The application inside the middleware."""
    side = scope.get(_SIDE)
    if not isinstance(side, _AsgiSide):
        raise LifecycleError("the ASGI middleware made a new scope: it has to keep what it does not know")
    await side.enter({key: value for key, value in scope.items() if key != _SIDE}, receive, send)


class _AsgiSide:
    """One connection, as the ASGI middleware sees it. Checkpoints are the transport's."""

    def __init__(self, websocket: WebSocket, following: Next) -> None:
        self._websocket = websocket
        self._next = following
        self._wrapper: _AsgiWrapper | None = None
        self._told_connect = False
        self._denial: Denial | None = None  # the HTTP response in place of the handshake's answer

    async def enter(self, scope: Scope, receive: Receive, send: Send) -> None:
        websocket = self._websocket
        websocket.scope.update(scope)
        for name in _CACHED:
            websocket.__dict__.pop(name, None)
        if receive == self.receive and send == self.send:
            await self._next(websocket)
            return

        def wrap(transport: Transport) -> _AsgiWrapper:
            self._wrapper = _AsgiWrapper(transport, receive, send)
            return self._wrapper

        try:
            with wrapped_transport(websocket, wrap):
                await self._next(websocket)
        finally:
            self._wrapper = None

    @property
    def _transport(self) -> Transport:
        """The transport behind the middleware."""
        return self._websocket._session.transport if self._wrapper is None else self._wrapper.inner

    async def receive(self) -> Event:
        if not self._told_connect:
            self._told_connect = True
            return {"type": "websocket.connect"}
        return received_event(await self._transport.inbox.get(), both_keys=True)

    async def send(self, event: Event) -> None:
        match event["type"]:
            case "websocket.accept":
                await self._accept(event.get("subprotocol"), event.get("headers") or ())
            case "websocket.send":
                text = event.get("text")
                frame = binary_frame(event["bytes"]) if text is None else text_frame(text)
                await self._transport.send(frame)
            case "websocket.close":
                await self._close(event.get("code", 1000), event.get("reason"))
            case "websocket.http.response.start":
                self._denial = Denial(event)
            case "websocket.http.response.body":
                await self._deny(event)
            case other:
                raise ValueError(f"an ASGI middleware cannot send {other!r} to a WebSocket")

    async def _accept(self, subprotocol: str | None, headers: Headers) -> None:
        if self._wrapper is None:  # the middleware accepts by itself
            await self._websocket.accept(subprotocol, headers)
        else:
            await TransportWrapper.accept(self._wrapper, subprotocol, check_headers(headers))

    async def _close(self, code: int, reason: str | None) -> None:
        transport = self._transport
        if transport.lifecycle.phase is Phase.CONNECTING:
            await transport.deny(403, [(b"content-length", b"0")], b"", clip_reason(reason))
        else:
            await transport.close(End(check_asgi_close_code(code), clip_reason(reason), Cause.LOCAL_CLOSE))

    async def _deny(self, event: Event) -> None:
        if self._denial is None:
            raise ValueError("websocket.http.response.body came before websocket.http.response.start")
        self._denial.add(event)
        if self._denial.is_whole:
            body = self._denial.body
            length = () if self._denial.status in BODILESS_STATUSES else ((b"content-length", b"%d" % len(body)),)
            await self._transport.deny(self._denial.status, [*self._denial.headers, *length], body)


class _AsgiWrapper(TransportWrapper):
    """Says everything in ASGI events, to the middleware, whose checkpoints these are."""

    def __init__(self, inner: Transport, receive: Receive, send: Send) -> None:
        super().__init__(inner)
        self._receive = receive
        self._send = send

    async def accept(self, subprotocol: str | None, headers: Headers) -> TransportWrapper:
        event = await self._receive()
        if event["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(event.get("code", 1006), event.get("reason"))
        await self._send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": list(headers)})
        return self

    async def deny(self, status: int, headers: Headers, body: bytes, reason: str = "") -> None:
        if "websocket.http.response" not in (self.inner.scope.get("extensions") or {}):
            await self._send({"type": "websocket.close", "code": 1008, "reason": reason})
            return
        start = {"type": "websocket.http.response.start", "status": status, "headers": list(headers)}
        await self._send(start)
        await self._send({"type": "websocket.http.response.body", "body": body})

    async def receive(self) -> str | bytes | End:
        while True:
            event = await self._receive()
            if event["type"] == "websocket.disconnect":
                end = self.inner.end
                return end or End(event.get("code", 1005), event.get("reason") or "", Cause.PEER_CLOSED)
            if event["type"] == "websocket.receive":
                text: str | None = event.get("text")
                data: bytes = event.get("bytes") or b""
                return data if text is None else text

    async def send(self, frame: Frame) -> None:
        await self._send(dict(frame.event))

    async def close(self, end: End) -> None:
        await self._send({"type": "websocket.close", "code": end.code, "reason": end.reason})
