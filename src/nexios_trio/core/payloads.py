"""Payload types: how a channel's payloads are written to its peer, and read."""

from enum import Enum
from typing import Any, Final

from ..exceptions import WrongFrameType
from .json import JsonDefault, decode_json, encode_json, encode_utf8
from .message import Frame, FrameIndex, binary_frame

__all__ = ["FRAME_INDEXES", "PayloadTypeEnum", "decode", "encode", "payload_type"]


class PayloadTypeEnum(str, Enum):
    """How a channel's payloads are written to its peer."""

    JSON = "json"
    TEXT = "text"
    BYTES = "bytes"

    def __str__(self) -> str:
        return self.value


FRAME_INDEXES: Final[dict[PayloadTypeEnum, FrameIndex]] = {
    PayloadTypeEnum.JSON: 0,
    PayloadTypeEnum.TEXT: 1,
    PayloadTypeEnum.BYTES: 2,
}


def payload_type(value: str | PayloadTypeEnum) -> PayloadTypeEnum:
    """Return the payload type called `value`. Raises: ValueError, which names the accepted ones."""
    if isinstance(value, str):
        try:
            return PayloadTypeEnum(value)
        except ValueError:
            pass
    accepted = ", ".join(repr(member.value) for member in PayloadTypeEnum)
    raise ValueError(f"payload_type must be one of {accepted}, not {value!r}")


def encode(payload: Any, payload_type: PayloadTypeEnum, json_default: JsonDefault | None = None) -> Frame:
    """Make `payload` one frame of a channel of this payload type.

    json: bytes stay a binary frame, all else is JSON text (a str becomes a JSON string). text: a str as it is, bytes a
    binary frame, all else JSON text. bytes: bytes as they are, a str as UTF-8, all else JSON, always a binary frame.

    Raises: PayloadError.
    """
    if isinstance(payload, bytes | bytearray | memoryview):
        return binary_frame(payload)
    if isinstance(payload, str) and payload_type is not PayloadTypeEnum.JSON:
        return Frame(encode_utf8(payload), text=payload_type is PayloadTypeEnum.TEXT)
    return Frame(encode_json(payload, json_default), text=payload_type is not PayloadTypeEnum.BYTES)


def decode(message: str | bytes, payload_type: PayloadTypeEnum, max_depth: int) -> Any:
    """Read a peer's message: str for text, bytes for binary.

    Raises: WrongFrameType; InvalidJson, see `decode_json`.
    """
    if payload_type is PayloadTypeEnum.JSON:
        return decode_json(message, max_depth)
    if payload_type is PayloadTypeEnum.TEXT:
        if isinstance(message, str):
            return message
        raise WrongFrameType("a text message was expected, a binary one came")
    if isinstance(message, bytes):
        return message
    raise WrongFrameType("a binary message was expected, a text one came")
