"""What is wrong with a message, in words for the peer: JSON's types, and never Python's classes."""

from collections.abc import Mapping
from typing import Any, Final

from ..exceptions import InvalidMessage

__all__ = ["JSON_NAMES", "Problems", "describe", "missing", "not_json", "unknown"]

Problems = list[dict[str, str]]

JSON_NAMES: Final[Mapping[Any, str]] = {
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
    list: "an array",
    dict: "an object",
}


def describe(value: Any) -> str:
    """Say what a value is, in JSON's words, without showing it."""
    return JSON_NAMES.get(type(value), "of another type")


def missing(field: str) -> dict[str, str]:
    """Say that a required field is not there."""
    return {"field": field, "problem": "is missing", "accepted": "this field is required"}


def unknown(field: str, accepted: str = "only the fields of this message") -> dict[str, str]:
    """Say that the message has no such field."""
    return {"field": field, "problem": "is not known", "accepted": accepted}


def not_json() -> InvalidMessage:
    """Make the error for what is no JSON at all."""
    return InvalidMessage([{"field": "", "problem": "is not JSON", "accepted": "a JSON object"}])
