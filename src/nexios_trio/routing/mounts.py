"""Other ASGI applications below a path of ours: what they are called with, for HTTP and for WebSockets."""

import inspect
from collections.abc import Mapping
from typing import Any, Final, cast
from urllib.parse import quote

from attrs import field, frozen
from starlette.staticfiles import StaticFiles

from ..asgi_types import ASGIApp, Receive, Scope, Send
from ..connections.asgi_side import SessionAsgiSide
from ..connections.websocket import WebSocket
from ..middleware.chain import Middleware, Next, compose
from ..transports.base import TRANSPORT_EXTENSION
from .paths import MountPattern, decoded, request_path

__all__ = ["MountedApplication", "MountedRow", "check_application"]

# In our connections' scopes, and nobody else's business.
_OUR_KEYS: Final = ("app", "query_params", "route_params")


@frozen(eq=False)
class MountedApplication:
    """An ASGI application at a path."""

    path: str
    app: ASGIApp
    name: str | None = None
    # What its lifespan gave, one for each start that is not over. Owned by the application that started it.
    states: list[dict[str, Any]] = field(factory=list, init=False)

    @property
    def has_lifespan(self) -> bool:
        """It may have something to do at its start: static files have not."""
        return not isinstance(self.app, StaticFiles)

    def pattern(self, prefix: str) -> MountPattern:
        """Raises ValueError for a parameter that comes twice."""
        return MountPattern(prefix + self.path)

    def check(self, prefix: str, *, is_complete: bool) -> None:
        """Raise ValueError if the path cannot be below `prefix`."""
        self.pattern(prefix)


@frozen(eq=False)
class MountedRow:
    """A mounted application as it is reached; `endpoint` is for WebSockets, with all the middleware around it."""

    route: MountedApplication
    pattern: MountPattern
    middleware: tuple[Middleware, ...] = ()  # around WebSockets
    endpoint: Next = field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "endpoint", compose(self.middleware, self._serve))

    @property
    def path(self) -> str:
        return self.pattern.text

    def scope(self, outer: Mapping[str, Any]) -> dict[str, Any]:
        """Return the scope of a connection below `outer`'s `root_path`, as the mounted application sees it.

        By ASGI, `path` begins with `root_path`, which is where the application is mounted. Behind a proxy that cuts a
        prefix off, the server's `path` does not.
        """
        below = request_path(outer)
        root = (outer.get("root_path") or "").rstrip("/")
        prefix, path = decoded(self.pattern.prefix_of(below)), root + decoded(below)
        params = {**outer.get("path_params", {}), **(self.pattern.match(below) or {})}
        scope = {key: value for key, value in outer.items() if key not in _OUR_KEYS}
        scope |= {"path": path, "root_path": root + prefix, "path_params": params}
        raw_path = outer.get("raw_path")
        if raw_path and path != outer["path"]:
            scope["raw_path"] = quote(root).encode() + raw_path
        if self.route.states:
            scope["state"] = {**outer.get("state", {}), **self.route.states[-1]}
        return scope

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that has come to us."""
        await self.route.app(self.scope(scope), receive, send)

    async def _serve(self, websocket: WebSocket) -> None:
        """Serve a WebSocket, where its handler would. The server's own transport is nothing for other applications."""
        scope, side = self.scope(websocket.scope), SessionAsgiSide(websocket)
        extensions = {**(scope.get("extensions") or {}), "websocket.http.response": {}}
        extensions.pop(TRANSPORT_EXTENSION, None)
        await self.route.app({**scope, "extensions": extensions}, side.receive, side.send)


def check_application(app: Any) -> ASGIApp:
    """Return `app` if it can be an ASGI application. Raises: TypeError, with what is accepted."""
    accepted = "an ASGI application is called with scope, receive and send"
    if isinstance(app, type) and not hasattr(app, "__await__"):  # as Starlette's endpoints have it
        raise TypeError(f"{accepted}: give an instance of {app.__name__}, not the class")
    if not callable(app):
        raise TypeError(f"{accepted}, not {app!r}")
    try:
        inspect.signature(app).bind(None, None, None)
    except TypeError:
        raise TypeError(f"{accepted}; {getattr(app, '__qualname__', app)!r} does not take them") from None
    except ValueError:  # nobody knows
        pass
    return cast(ASGIApp, app)
