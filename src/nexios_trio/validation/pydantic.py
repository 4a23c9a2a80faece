"""pydantic models from decoded JSON.

pydantic is not imported here: whoever gives a model has imported it, and that is where it is looked up.
"""

import sys
from collections.abc import Callable, Iterable
from typing import Any

from ..exceptions import InvalidMessage
from .problems import describe, missing, unknown

__all__ = ["pydantic_validator"]


def pydantic_validator(model: Any) -> Callable[[Any], Any]:
    """Make a function from decoded JSON to an instance of a pydantic model. It raises `InvalidMessage`."""
    from_pydantic: type[Exception] = sys.modules["pydantic"].ValidationError

    def validate(data: Any) -> Any:
        try:
            return model.model_validate(data)
        except from_pydantic as error:
            errors: Any = error
            found = errors.errors(include_url=False, include_context=False)
        raise InvalidMessage([_problem(one) for one in found])

    return validate


def _problem(error: dict[str, Any]) -> dict[str, str]:
    field = _path(error["loc"])
    match error["type"]:
        case "missing":
            return missing(field)
        case "extra_forbidden":
            return unknown(field)
        case "model_type" | "model_attributes_type":  # pydantic's own text has the name of the class
            accepted = "an object"
        case _:
            accepted = error["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return {"field": field, "problem": f"is {describe(error['input'])}", "accepted": accepted}


def _path(parts: Iterable[str | int]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return text.removeprefix(".")
