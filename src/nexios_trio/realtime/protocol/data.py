"""The application's part of a command or a push: JSON for some clients, bytes for the others."""

from base64 import b64encode
from typing import Any, Final

from ...core.json import decode_json, encode_json
from ...exceptions import InvalidJson

__all__ = ["MAX_DATA_DEPTH", "Data"]

MAX_DATA_DEPTH: Final = 64  # levels of lists and objects inside each other
_UNREAD: Any = object()


class Data:
    """What an application sends, as a value or as bytes, whichever it was first; the other is made when it is needed.

    A client with JSON sends and gets values. One with protobuf sends and gets bytes, which are the value's JSON where
    both sides mean JSON, as most do.

    Args:
        raw: the bytes; together with a value, its JSON.
        is_json: the bytes are known to be JSON.
    """

    __slots__ = ("_is_json", "_raw", "_value")

    def __init__(self, value: Any = _UNREAD, *, raw: bytes | None = None, is_json: bool = False) -> None:
        self._value = value
        self._raw = raw
        self._is_json = is_json or value is not _UNREAD

    @property
    def raw(self) -> bytes:
        """The bytes, of a value its JSON. Raises: PayloadError for a value that JSON cannot carry."""
        if self._raw is None:
            self._raw = encode_json(self._value)
        return self._raw

    @property
    def value(self) -> Any:
        """The value, of bytes what their JSON stands for. Raises: InvalidJson for bytes that are none."""
        if self._value is _UNREAD:
            assert self._raw is not None
            self._value = decode_json(self._raw, MAX_DATA_DEPTH)
        return self._value

    @property
    def is_json(self) -> bool:
        """Tell whether there is a value."""
        if not self._is_json:
            try:
                self.value  # noqa: B018  # it is kept
            except InvalidJson:
                return False
            self._is_json = True
        return True

    @property
    def json(self) -> bytes:
        """JSON on one line, as JSON clients get it: of bytes that are none, a text in base64. Raises: PayloadError."""
        raw = self.raw
        if not self.is_json:
            return b'"%b"' % b64encode(raw)
        # A line break in JSON is between two tokens: inside a text it is written as \n.
        return raw if b"\n" not in raw and b"\r" not in raw else raw.translate(_ONE_LINE)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Data):
            return NotImplemented
        return self.raw == other.raw or (self.is_json and other.is_json and _is_same(self.value, other.value))

    def __hash__(self) -> int:
        raise TypeError("data may be equal and have other bytes")

    def __repr__(self) -> str:
        shown = repr(self._raw if self._value is _UNREAD else self._value)
        return f"Data({shown if len(shown) <= 80 else shown[:77] + '...'})"


_ONE_LINE: Final = bytes.maketrans(b"\n\r", b"  ")


def _is_same(one: Any, other: Any) -> bool:
    """Tell whether two values are the same JSON: True is not 1 there."""
    return encode_json(one) == encode_json(other)
