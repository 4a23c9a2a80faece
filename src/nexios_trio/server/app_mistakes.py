"""What people name in place of their application: a handler, a router, a class, a module."""

import inspect
from types import ModuleType
from typing import Any, Final

from ..application import NexiosApp
from ..consumer import WebSocketConsumer
from ..routing import HttpRoute
from ..routing.entries import RegisteredRoute
from ..routing.routes import Routes

__all__ = ["describe_mistake"]

# Names that the first parameter of a handler has; of the applications that ASGI knows it is the scope.
HANDLER_PARAMETERS: Final = frozenset({"ws", "websocket", "socket", "conn", "connection", "req", "request"})
HANDLER_ANNOTATIONS: Final = frozenset({"WebSocket", "Request", "Channel"})
_NEEDS_ROUTE: Final = "a handler, which an application has to have a route to"


def describe_mistake(found: Any, module: Any) -> str | None:
    """Say what `found` is, if no server can call it as an ASGI application.

    Args:
        module: where it was found; a handler is known by the routes of the applications there.
    Returns: what stands behind "it is", with the next step; None for what looks like an application.
    """
    if isinstance(found, NexiosApp):
        return None
    if isinstance(found, ModuleType):
        return "a module"
    if isinstance(found, Routes):
        return f"a {type(found).__name__}, which an application has to mount: NexiosApp(routes=[...])"
    if inspect.iscoroutine(found):
        found.close()
        return f"a coroutine, the call of an async function ({found.__qualname__}) that nobody awaits"
    if isinstance(found, type):
        return _describe_class(found)
    if not callable(found):
        return f"of type {type(found).__name__}"
    return _describe_handler(found, module) or _describe_parameters(found)


def _describe_class(cls: type) -> str | None:
    if issubclass(cls, WebSocketConsumer):
        return f"a consumer class, {_NEEDS_ROUTE}: app.add_ws_route(path, {cls.__name__})"
    if hasattr(cls, "__await__") and _takes_three(cls):  # as Starlette's endpoints
        return None
    return f"a class; serve an instance of it, as in app = {cls.__name__}()"


def _describe_handler(found: Any, module: Any) -> str | None:
    """Name the route that `found` is the handler of, or recognize it as one."""
    for name, routes in vars(module).items():
        if isinstance(routes, Routes):
            for prefix, registered in routes._walk(routes.prefix):
                if isinstance(registered, RegisteredRoute) and registered.route.handler is found:
                    kind = registered.route.method if isinstance(registered.route, HttpRoute) else "WebSocket"
                    return f"a handler, of the {kind} route {prefix + registered.route.path!r} of {name}"
    if isinstance(found, WebSocketConsumer):
        return f"a consumer, {_NEEDS_ROUTE}"
    first = next(iter(_parameters(found)), None)
    if first is None:
        return None
    annotation = getattr(first.annotation, "__name__", str(first.annotation)).rpartition(".")[2]
    if first.name in HANDLER_PARAMETERS or annotation in HANDLER_ANNOTATIONS:
        return f"{_signature(found)}, {_NEEDS_ROUTE}"
    return None


def _describe_parameters(found: Any) -> str | None:
    if _takes_three(found):
        return None
    parameters = _parameters(found)
    if not [one for one in parameters if one.default is one.empty]:
        return f"{_signature(found)}; if it makes an application, say so in the module: app = {_name(found)}()"
    return _signature(found)


def _takes_three(found: Any) -> bool:
    try:
        inspect.signature(found).bind(None, None, None)
    except TypeError:
        return False
    except ValueError:  # nobody knows
        pass
    return True


def _parameters(found: Any) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(found).parameters.values())
    except (TypeError, ValueError):
        return []


def _signature(found: Any) -> str:
    names = ", ".join(one.name if one.kind is not one.VAR_POSITIONAL else f"*{one.name}" for one in _parameters(found))
    kind = "an async function" if inspect.iscoroutinefunction(found) else "a callable"
    return f"{kind} {_name(found)}({names})"


def _name(found: Any) -> str:
    return str(getattr(found, "__name__", type(found).__name__))
