"""JSON in both directions, within bounds: strict, finite, exact integers, and only so many levels deep.

Depth matters because what comes in goes out again, is compared, copied and printed, and Python does most of that
recursively: a thousand brackets in one message would surface as a RecursionError far from the one who sent them.

orjson does the work. It has no integers beyond 64 bits: it refuses to write them, and reads them as floats. Then the
standard library takes over, and the result is the same.
"""

import dataclasses
import json
import math
import re
from collections.abc import Callable
from enum import Enum
from typing import Any, Final, NoReturn

import orjson

from ..exceptions import InvalidJson, PayloadError

__all__ = ["MAX_DEPTH", "JsonDefault", "decode_json", "encode_json", "encode_utf8", "is_deeper"]

MAX_DEPTH: Final = 256  # levels of what we encode; readers of a history decode it again, further down the stack

# What orjson makes keeps the whole buffer that it was written into, of this size at least: queues and histories of
# small messages would take forty times the bytes that they are counted with. So small ones are copied.
ORJSON_BUFFER_BYTES: Final = 4096

# Makes JSON's own types of a value that JSON does not know; raises for one that it does not know either.
JsonDefault = Callable[[Any], Any]

# 19 digits in a row, the fewest that may be beyond 64 bits, are in every fourth character at least four times in a row:
# most messages need no closer look.
_SAMPLED_EVERY: Final = 4
_MIN_LONG_DIGITS: Final = 19
_SAMPLED_DIGITS: Final = re.compile("[0-9]{4}")
_SAMPLED_DIGITS_IN_BYTES: Final = re.compile(b"[0-9]{4}")
_LONG_INTEGER: Final = re.compile(r"(?<![^\s\[,:])-?[0-9]{19,}(?![^\s\],}])")
_MAX_64_BIT_DIGITS: Final = 20  # and a sign
_64_BITS: Final = range(-(2**63), 2**64)


def decode_json(message: str | bytes, max_depth: int) -> Any:
    """Decode a JSON text.

    Args:
        max_depth: levels of lists and objects inside each other.
    Raises: InvalidJson for what is no JSON (NaN, infinities and numbers beyond what a float holds included), or too
        deep. Its cause is a UnicodeDecodeError where the bytes are not UTF-8.
    """
    try:
        value = orjson.loads(message)
    except orjson.JSONDecodeError as error:
        raise InvalidJson(error.msg, error.doc, error.pos) from _bad_text(message)  # the close code for it is another
    if _brackets(message) > max_depth and is_deeper(value, max_depth):
        raise InvalidJson(f"more than {max_depth} levels deep", _text(message), 0)
    return _with_long_integers(message) if _may_have_long_integers(message) else value


def _bad_text(message: str | bytes) -> UnicodeDecodeError | None:
    if isinstance(message, bytes):
        try:
            message.decode()
        except UnicodeDecodeError as error:
            return error
    return None


def _text(message: str | bytes) -> str:
    return message if isinstance(message, str) else message.decode()


def _brackets(message: str | bytes) -> int:
    if isinstance(message, str):
        return message.count("[") + message.count("{")
    return message.count(b"[") + message.count(b"{")


def _may_have_long_integers(message: str | bytes) -> bool:
    if len(message) < _MIN_LONG_DIGITS:
        return False
    if isinstance(message, str):
        return _SAMPLED_DIGITS.search(message[::_SAMPLED_EVERY]) is not None
    return _SAMPLED_DIGITS_IN_BYTES.search(message[::_SAMPLED_EVERY]) is not None


def _with_long_integers(message: str | bytes) -> Any:
    """Decode what orjson has found to be JSON, with exact integers."""
    text = _text(message)
    if not any(_is_beyond_64_bits(found[0]) for found in _LONG_INTEGER.finditer(text)):
        return orjson.loads(text)
    try:
        return json.loads(text)
    except RecursionError:
        raise InvalidJson("more levels deep than there is room on the stack", text, 0) from None


def _is_beyond_64_bits(digits: str) -> bool:
    """Tell an integer beyond 64 bits, or the same inside a text, which may have more digits than Python reads."""
    return len(digits) > _MAX_64_BIT_DIGITS or int(digits) not in _64_BITS


def is_deeper(value: Any, limit: int) -> bool:
    """Tell whether lists, tuples and dicts are inside each other more than `limit` levels deep. Not recursive."""
    level = [value] if isinstance(value, dict | list | tuple) else []
    for _ in range(limit):
        if not level:
            return False
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, dict | list | tuple)
        ]
    return bool(level)


