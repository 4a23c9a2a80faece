"""A tree of routes as a list, for people."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

from attrs import frozen

from ..connections.callables import describe, undecorated
from ..middleware.chain import Middleware
from .entries import HttpRoute
from .mounts import MountedApplication
from .tree import Mount, RouteTree

__all__ = ["MOUNT", "WEBSOCKET", "ListedRoute", "list_routes", "made_by"]

Handler = TypeVar("Handler", bound=Callable[..., Any])

WEBSOCKET = "WebSocket"
MOUNT = "mount"


@frozen
class ListedRoute:
    """One route. `kind` is WEBSOCKET, MOUNT or a method of HTTP; `middleware`, of WebSockets, is outermost first."""

    kind: str
    path: str
    handler: str
    middleware: tuple[str, ...] = ()
    name: str | None = None


def list_routes(tree: RouteTree) -> list[ListedRoute]:
    """List the routes of a tree and of all that is mounted in it, in the order in which they are tried."""
    return list(_listed(tree, tree.prefix, ()))


def _listed(tree: RouteTree, prefix: str, outer: tuple[Middleware, ...]) -> Iterator[ListedRoute]:
    around = (*outer, *tree._middleware)
    for entry in tree._entries:
        if isinstance(entry, Mount):
            yield from _listed(entry.tree, prefix + entry.path, around)
        elif isinstance(entry, MountedApplication):
            path, inner = prefix + entry.path, cast(Any, entry.app)
            yield ListedRoute(MOUNT, path or "/", _name_of(inner), tuple(map(describe, around)), entry.name)
            if isinstance(inner, RouteTree):
                yield from _listed(inner, path + inner.prefix, around)
        else:
            route, path = entry.route, entry.pattern(prefix).text
            if isinstance(route, HttpRoute):
                yield ListedRoute(route.method, path, _name_of(route.handler), (), route.name)
            else:
                names = tuple(map(describe, (*around, *entry.middleware)))
                yield ListedRoute(WEBSOCKET, path, _name_of(route.handler), names, route.name)


def made_by(method: str) -> Callable[[Handler], Handler]:
    """Have a handler that an application's method makes be shown as that, which the user has called."""

    def name(handler: Handler) -> Handler:
        handler.__module__, handler.__qualname__ = "nexios_trio", f"NexiosApp.{method}"
        return handler

    return name


def _name_of(function: Any) -> str:
    """With its module, as it would be imported; of an object, its class."""
    function = undecorated(function)
    owner = function if hasattr(function, "__qualname__") else type(function)
    return f"{owner.__module__}.{owner.__qualname__}"
