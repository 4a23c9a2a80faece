"""Messages as objects of a declared type: a pydantic model, a msgspec struct or an attrs class.

None of the first two is imported here. Whoever gives such a class has imported its library, and that is where it is
looked up. What comes out is always `InvalidMessage`, whose texts name JSON's types and never Python's classes, so that
a peer learns what to change and nothing about the program.
"""

import sys
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol, TypeVar

from ..connections.until_disconnect import UntilDisconnect
from ..exceptions import InvalidMessage
from .attrs import attrs_validator
from .msgspec import msgspec_validator
from .problems import not_json
from .pydantic import pydantic_validator

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
            return pydantic_validator(cls)
        if _is_from("msgspec", "Struct", cls):
            return msgspec_validator(cls)
        if hasattr(cls, "__attrs_attrs__"):
            return attrs_validator(cls)
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


def _is_from(module: str, base: str, cls: type) -> bool:
    found = getattr(sys.modules.get(module), base, None)
    return isinstance(found, type) and issubclass(cls, found)
