"""`Router`, and `Routes`: what routers and applications have in common."""

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar, overload

from ..middleware.chain import as_middleware
from .entries import HttpRoute, check_prefix
from .mounts import MountedApplication, check_application
from .route import WebsocketRoute, to_middleware_tuple
from .tree import RouteTree

__all__ = ["Router", "Routes", "WSRouter"]

Handler = TypeVar("Handler", bound=Callable[..., Any])

_ADDABLE: Final = (
    "add_ws_route takes a WebsocketRoute, or (path, handler), or path=..., handler=...;"
    " a handler may be a consumer class or instance"
)


class Routes(RouteTree):
    """Routes, middleware and mounted routers, in the order of registration; the first that matches wins.

    An HTTP and a WebSocket route may have the same path. Registering needs no running loop.
    """

    def __init__(self, routes: Iterable[Any] | None = None, middleware: Iterable[Any] = ()) -> None:
        super().__init__()
        for one in to_middleware_tuple(middleware):
            self.add_ws_middleware(one)
        for route in routes or ():
            self.add_route(route)

    # WebSocket routes

    @overload
    def ws_route(
        self, path: str, handler: None = None, *, middleware: Iterable[Any] = (), name: str | None = None
    ) -> Callable[[Handler], Handler]: ...

    @overload
    def ws_route(
        self, path: str, handler: Handler, *, middleware: Iterable[Any] = (), name: str | None = None
    ) -> Handler: ...

    def ws_route(
        self, path: str, handler: Any = None, *, middleware: Iterable[Any] = (), name: str | None = None
    ) -> Any:
        """Register a WebSocket handler, as a decorator or a call. The handler is returned unchanged.

        Args:
            path: as in ``/chat/{room}``; convertors: str, path, int, float, uuid, slug, as in ``{id:int}``.
            handler: see `WebsocketRoute`.
            middleware: runs around this handler; the first is outermost.
        Raises: TypeError for a handler or middleware that is none, or with a parameter that the path does not supply;
            ValueError for a path that is none.
        """
        if not isinstance(path, str):
            raise TypeError("ws_route needs a path, as in @app.ws_route('/ws')")

        def register(function: Any) -> Any:
            self.add_route(WebsocketRoute(path, function, middleware=middleware, name=name))
            return function

        return register if handler is None else register(handler)

    websocket = ws_route

    def add_ws_route(
        self,
        route: Any = None,
        handler: Any = None,
        *,
        path: str | None = None,
        middleware: Iterable[Any] = (),
        name: str | None = None,
    ) -> None:
        """Register a WebSocket handler: a `WebsocketRoute`, or a path and a handler, by position or by keyword.

        Raises: as `ws_route`.
        """
        if isinstance(route, WebsocketRoute):
            if handler is not None or path is not None or middleware or name is not None:
                raise TypeError("a WebsocketRoute brings its own path, handler, middleware and name")
            self.add_route(route)
            return
        given = [value for value in (route, handler, path) if value is not None]
        paths = [value for value in given if isinstance(value, str)]
        handlers = [value for value in given if callable(value)]
        if len(given) != 2 or len(paths) != 1 or len(handlers) != 1:
            raise TypeError(f"{_ADDABLE}; not {', '.join(map(repr, given)) or 'nothing'}")
        self.add_route(WebsocketRoute(paths[0], handlers[0], middleware=middleware, name=name))

    def add_ws_middleware(self, middleware: Any) -> None:
        """Add a middleware around all WebSocket routes here, those added before included. The first is outermost.

        Args:
            middleware: an async function ``(websocket, next)``, an object with such a ``__call__``, or a class
                without arguments.
        Raises: TypeError.
        """
        self._middleware.append(as_middleware(middleware))
        self._changed()

    # HTTP routes

    def get(self, path: str, *, name: str | None = None) -> Callable[[Handler], Handler]:
        """Register a handler ``(req, res)`` for GET, and HEAD. It is returned unchanged."""
        return self._http_decorator("GET", path, name)

    def post(self, path: str, *, name: str | None = None) -> Callable[[Handler], Handler]:
        """As `get`, for POST."""
        return self._http_decorator("POST", path, name)

    def put(self, path: str, *, name: str | None = None) -> Callable[[Handler], Handler]:
        """As `get`, for PUT."""
        return self._http_decorator("PUT", path, name)

    def patch(self, path: str, *, name: str | None = None) -> Callable[[Handler], Handler]:
        """As `get`, for PATCH."""
        return self._http_decorator("PATCH", path, name)

    def delete(self, path: str, *, name: str | None = None) -> Callable[[Handler], Handler]:
        """As `get`, for DELETE."""
        return self._http_decorator("DELETE", path, name)

    def _http_decorator(self, method: str, path: str, name: str | None) -> Callable[[Handler], Handler]:
        if not isinstance(path, str):
            raise TypeError(f"{method.lower()} needs a path, as in @app.{method.lower()}('/')")

        def register(function: Handler) -> Handler:
            self.add_route(HttpRoute(path, function, method, name))
            return function

        return register

    # Anything

    def add_route(self, route: Any) -> None:
        """Add a `WebsocketRoute`, an `HttpRoute`, or a router at its own prefix.

        Raises: TypeError for anything else; otherwise as `ws_route`.
        """
        if isinstance(route, Router):
            self.mount_router(route)
            return
        if not isinstance(route, WebsocketRoute | HttpRoute):
            raise TypeError(f"a route is a WebsocketRoute, an HttpRoute or a Router, not {route!r}")
        self._add(route)

    def mount_router(self, router: "Router", name: str | None = None, **misplaced: object) -> None:
        """Mount a router, with its HTTP and WebSocket routes, at its own prefix. Routes may be added to it later.

        Raises: TypeError for a prefix given here; ValueError for a router that would contain itself.
        """
        if misplaced or (isinstance(name, str) and name.startswith("/")):
            raise TypeError(
                "mount_router takes no prefix: use Router(prefix='/...') or mount_ws_router(router, '/...')"
            )
        self._mount(_check_router(router), None)

    def mount_ws_router(self, router: "Router", prefix: str | None = None) -> None:
        """Mount a router; a prefix given here replaces its own for this mount. The router itself is not changed.

        Raises: TypeError, ValueError for a prefix that is none, or a router that would contain itself.
        """
        self._mount(_check_router(router), None if prefix is None else check_prefix(prefix))

    def mount(self, path: str, app: Any, *, name: str | None = None) -> None:
        """Let another ASGI application answer everything at `path` and below: HTTP, WebSockets, and its own lifespan.

        It is called with our path in `root_path`, as ASGI wants, so Starlette, FastAPI, Litestar, Quart-Trio and
        Starlette's `StaticFiles` work as they do on a server. What was registered before comes first, so ``"/"`` is
        for what nothing else answers, if it comes last. It starts after our startup functions and stops before our
        shutdown functions; a startup of it that fails fails ours. The origins that may connect are checked, and
        WebSocket middleware runs, before it is called.

        Args:
            path: as in ``/api``; parameters, as in ``/tenants/{tenant}``, are in its scope's `path_params`.
            app: called with scope, receive and send; on trio, as we are.
        Raises: TypeError for what is no ASGI application; ValueError for a path that is none, or an application that
            would contain itself.
        """
        if isinstance(app, Router):
            raise TypeError(f"a Router is no application: mount_router(router), or mount_ws_router(router, {path!r})")
        self._mount_application(MountedApplication(check_prefix(path), check_application(app), name))


