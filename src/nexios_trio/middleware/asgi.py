"""Plain ASGI middleware around WebSocket handlers.

Such a middleware is given `scope`, `receive` and `send`, and calls the application inside it with the same or with its
own. Its own are respected: the scope it passes on is the connection's from then on, and where it passes on another
`receive` or `send`, the handler's messages go through them.
"""

from collections.abc import Callable
from typing import Any, Final, cast

from ..asgi_types import ASGIApp, Headers, Receive, Scope, Send
from ..connections.asgi_side import SessionAsgiSide
from ..connections.transport_wrapper import TransportWrapper, wrapped_transport
from ..connections.websocket import WebSocket
from ..core.lifecycle import Cause, End
from ..core.message import Frame
from ..exceptions import LifecycleError, WebSocketDisconnect
from ..transports.base import Transport
from .chain import Middleware, Next

__all__ = ["as_websocket_middleware", "enter_websocket", "wrap_asgi"]

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
    return as_websocket_middleware(cast(ASGIApp, cls(enter_websocket, **options)))


def as_websocket_middleware(asgi: ASGIApp) -> Middleware:
    """Make a middleware of one that was made around `enter_websocket`."""

    async def middleware(websocket: WebSocket, call_next: Next) -> None:
        side = _AsgiSide(websocket, call_next)
        await asgi({**websocket.scope, _SIDE: side}, side.receive, side.send)

    return middleware


async def enter_websocket(scope: Scope, receive: Receive, send: Send) -> None:
    """Go on with a connection inside the middleware: the application that it is given."""
    side = scope.get(_SIDE)
    if not isinstance(side, _AsgiSide):
        raise LifecycleError("the ASGI middleware made a new scope: it has to keep what it does not know")
    await side.enter({key: value for key, value in scope.items() if key != _SIDE}, receive, send)


class _AsgiSide(SessionAsgiSide):
    """One connection, as the ASGI middleware sees it. Checkpoints are the transport's."""

    def __init__(self, websocket: WebSocket, following: Next) -> None:
        super().__init__(websocket)
        self._next = following
        self._wrapper: _AsgiWrapper | None = None

    async def enter(self, scope: Scope, receive: Receive, send: Send) -> None:
        websocket = self._websocket
        websocket.scope.update(scope)
        for name in _CACHED:
            websocket.__dict__.pop(name, None)
        if receive == self.receive and send == self.send:
            await self._next(websocket)
            return

        def wrap(transport: Transport) -> _AsgiWrapper:
            self._wrapper = _AsgiWrapper(transport, receive, send, can_admit=receive == self.receive)
            return self._wrapper

        try:
            with wrapped_transport(websocket, wrap):
                await self._next(websocket)
        finally:
            self._wrapper = None

    def _reach(self) -> Transport:
        """Return the transport behind the middleware."""
        return super()._reach() if self._wrapper is None else self._wrapper.inner

    async def _answer(self, subprotocol: str | None, headers: Headers) -> None:
        if self._wrapper is None:  # the middleware accepts by itself
            await super()._answer(subprotocol, headers)
        else:
            await TransportWrapper.accept(self._wrapper, subprotocol, headers)


class _AsgiWrapper(TransportWrapper):
    """Says everything in ASGI events, to the middleware, whose checkpoints these are."""

    def __init__(self, inner: Transport, receive: Receive, send: Send, *, can_admit: bool) -> None:
        super().__init__(inner)
        self._can_admit = can_admit
        self._receive = receive
        self._send = send

    async def accept(self, subprotocol: str | None, headers: Headers) -> TransportWrapper:
        event = await self._receive()
        if event["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(event.get("code", 1006), event.get("reason"))
        await self._send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": list(headers)})
        return self

    @property
    def can_admit(self) -> bool:
        return self._can_admit

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
