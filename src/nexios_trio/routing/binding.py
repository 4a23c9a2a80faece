"""Handlers and their parameters: inspected once, when a route is registered."""

import inspect
from collections.abc import Awaitable, Callable, Collection, Mapping
from inspect import Parameter
from typing import Any, Final, cast

from ..connections.callables import describe, is_async_callable

__all__ = ["BoundHandler"]

_POSITIONAL: Final = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_NAMED: Final = (*_POSITIONAL, Parameter.KEYWORD_ONLY)
_ACCEPTED: Final = (
    "an async function, functools.partial, an object with an async __call__, a consumer class or a consumer instance"
)


class BoundHandler:
    """A handler that takes `leading` arguments (the WebSocket; request and response), then path parameters by name.

    Raises:
        TypeError: not a handler, or one that cannot take the leading arguments.
    """

    __slots__ = ("_by_keyword", "_by_position", "_call", "_takes_all", "name", "required")

    def __init__(self, handler: Any, leading: tuple[str, ...]) -> None:
        self.name = describe(handler)
        self._call, parameters = _resolve(handler, self.name)
        rest = _after_leading(parameters, leading, self.name)
        taken = {parameter.name for parameter in parameters[: len(parameters) - len(rest)]}
        self._by_position = tuple(p for p in rest if p.kind is Parameter.POSITIONAL_ONLY)
        names = (p.name for p in rest if p.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY))
        self._by_keyword = frozenset(names)
        takes_all = any(p.kind is Parameter.VAR_KEYWORD for p in rest)
        # The names that **kwargs must not get, or None if there is no **kwargs.
        self._takes_all = taken | {p.name for p in self._by_position} if takes_all else None
        variadic = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
        self.required = frozenset(p.name for p in rest if p.default is Parameter.empty and p.kind not in variadic)

    def check(self, supplied: Collection[str], path: str) -> None:
        """Raise TypeError if the path leaves a parameter without a value."""
        missing = sorted(self.required.difference(supplied))
        if missing:
            has = ", ".join(sorted(supplied)) or "none"
            raise TypeError(
                f"{self.name} has the parameter {', '.join(missing)}, which the path {path!r} does not supply"
                f" (it has: {has}); add it to the path, or give it a default"
            )

    def __call__(self, *leading: Any, params: Mapping[str, Any]) -> Awaitable[Any]:
        """Call the handler with the leading arguments and what it takes of the path's parameters."""
        if not params:
            return self._call(*leading)
        if self._by_position:
            leading = (*leading, *self._positional(params))
        if self._takes_all is not None:
            return self._call(*leading, **{k: v for k, v in params.items() if k not in self._takes_all})
        return self._call(*leading, **{k: params[k] for k in self._by_keyword if k in params})

    def _positional(self, params: Mapping[str, Any]) -> list[Any]:
        values: list[Any] = []
        for parameter in self._by_position:
            if parameter.name not in params:
                break  # it and those after it have defaults
            values.append(params[parameter.name])
        return values


def _resolve(handler: Any, name: str) -> tuple[Callable[..., Awaitable[Any]], list[Parameter]]:
    """Return what to call for one connection, and its parameters."""
    if isinstance(handler, type):
        return _resolve_class(handler, name)
    if not callable(handler):
        raise TypeError(f"a handler is {_ACCEPTED}, not {handler!r}")
    if not is_async_callable(handler):
        raise TypeError(f"the handler {name} is not async: declare it with `async def`; accepted: {_ACCEPTED}")
    return cast(Callable[..., Awaitable[Any]], handler), _parameters(handler, name)


def _resolve_class(cls: type, name: str) -> tuple[Callable[..., Awaitable[Any]], list[Parameter]]:
    call = inspect.getattr_static(cls, "__call__", None)
    if not inspect.iscoroutinefunction(call):
        raise TypeError(f"the class {name} has no `async def __call__(self, websocket)`; accepted: {_ACCEPTED}")
    needed = [p.name for p in _parameters(cls, name) if p.default is Parameter.empty and p.kind in _NAMED]
    if needed:
        raise TypeError(
            f"{name}() needs {', '.join(needed)}: register {name}.as_route(path, {needed[0]}=...) or an instance"
        )

    def new_instance(*args: Any, **kwargs: Any) -> Awaitable[Any]:
        result: Awaitable[Any] = cls()(*args, **kwargs)
        return result

    return new_instance, _parameters(call, name)[1:]


def _parameters(function: Any, name: str) -> list[Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except ValueError as error:
        raise TypeError(f"the parameters of {name} cannot be read: {error}") from None


def _after_leading(parameters: list[Parameter], leading: tuple[str, ...], name: str) -> list[Parameter]:
    """Return the parameters that are left once the leading arguments have theirs."""
    for index, argument in enumerate(leading):
        kind = parameters[index].kind if index < len(parameters) else None
        if kind is Parameter.VAR_POSITIONAL:
            return parameters[index:]
        if kind not in _POSITIONAL:
            raise TypeError(f"{name} takes no {argument}: its first parameters are ({', '.join(leading)})")
    return parameters[len(leading) :]