class Router(Routes):
    """Routes under one prefix, mounted in an application or in another router, any number of times.

    Args:
        routes_or_prefix: a list of routes, or the prefix.
        prefix: before all paths, as in ``/ws`` or ``/rooms/{room}``.
        routes: `WebsocketRoute`, `HttpRoute` and `Router` objects.
        middleware: runs around all WebSocket handlers here, inside that of routers further out.
    Raises: ValueError for a prefix without a leading slash; TypeError.
    """

    def __init__(
        self,
        routes_or_prefix: Iterable[Any] | str | None = None,
        *,
        prefix: str | None = None,
        routes: Iterable[Any] | None = None,
        middleware: Iterable[Any] = (),
        name: str | None = None,
    ) -> None:
        if isinstance(routes_or_prefix, str):
            if prefix is not None:
                raise TypeError(f"two prefixes: {routes_or_prefix!r} and {prefix!r}")
            prefix = routes_or_prefix
        elif routes_or_prefix is not None:
            if routes is not None:
                raise TypeError("two lists of routes")
            routes = routes_or_prefix
        self.prefix = check_prefix(prefix or "")
        self.name = name
        super().__init__(routes, middleware)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} prefix={self.prefix!r} entries={len(self._entries)}>"


class WSRouter(Router):
    """Another name of `Router`, which Nexios has for it."""


def _check_router(router: object) -> Router:
    if not isinstance(router, Router):
        raise TypeError(f"only a Router can be mounted, not {router!r}")
    return router
