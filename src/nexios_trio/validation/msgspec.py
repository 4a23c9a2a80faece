"""msgspec structs from decoded JSON.

msgspec is not imported here: whoever gives a Struct has imported it, and that is where it is looked up. It says
everything in one text, as in "Expected `int`, got `str` - at `$.players[0].score`".
"""

import re
import sys
from collections.abc import Callable
from typing import Any

from ..exceptions import InvalidMessage
from .problems import missing, unknown

__all__ = ["msgspec_validator"]

_WHERE = re.compile(r" - at `(?:key in )?\$\.?(.*)`$", re.DOTALL)
_GOT = re.compile(r"Expected (.*), got `(\w+)`$", re.DOTALL)
_FIELD = re.compile(r"Object (missing required|contains unknown) field `(.*)`$", re.DOTALL)


def msgspec_validator(struct: Any) -> Callable[[Any], Any]:
    """Make a function from decoded JSON to an instance of a msgspec Struct. It raises `InvalidMessage`."""
    msgspec = sys.modules["msgspec"]
    from_msgspec: type[Exception] = msgspec.ValidationError

    def validate(data: Any) -> Any:
        try:
            return msgspec.convert(data, type=struct)
        except from_msgspec as error:
            problem = _problem(str(error))
        raise InvalidMessage([problem])

    return validate


def _problem(text: str) -> dict[str, str]:
    where = _WHERE.search(text)
    field = where[1] if where else ""
    what = text[: where.start()] if where else text
    if found := _FIELD.match(what):
        name = f"{field}.{found[2]}".removeprefix(".")
        if found[1] == "missing required":
            return missing(name)
        return unknown(name)
    if found := _GOT.match(what):
        return {"field": field, "problem": f"is {found[2]}", "accepted": found[1].replace("`", "")}
    if what.startswith("Expected "):
        return {"field": field, "problem": "is out of bounds", "accepted": what[9:].replace("`", "")}
    return {"field": field, "problem": what}
