"""What users hand an application, checked and bound: functions for its start and stop, and its lifespan."""

import functools
import inspect
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from ..connections.callables import describe

__all__ = ["bind_lifespan", "check_function", "check_not_called"]


def check_not_called(function: Any) -> None:
    """Raise TypeError for a coroutine, where the function that makes it is wanted."""
    if inspect.iscoroutine(function):
        function.close()
        raise TypeError("start_soon takes the function and its arguments: start_soon(f, x), not start_soon(f(x))")


def check_function(function: Any, where: str) -> Any:
    """Return a function that can be called without arguments. Raises: TypeError."""
    if not callable(function):
        raise TypeError(f"{where} takes a function without arguments, not {function!r}")
    try:
        inspect.signature(function).bind()
    except (TypeError, ValueError) as error:
        raise TypeError(f"{where} takes a function without arguments, but {describe(function)}: {error}") from None
    return function


def bind_lifespan(
    lifespan: Callable[..., AbstractAsyncContextManager[Any]] | None, app: Any
) -> Callable[[], AbstractAsyncContextManager[Any]] | None:
    """Return the user's lifespan of `app`. Raises: TypeError."""
    if lifespan is None:
        return None
    if not callable(lifespan):
        raise TypeError(f"lifespan is an async context manager (app), not {lifespan!r}")
    if inspect.isasyncgenfunction(lifespan):  # its decorator was forgotten
        generator: Callable[[Any], AsyncGenerator[Any]] = lifespan
        return functools.partial(asynccontextmanager(generator), app)
    return functools.partial(lifespan, app)
