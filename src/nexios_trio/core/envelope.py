"""Messages as JSON objects that say which group they are of, and which position they have.

    {"group": "room", "position": "EPOCH:OFFSET", "data": ...}      of a group
    {"group": "room", "data": ...}                                  of a group, without a number
    {"data": ...}                                                   for this channel alone

Bytes, which JSON has not, are `"base64"` in place of `"data"`.
"""

from base64 import b64encode
from typing import Any, Final

from .json import JsonDefault, encode_json
from .message import BYTES_FORM, Frame, FrameIndex, Message, register_encoding

__all__ = ["ENVELOPE", "envelope_of"]


def _encode(group: str, message: Message) -> Frame:
    position = b"" if message.position is None else b'"position":%b,' % encode_json(str(message.position))
    frame = message.frame(0)
    content = _as_base64(frame.payload) if message.form == BYTES_FORM else b'"data":%b' % frame.payload
    return Frame(b'{"group":%b,%b%b}' % (encode_json(group), position, content), text=True)


def envelope_of(payload: Any, json_default: JsonDefault | None = None) -> Frame:
    """Write what is for one channel alone. Raises: PayloadError."""
    if isinstance(payload, bytes | bytearray | memoryview):
        return Frame(b"{%b}" % _as_base64(bytes(payload)), text=True)
    return Frame(b'{"data":%b}' % encode_json(payload, json_default), text=True)


def _as_base64(data: bytes) -> bytes:
    return b'"base64":"%b"' % b64encode(data)


ENVELOPE: Final[FrameIndex] = register_encoding(_encode)
