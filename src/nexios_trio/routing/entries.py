"""Routes as they were registered, and as they are reached."""

import types
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from attrs import field, frozen

from ..connections.callables import undecorated
from ..connections.websocket import WebSocket
from ..middleware.chain import Middleware, Next, as_middleware, compose
from .binding import BoundHandler
from .paths import PathPattern, join
from .route import WebsocketRoute, to_middleware_tuple

__all__ = ["METHODS", "HttpRoute", "HttpRow", "RegisteredRoute", "WebsocketRow", "check_path", "check_prefix"]

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def _check_method(_: Any, __: Any, method: Any) -> None:
    if method not in METHODS:
        raise ValueError(f"a route's method is one of {', '.join(METHODS)}, not {method!r}")


@frozen(eq=False)
class HttpRoute:
    """A path, a method, and the `(req, res)` handler that answers. HEAD requests go to GET."""

    path: str
    handler: Callable[..., Any]
    method: str = field(default="GET", validator=_check_method)
    name: str | None = None


@frozen(eq=False)
class WebsocketRow:
    """A WebSocket route as it is reached; `endpoint` has all the middleware around it."""

    route: WebsocketRoute
    path: str
    endpoint: Next
    can_be_idle: bool = False  # nothing but a synchronous consumer: the connection may be without a task


@frozen(eq=False)
class HttpRow:
    """An HTTP route as it is reached."""

    route: HttpRoute
    path: str
    handler: BoundHandler


@frozen(eq=False)
class RegisteredRoute:
    """A route and what was found out about it once and for all."""

    route: WebsocketRoute | HttpRoute
    handler: BoundHandler
    middleware: tuple[Middleware, ...]  # the route's own, then its consumer's

    @classmethod
    def of(cls, route: WebsocketRoute | HttpRoute) -> "RegisteredRoute":
        """Raises TypeError or ValueError for a route that can never work."""
        check_path(route.path)
        if isinstance(route, HttpRoute):
            return cls(route, BoundHandler(route.handler, ("request", "response")), ())
        own = (*route.middleware, *_middleware_of(route.handler))
        return cls(route, BoundHandler(route.handler, ("websocket",)), tuple(map(as_middleware, own)))

    @property
    def is_synchronous(self) -> bool:
        """Tell whether it is a consumer with an `on_receive` that is called without a task."""
        return getattr(undecorated(self.route.handler), "_is_synchronous", False) is True

    def pattern(self, prefix: str) -> PathPattern:
        """Raises ValueError for a parameter that comes twice."""
        return PathPattern(join(prefix, self.route.path), open_end=bool(prefix) and self.route.path in ("", "/"))

    def check(self, prefix: str, *, is_complete: bool) -> None:
        """Raise ValueError or TypeError if the route cannot work below `prefix`.

        Args:
            is_complete: no more parameters come from routers further out.
        """
        pattern = self.pattern(prefix)
        if is_complete:
            self.handler.check(pattern.parameters, pattern.text)

    def websocket_row(self, route: WebsocketRoute, pattern: PathPattern, outer: Iterable[Middleware]) -> WebsocketRow:
        handler = self.handler

        def run(websocket: WebSocket) -> Awaitable[Any]:
            return handler(websocket, params=websocket.path_params)

        middleware = (*outer, *self.middleware)
        can_be_idle = not middleware and _can_be_idle(self.route.handler)
        return WebsocketRow(route, pattern.text, compose(middleware, run), can_be_idle)


def check_path(path: object) -> None:
    """Raise TypeError or ValueError unless `path` can be a route's."""
    if not isinstance(path, str):
        raise TypeError(f"a route's path is a str such as '/chat/{{room}}', not {path!r}")
    if path:
        PathPattern(path)


def check_prefix(prefix: object) -> str:
    """`prefix` without a slash at its end; TypeError or ValueError unless it can be a router's."""
    if not isinstance(prefix, str):
        raise TypeError(f"a prefix is a str such as '/ws', not {prefix!r}")
    if prefix and not prefix.startswith("/"):
        raise ValueError(f"a prefix begins with a slash, as in '/ws', not {prefix!r}")
    prefix = prefix.rstrip("/")
    if prefix:
        PathPattern(prefix)
    return prefix


def _middleware_of(handler: Any) -> tuple[Any, ...]:
    """Return the middleware that a consumer class or instance declares for itself."""
    handler = undecorated(handler)
    if isinstance(handler, types.FunctionType | types.MethodType):
        return ()
    return to_middleware_tuple(getattr(handler, "middleware", None))


def _can_be_idle(handler: Any) -> bool:
    """Tell whether it is a synchronous consumer and nothing else: what stands around one, a task has to wait for."""
    if isinstance(handler, types.FunctionType):  # of `as_route`; whoever decorates it copies its attributes
        return getattr(handler, "_idle_handler", None) is handler
    cls = handler if isinstance(handler, type) else type(handler)
    return getattr(cls, "_can_be_idle", False) is True
