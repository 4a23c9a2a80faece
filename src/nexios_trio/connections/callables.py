"""What can be found out about a function before it is called."""

import functools
import inspect
from typing import Any

__all__ = ["describe", "is_async_callable", "undecorated"]


def undecorated(function: Any) -> Any:
    """Return what a chain of `functools.partial` calls in the end."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def is_async_callable(function: Any) -> bool:
    """Tell whether calling `function` gives something to await: an async function, or an async ``__call__``."""
    function = undecorated(function)
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(inspect.unwrap(function)):
        return True
    return inspect.iscoroutinefunction(getattr(type(function), "__call__", None))  # noqa: B004 - async or not


def describe(function: Any) -> str:
    """Name a function or object, for messages."""
    function = undecorated(function)
    return getattr(function, "__qualname__", None) or type(function).__qualname__
