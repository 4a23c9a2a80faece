"""Messages as objects of a declared type: a pydantic model, a msgspec struct or an attrs class.

None of the first two is imported here. Whoever gives such a class has imported its library, and that is where it is
looked up. What comes out is always `InvalidMessage`, whose texts name JSON's types and never Python's classes, so that
a peer learns what to change and nothing about the program.
"""

import re
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Protocol, TypeVar

from ..connections.until_disconnect import UntilDisconnect
from ..exceptions import InvalidMessage
from .libraries import describe, structure

__all__ = ["InvalidMessage", "Validate", "valid_messages", "validator"]

M = TypeVar("M")
Validate = Callable[[Any], M]

ACCEPTED_TYPES = "a pydantic model, a msgspec Struct or an attrs class"


class Source(Protocol):
    """A `WebSocket` or a `Channel`."""

    async def receive_json(self) -> Any: ...

    async def send_json(self, data: Any) -> None: ...


def validator(message_type: type[M]) -> Validate[M]:
    """A function from decoded JSON to an object of `message_type`, which raises `InvalidMessage`.

    Args:
        message_type: a pydantic model, a msgspec Struct or an attrs class. Of attrs, the fields' annotations are
            checked: str, int, float, bool, None, Any, enums, Literal, unions, lists, dicts and attrs classes of these;
            a field with a converter takes what the converter takes.
    Raises: TypeError for anything else.
    """
    cls: type[Any] = message_type
    if isinstance(cls, type):
        if _is_from("pydantic", "BaseModel", cls) and hasattr(cls, "model_validate"):
            return _pydantic(cls)
        if _is_from("msgspec", "Struct", cls):
            return _msgspec(cls)
        if hasattr(cls, "__attrs_attrs__"):
            return structure(cls)
    raise TypeError(f"message_type must be {ACCEPTED_TYPES}, not {message_type!r}")


def valid_messages(source: Source, message_type: type[M]) -> AsyncIterator[M]:
    """`async for message in valid_messages(ws, Move)`: validated objects, until the connection is over.

    An invalid message, or one that is not JSON, is answered with `InvalidMessage.reply()`, and the next is awaited.

    Args:
        source: a WebSocket or a Channel.
        message_type: as for `validator`.
    Raises: TypeError.
    """
    validate = validator(message_type)

    async def receive() -> M:
        while True:
            try:
                return validate(await source.receive_json())
            except InvalidMessage as error:
                await source.send_json(error.reply())
            except ValueError:
                await source.send_json(not_json().reply())

    return UntilDisconnect(receive)


def not_json() -> InvalidMessage:
    return InvalidMessage([{"field": "", "problem": "is not JSON", "accepted": "a JSON object"}])


def _is_from(module: str, base: str, cls: type) -> bool:
    found = getattr(sys.modules.get(module), base, None)
    return isinstance(found, type) and issubclass(cls, found)


# pydantic


def _pydantic(model: Any) -> Validate[Any]:
    from_pydantic: type[Exception] = sys.modules["pydantic"].ValidationError

    def validate(data: Any) -> Any:
        try:
            return model.model_validate(data)
        except from_pydantic as error:
            errors: Any = error
            found = errors.errors(include_url=False, include_context=False)
        raise InvalidMessage([_pydantic_problem(one) for one in found])

    return validate


def _pydantic_problem(error: dict[str, Any]) -> dict[str, str]:
    field = _path(error["loc"])
    match error["type"]:
        case "missing":
            return {"field": field, "problem": "is missing", "accepted": "this field is required"}
        case "extra_forbidden":
            return {"field": field, "problem": "is not known", "accepted": "only the fields of this message"}
        case "model_type" | "model_attributes_type":  # pydantic's own text has the name of the class
            accepted = "an object"
        case _:
            accepted = error["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return {"field": field, "problem": f"is {describe(error['input'])}", "accepted": accepted}


def _path(parts: Iterable[str | int]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return text.removeprefix(".")


# msgspec says everything in one text, as in "Expected `int`, got `str` - at `$.players[0].score`"

_WHERE = re.compile(r" - at `(?:key in )?\$\.?(.*)`$", re.DOTALL)
_GOT = re.compile(r"Expected (.*), got `(\w+)`$", re.DOTALL)
_FIELD = re.compile(r"Object (missing required|contains unknown) field `(.*)`$", re.DOTALL)


def _msgspec(struct: Any) -> Validate[Any]:
    msgspec = sys.modules["msgspec"]
    from_msgspec: type[Exception] = msgspec.ValidationError

    def validate(data: Any) -> Any:
        try:
            return msgspec.convert(data, type=struct)
        except from_msgspec as error:
            problem = _msgspec_problem(str(error))
        raise InvalidMessage([problem])

    return validate


def _msgspec_problem(text: str) -> dict[str, str]:
    where = _WHERE.search(text)
    field = where[1] if where else ""
    what = text[: where.start()] if where else text
    if found := _FIELD.match(what):
        name = f"{field}.{found[2]}".removeprefix(".")
        if found[1] == "missing required":
            return {"field": name, "problem": "is missing", "accepted": "this field is required"}
        return {"field": name, "problem": "is not known", "accepted": "only the fields of this message"}
    if found := _GOT.match(what):
        return {"field": field, "problem": f"is {found[2]}", "accepted": found[1].replace("`", "")}
    if what.startswith("Expected "):
        return {"field": field, "problem": "is out of bounds", "accepted": what[9:].replace("`", "")}
    return {"field": field, "problem": what}
