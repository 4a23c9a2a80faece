"""Plain ASGI middleware around a whole application: HTTP, WebSockets and the lifespan."""

from collections.abc import Awaitable, Callable
from typing import Any

from ..asgi_types import ASGIApp, Receive, Scope, Send
from ..middleware.asgi import as_websocket_middleware, enter_websocket
from ..middleware.chain import Middleware, Next, compose
from ..routing.mounts import check_application

__all__ = ["AsgiStack"]


class _Layer:
    """One middleware, and what is inside it."""

    def __init__(self, cls: Callable[..., Any], options: dict[str, Any], inner: ASGIApp) -> None:
        if not callable(cls):
            raise TypeError(f"add_middleware takes an ASGI middleware class, not {cls!r}")
        self.inner = inner
        self.asgi = check_application(cls(self._enter, **options))
        self.websocket: Middleware = as_websocket_middleware(self.asgi)

    def _enter(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[Any]:
        """Go on further in. For a WebSocket that is the way back to its connection, which the scope has."""
        if scope["type"] == "websocket":
            return enter_websocket(scope, receive, send)
        return self.inner(scope, receive, send)


class AsgiStack:
    """The middleware around one application, of which the first is outermost. Owned by the application.

    HTTP and the lifespan go through plain ASGI. A WebSocket does as with `wrap_asgi`: the middleware sees the handshake
    and the handler's messages, and group messages go past it, so that they stay as cheap as without it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._layers: list[_Layer] = []

    def __len__(self) -> int:
        return len(self._layers)

    @property
    def names(self) -> list[str]:
        """Return the names of the classes, outermost first."""
        return [type(layer.asgi).__qualname__ for layer in self._layers]

    def add(self, cls: Callable[..., Any], options: dict[str, Any]) -> None:
        """Add one inside those that are here. Raises: TypeError, for what is none or does not take the options."""
        layer = _Layer(cls, options, self._app)
        if self._layers:
            self._layers[-1].inner = layer.asgi
        self._layers.append(layer)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[Any]:
        """Serve a request or a lifespan through all of them."""
        return self._layers[0].asgi(scope, receive, send)

    def around(self, endpoint: Next) -> Next:
        """Return `endpoint` of a WebSocket with all of them around it."""
        return compose((layer.websocket for layer in self._layers), endpoint)