def encode_json(payload: Any, default: JsonDefault | None = None) -> bytes:
    """Encode `payload` as compact UTF-8 JSON.

    Beside JSON's own types: integers of any size, named tuples, dataclasses, enums (by their value), UUIDs, dates and
    times, also as keys.

    Args:
        default: makes something of those of other types.
    Raises: PayloadError (a ValueError) naming what JSON cannot carry: NaN and infinities, lone surrogates, cycles,
        other types; also for what is more than `MAX_DEPTH` levels deep, which many readers could not decode.
    """
    try:
        data = orjson.dumps(payload, default and _finite(default), option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        return _encode_slowly(payload, default)  # long integers and named tuples; anything else gets its error here
    if b"null" in data:  # orjson writes NaN as null
        _refuse_non_finite(payload)
    if len(data) < ORJSON_BUFFER_BYTES:
        data = bytes(memoryview(data))
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH and is_deeper(payload, MAX_DEPTH):
        _refuse_deep()
    return data


def encode_utf8(text: str) -> bytes:
    """Encode `text`. Raises: PayloadError when it holds a lone surrogate, which UTF-8 cannot carry."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise PayloadError(f"text must be encodable as UTF-8: lone surrogate at index {error.start}") from None


def _encode_slowly(payload: Any, default: JsonDefault | None) -> bytes:
    try:
        text = json.dumps(_plain(payload, default, 0), ensure_ascii=False, separators=(",", ":"))
    except RecursionError:
        _refuse_deep()
    except PayloadError:
        raise
    except ValueError as error:  # an integer of too many digits
        raise PayloadError(f"the payload is not JSON: {error}") from None
    return encode_utf8(text)


def _plain(value: Any, default: JsonDefault | None, depth: int) -> Any:
    """Make of `value` the same in str, int, float, bool, None, list and dict. One frame of the stack for each level."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return _plain(value.value, default, depth)
    if isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return _finite_float(value)
    if isinstance(value, list | tuple | dict) and depth >= MAX_DEPTH:
        _refuse_deep()
    if isinstance(value, list | tuple):
        items = []
        for item in value:
            items.append(_plain(item, default, depth + 1))  # a comprehension would double the frames
        return items
    if isinstance(value, dict):
        members = {}
        for key, item in value.items():
            members[_key(key)] = _plain(item, default, depth + 1)
        return members
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(_attributes(value), default, depth)
    return _converted(value, default, depth)


def _key(key: Any) -> str:
    if isinstance(key, Enum):
        return _key(key.value)
    if isinstance(key, str):
        return key
    if isinstance(key, int) and not isinstance(key, bool):
        return int.__repr__(key)
    if isinstance(key, float):
        _finite_float(key)
    try:
        [written] = orjson.loads(orjson.dumps({key: None}, option=orjson.OPT_NON_STR_KEYS))
    except TypeError:
        raise PayloadError(f"the payload is not JSON: a key of type {type(key).__name__}") from None
    return str(written)


def _attributes(value: Any) -> dict[str, Any]:
    """A dataclass's attributes, as orjson has them."""
    named = getattr(value, "__dict__", None)
    if named is None:
        named = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return {name: attribute for name, attribute in named.items() if not name.startswith("_")}


def _converted(value: Any, default: JsonDefault | None, depth: int) -> Any:
    try:
        return orjson.loads(orjson.dumps(value))  # a UUID, a date, a time
    except TypeError:
        if default is None:
            raise PayloadError(f"the payload is not JSON: {type(value).__name__}; see json_default") from None
    if depth > MAX_DEPTH:  # of a `default` that gives back what it got
        _refuse_deep()
    try:
        made = default(value)
    except TypeError as error:
        raise PayloadError(f"the payload is not JSON: {error}") from error
    return _plain(made, default, depth + 1)


def _finite(default: JsonDefault) -> JsonDefault:
    """Hold `default` to what holds for everything else: numbers are finite."""

    def convert(value: Any) -> Any:
        made = default(value)
        _refuse_non_finite(made)
        return made

    return convert


def _finite_float(value: float) -> float:
    if not math.isfinite(value):
        raise PayloadError(f"JSON has no {value!r}: numbers must be finite")
    return value


def _refuse_non_finite(payload: Any) -> None:
    stack: list[Any] = [payload]
    while stack:
        value = stack.pop()
        if isinstance(value, float):
            _finite_float(value)
        elif isinstance(value, dict):
            stack.extend(value.keys())
            stack.extend(value.values())
        elif isinstance(value, list | tuple):
            stack.extend(value)
        elif isinstance(value, Enum):
            stack.append(value.value)
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            stack.extend(_attributes(value).values())


def _refuse_deep() -> NoReturn:
    raise PayloadError(f"the payload is nested too deeply: JSON may have {MAX_DEPTH} levels")
