"""JSON that peers send, within bounds: strict, finite, and only so many levels deep.

Depth matters because what comes in goes out again, is compared, copied and printed, and Python does most of that
recursively: a thousand brackets in one message would surface as a RecursionError far from the one who sent them.
"""

from typing import Any, Final

import orjson

from ..exceptions import InvalidJson

__all__ = ["MAX_DEPTH", "decode_json", "is_deeper"]

MAX_DEPTH: Final = 256  # of what we encode; readers of a history decode it again, some frames further down the stack


def decode_json(message: str | bytes, max_depth: int) -> Any:
    """The value of a JSON text.

    Args:
        max_depth: levels of lists and objects inside each other.
    Raises: InvalidJson for what is no JSON (NaN and infinities included), or too deep. Its cause is a
        UnicodeDecodeError where the bytes are not UTF-8.
    """
    try:
        value = orjson.loads(message)
    except orjson.JSONDecodeError as error:
        raise InvalidJson(error.msg, error.doc, error.pos) from _bad_text(message)  # the close code for it is another
    if _brackets(message) > max_depth and is_deeper(value, max_depth):
        text = message if isinstance(message, str) else message.decode()
        raise InvalidJson(f"more than {max_depth} levels deep", text, 0)
    return value


def _bad_text(message: str | bytes) -> UnicodeDecodeError | None:
    if isinstance(message, bytes):
        try:
            message.decode()
        except UnicodeDecodeError as error:
            return error
    return None


def _brackets(message: str | bytes) -> int:
    if isinstance(message, str):
        return message.count("[") + message.count("{")
    return message.count(b"[") + message.count(b"{")


def is_deeper(value: Any, limit: int) -> bool:
    """Tell whether lists, tuples and dicts are more than `limit` levels deep inside each other. Not recursive."""
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
