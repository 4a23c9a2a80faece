"""The protocol in JSON: objects, one a line."""

from collections.abc import Iterator
from typing import Any, Final, TypeVar

import orjson

from ...core.json import decode_json
from ...exceptions import InvalidJson, PayloadError
from .data import MAX_DATA_DEPTH, Data
from .requests import Command
from .schema import RANGES, BadFrame, Field, Kind, schema_of

__all__ = ["MEDIUM_IS_TEXT", "PING", "decode_frame", "encode", "join"]

T = TypeVar("T")

MEDIUM_IS_TEXT: Final = True  # of the WebSocket messages
PING: Final = b"{}"
MAX_DEPTH: Final = MAX_DATA_DEPTH + 4  # an application's data are four levels down at most


def decode_frame(frame: str | bytes, cls: type[T] = Command) -> Iterator[T]:  # type: ignore[assignment]
    """Read the objects of one frame, one after the other.

    Raises: BadFrame, where the first bad one is: those before it have been given.
    """
    if not frame:
        raise BadFrame("an empty frame: accepted are JSON objects, one a line")
    end = "\n" if isinstance(frame, str) else b"\n"
    lines: list[Any] = frame.split(end)  # type: ignore[arg-type]
    if len(lines) > 1 and not lines[-1]:
        lines.pop()
    for line in lines:
        try:
            value = decode_json(line, MAX_DEPTH)
        except InvalidJson as error:
            raise BadFrame(f"no JSON: {error.msg}") from None
        yield _object(cls, value, "")


def encode(message: Any) -> bytes:
    """Write one object, without the end of its line. Raises: PayloadError for what JSON cannot carry."""
    try:
        return orjson.dumps(_plain(message))
    except TypeError as error:
        raise PayloadError(f"not JSON: {error}") from None


def join(messages: list[bytes]) -> bytes:
    """Make one frame of several objects."""
    return b"\n".join(messages)


# ---------------------------------------------------------------- reading


def _object(cls: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise BadFrame(f"{where or cls.__name__.lower()}: an object, not {_type(value)}")
    schema = schema_of(cls)
    arguments: dict[str, Any] = {}
    for name, given in value.items():
        field = schema.by_name.get(name)
        if field is not None and (given is not None or field.kind is Kind.DATA):
            arguments[name] = _value(field, given, f"{where}.{name}" if where else name)
    if schema.one_of is not None:
        for variant in schema.variants:
            given = value.get(variant.name)
            if given is not None:
                name = f"{where}.{variant.name}" if where else variant.name
                arguments[schema.one_of] = _object(variant.of, given, name)
                break
    return cls(**arguments)


def _value(field: Field, given: Any, where: str) -> Any:
    match field.kind:
        case Kind.STRING:
            return given if isinstance(given, str) else _refuse(where, "a text", given)
        case Kind.DATA:
            return Data(given)
        case Kind.BOOLEAN:
            return given if isinstance(given, bool) else _refuse(where, "true or false", given)
        case Kind.MESSAGE:
            return _object(field.of, given, where)
        case Kind.MESSAGES:
            if not isinstance(given, list):
                _refuse(where, "a list", given)
            return [_object(field.of, item, f"{where}[{index}]") for index, item in enumerate(given)]
        case Kind.STRINGS | Kind.MESSAGE_MAP | Kind.PRESENT if not isinstance(given, dict):
            return _refuse(where, "an object", given)
        case Kind.STRINGS:
            for name, text in given.items():
                if not isinstance(text, str):
                    _refuse(f"{where}.{name[:40]}", "a text", text)
            return given
        case Kind.MESSAGE_MAP:
            return {name: _object(field.of, item, f"{where}.{name[:40]}") for name, item in given.items()}
        case Kind.PRESENT:
            return True
        case _:
            allowed = RANGES[field.kind]
            if not isinstance(given, int) or isinstance(given, bool) or given not in allowed:
                _refuse(where, f"a whole number from {allowed.start} to {allowed.stop - 1}", given)
            return given


def _refuse(where: str, accepted: str, given: Any) -> Any:
    raise BadFrame(f"{where}: {accepted}, not {_type(given)}")


def _type(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value!r:.24}"
    names = {str: "a text", bool: "true or false", list: "a list", dict: "an object", type(None): "null"}
    return names[type(value)]


# ---------------------------------------------------------------- writing


def _plain(message: Any) -> dict[str, Any]:
    """Make of an object what orjson writes."""
    schema = schema_of(type(message))
    plain: dict[str, Any] = {}
    for field in schema.fields:
        value = getattr(message, field.name)
        if value == field.default:
            continue
        match field.kind:
            case Kind.DATA:
                value = orjson.Fragment(value.json)
            case Kind.MESSAGE:
                value = _plain(value)
            case Kind.MESSAGES:
                value = [_plain(item) for item in value]
            case Kind.MESSAGE_MAP:
                value = {name: _plain(item) for name, item in value.items()}
            case Kind.PRESENT:
                value = {}
            case _:
                pass
        plain[field.name] = value
    if schema.one_of is not None:
        body = getattr(message, schema.one_of)
        if body is not None:
            plain[schema.variant_of[type(body)].name] = _plain(body)
    return plain
