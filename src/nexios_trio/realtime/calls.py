"""The application's functions, as a client calls them."""

import inspect
import typing
from collections.abc import Callable
from typing import Any, Final

from ..validation.messages import validator
from .protocol.data import Data

__all__ = ["Call", "bind_call", "payload_of"]

_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_SIMPLE: Final = (inspect.Parameter.empty, Any, object, str, int, float, bool, list, dict, bytes, None, type(None))


class Call:
    """One function, async or not, called with a client, what else the caller knows, and the data, if it takes them.

    Args:
        takes_data: its last parameter is for them.
        validate: makes what it declares of the data. Raises: InvalidMessage.
    """

    __slots__ = ("_function", "_takes_data", "_validate")

    def __init__(self, function: Callable[..., Any], takes_data: bool, validate: Callable[[Any], Any] | None) -> None:
        self._function = function
        self._takes_data = takes_data
        self._validate = validate

    async def __call__(self, *leading: Any, data: Any = None) -> Any:
        """Call it. A checkpoint where it is asynchronous. Raises: InvalidMessage, and what it raises."""
        if self._takes_data:
            result = self._function(*leading, data if self._validate is None else self._validate(data))
        else:
            result = self._function(*leading)
        return await result if inspect.isawaitable(result) else result


def bind_call(function: Any, what: str, *leading: str) -> Call:
    """Look at a function's parameters: those named here come first, then one for the data, if there is one.

    A class of pydantic, msgspec or attrs as the annotation of that one makes objects of the data, or refuses them.

    Raises: TypeError for what cannot be called so.
    """
    accepted = f"{what} is a function ({', '.join(leading)}) or ({', '.join((*leading, 'data'))}), async or not"
    if not callable(function):
        raise TypeError(f"{accepted}; not {function!r}")
    parameters = list(inspect.signature(function).parameters.values())
    needed = [one for one in parameters if one.default is one.empty and one.kind in _POSITIONAL]
    named = [one for one in parameters if one.default is one.empty and one.kind is one.KEYWORD_ONLY]
    positional = [one for one in parameters if one.kind in _POSITIONAL]
    if named or len(needed) > len(leading) + 1 or len(positional) < len(leading):
        raise TypeError(f"{accepted}; not {function.__name__}{inspect.signature(function)}")
    takes_data = len(positional) > len(leading)
    return Call(function, takes_data, _validator(function, positional[len(leading)].name) if takes_data else None)


def _validator(function: Any, name: str) -> Callable[[Any], Any] | None:
    declared = typing.get_type_hints(function).get(name, Any)
    if declared in _SIMPLE or typing.get_origin(declared) is not None or not isinstance(declared, type):
        return None
    return validator(declared)


def payload_of(data: Data | None) -> Any:
    """Return what the application gets: the value, or bytes that are no JSON; None for nothing."""
    if data is None:
        return None
    return data.value if data.is_json else data.raw
