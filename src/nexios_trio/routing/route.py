"""`WebsocketRoute`: which handler serves which path. Plain data; the routing layer gives it its meaning."""

from collections.abc import Callable, Iterable
from typing import Any

from attrs import field, frozen

__all__ = ["WebSocketRoute", "WebsocketRoute", "WebsocketRoutes"]


def _check_path(_: Any, __: Any, path: Any) -> None:
    if not isinstance(path, str):
        raise TypeError(f"a route's path is a str such as '/chat/{{room}}', not {type(path).__name__}")


def _check_handler(_: Any, __: Any, handler: Any) -> None:
    if not callable(handler):
        raise TypeError(
            "a handler is an async function, functools.partial, an object with an async __call__,"
            f" a consumer class or a consumer instance, not {type(handler).__name__}"
        )


def _check_name(_: Any, __: Any, name: Any) -> None:
    if name is not None and not isinstance(name, str):
        raise TypeError(f"a route's name is a str or None, not {type(name).__name__}")


def to_middleware_tuple(middleware: object) -> tuple[Any, ...]:
    """Several middleware, or none, as a tuple.

    Raises:
        TypeError: one that is not in a list, or something else.
    """
    if middleware is None:
        return ()
    if isinstance(middleware, Iterable) and not isinstance(middleware, str | bytes | type):
        return tuple(middleware)
    raise TypeError(f"middleware is a list of middleware, as in middleware=[Check()], not {middleware!r}")


@frozen(eq=False)
class WebsocketRoute:
    """A path and the handler that serves it. The same route may be added to several routers.

    Args:
        path: as in ``/chat/{room}`` or ``/items/{id:int}``; convertors: str, path, int, float, uuid, slug.
        handler: an async function, ``functools.partial``, an object with an async ``__call__``, a consumer
            class (a new instance for each connection) or a consumer instance. It gets the WebSocket first,
            and the parameters of the path by name.
        middleware: runs around this handler; the first is outermost.
        name: for logs and listings.
    Raises: TypeError.
    """

    path: str = field(validator=_check_path)
    handler: Callable[..., Any] = field(validator=_check_handler)
    middleware: tuple[Any, ...] = field(default=(), converter=to_middleware_tuple)
    name: str | None = field(default=None, validator=_check_name)


# One class, three spellings: documents 000, 001, and the other convention.
WebsocketRoutes = WebsocketRoute
WebSocketRoute = WebsocketRoute
