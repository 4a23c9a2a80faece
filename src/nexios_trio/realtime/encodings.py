"""A group's messages as publications: written once for all clients of one encoding, whoever else is in the group.

What a client that comes back may not miss is a `KeptFrame`, in groups that keep their messages; what only those get who
are there now has no offset, and may be dropped by an overflow policy.
"""

from base64 import b64encode
from collections.abc import Callable
from typing import Final

from ..core.message import BYTES_FORM, Frame, FrameIndex, KeptFrame, Message, register_encoding
from .protocol.codecs import JSON, PROTOBUF, Codec
from .protocol.protobuf_codec import varint

__all__ = ["frame_index", "message_index", "publication_data"]

# Tags: a field's number and how it is written.
_PUSH, _CHANNEL, _PUB, _DATA, _OFFSET = b"\x22", b"\x12", b"\x22", b"\x22", b"\x30"
_MESSAGE, _DATA_OF_MESSAGE = b"\x42", b"\x0a"


def publication_data(message: Message, codec: Codec) -> bytes:
    """Return a message's payload as a publication of that encoding carries it."""
    payload = message.frame(0).payload
    if codec is JSON and message.form == BYTES_FORM:
        return b'"%b"' % b64encode(payload)
    return payload


def _json(group: str, message: Message) -> bytes:
    offset = b"" if message.position is None else b',"offset":%d' % message.position.offset
    data = publication_data(message, JSON)
    return b'{"push":{"channel":"%b","pub":{"data":%b%b}}}' % (group.encode(), data, offset)  # a name has no quotes


def _protobuf(group: str, message: Message) -> bytes:
    name, data = group.encode(), publication_data(message, PROTOBUF)
    offset = b"" if message.position is None else _OFFSET + varint(message.position.offset)
    pub = b"".join((_DATA, varint(len(data)), data, offset))
    push = b"".join((_CHANNEL, varint(len(name)), name, _PUB, varint(len(pub)), pub))
    reply = b"".join((_PUSH, varint(len(push)), push))
    return varint(len(reply)) + reply


def _register(write: Callable[[str, Message], bytes], *, text: bool, is_kept: bool) -> FrameIndex:
    def encode(group: str, message: Message) -> Frame:
        cls = KeptFrame if is_kept and message.position is not None else Frame
        return cls(write(group, message), text)

    return register_encoding(encode)


def _json_message(group: str, message: Message) -> Frame:
    data = publication_data(message, JSON)
    return Frame(b'{"push":{"message":{"data":%b}}}' % data, text=True)


def _protobuf_message(group: str, message: Message) -> Frame:
    data = publication_data(message, PROTOBUF)
    body = b"".join((_DATA_OF_MESSAGE, varint(len(data)), data))
    push = b"".join((_MESSAGE, varint(len(body)), body))
    reply = b"".join((_PUSH, varint(len(push)), push))
    return Frame(varint(len(reply)) + reply, text=False)


_MESSAGE_INDEXES: Final = {
    JSON.subprotocol: register_encoding(_json_message),
    PROTOBUF.subprotocol: register_encoding(_protobuf_message),
}

# By encoding, and whether the group keeps its messages.
_FRAME_INDEXES: Final = {
    (codec.subprotocol, is_kept): _register(write, text=codec.is_text, is_kept=is_kept)
    for codec, write in ((JSON, _json), (PROTOBUF, _protobuf))
    for is_kept in (False, True)
}


def frame_index(codec: Codec, *, is_kept: bool) -> FrameIndex:
    """Return the form that a group's messages have for a client.

    Args:
        is_kept: the group keeps its messages for those who come back.
    """
    return _FRAME_INDEXES[codec.subprotocol, is_kept]


def message_index(codec: Codec) -> FrameIndex:
    """Return the form of what is sent to all connections of a user: a message without a channel."""
    return _MESSAGE_INDEXES[codec.subprotocol]
