"""How middleware and a handler become one function.

A middleware is called with the connection and what comes next, and decides whether to go on::

    async def log_it(websocket, next):
        print("in")
        return await next(websocket)

To refuse the connection it does not call `next`, but `websocket.close()` (an HTTP 403, before accept), `.deny(status)`,
or `.reject(code)`, whose code the client sees. One WebSocket object goes through the whole chain.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, cast

from ..connections.callables import describe, is_async_callable
from ..connections.websocket import WebSocket
from ..core.lifecycle import End, Phase

__all__ = ["Middleware", "Next", "as_middleware", "compose", "reject_with"]

Next = Callable[[WebSocket], Awaitable[Any]]
Middleware = Callable[[WebSocket, Next], Awaitable[Any]]

_ACCEPTED = "an async function (websocket, next), an object with such a __call__, or a class without arguments"


def as_middleware(candidate: Any) -> Middleware:
    """Return what `candidate` does as a middleware; a class is instantiated, once.

    Raises:
        TypeError: it is not a middleware; the text says what is accepted.
    """
    if isinstance(candidate, type):
        candidate = _instance(candidate)
    if not callable(candidate):
        raise TypeError(f"a middleware is {_ACCEPTED}, not {candidate!r}")
    try:
        inspect.signature(candidate).bind(None, None)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{describe(candidate)} cannot be called with (websocket, next): {error}") from None
    if not is_async_callable(candidate):
        raise TypeError(f"the middleware {describe(candidate)} is not async; a middleware is {_ACCEPTED}")
    return cast(Middleware, candidate)


def compose(middleware: Iterable[Middleware], handler: Next) -> Next:
    """`handler` inside all of `middleware`, of which the first is outermost."""
    for one in reversed(tuple(middleware)):
        handler = _around(one, handler)
    return handler


async def reject_with(websocket: WebSocket, end: End) -> None:
    """As `WebSocket.reject`, with a cause that the log shows."""
    session = websocket._session
    if session.transport.lifecycle.phase is Phase.CONNECTING:
        await websocket.accept()
    await session.close(end)


def _around(middleware: Middleware, following: Next) -> Next:
    def call(websocket: WebSocket) -> Awaitable[Any]:
        return middleware(websocket, following)

    return call


def _instance(cls: type) -> Any:
    parameters = inspect.signature(cls).parameters.values()
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in variadic]
    if needed == ["app"]:
        raise TypeError(f"{cls.__qualname__} is plain ASGI middleware: register wrap_asgi({cls.__qualname__})")
    if needed:
        raise TypeError(f"{cls.__qualname__} needs {', '.join(needed)}: register an instance of it")
    return cls()
