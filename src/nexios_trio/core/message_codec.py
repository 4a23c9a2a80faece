"""A message as bytes: as nodes give it to each other, and as histories keep it.

    version     1 byte      1; of any other, nothing else is known
    form        1 byte      of the payload: 0 JSON, 1 a str, as JSON, 2 bytes
    flags       1 byte      1: histories show it; 2: transient
    id          16 bytes    the same on every node
    created     8 bytes     wall-clock seconds, a double
    size        4 bytes     of all fields
    fields                  each: a tag of 1 byte, its size in 4 bytes, its bytes
        1 excluded channels (16 bytes each), 2 excluded users (UTF-8, each with a NUL after it), 3 the trace
    payload                 the rest

All numbers are big-endian. The position is not among them: an engine adds it when it is known. Neighbouring releases
talk to each other while one takes the other's place: a field or a flag may be added, and whoever does not know it skips
it, unless it is of the upper half (tags from 128, flags from 16), which says that the message must not be understood
without it. Then, and where the version is another one, the message cannot be read.
"""

import json
import struct
from typing import Final
from uuid import UUID

from .message import BYTES_FORM, NO_USERS, NOBODY_EXCLUDED, TEXT_FORM, Frame, Message, PayloadForm, Position

__all__ = [
    "SAVED_OVERHEAD_BYTES",
    "SavedMessage",
    "UnreadableMessage",
    "decode_message",
    "encode_message",
    "encoded_id",
    "restore_message",
]

VERSION: Final = 1
_HEADER: Final = struct.Struct(">BBB16sdI")
_FIELD: Final = struct.Struct(">BI")
_FIELDS_SIZE_AT: Final = _HEADER.size - 4
_ID_AT: Final = slice(3, 19)

SHOWN, TRANSIENT = 1, 2
EXCLUDED_CHANNELS, EXCLUDED_USERS, TRACE = 1, 2, 3
MUST_KNOW_TAG: Final = 128
MUST_KNOW_FLAGS: Final = 0xF0

# What a saved message costs in memory beside its bytes: itself, its row in the history, its position and its time.
SAVED_OVERHEAD_BYTES: Final = 260


class UnreadableMessage(ValueError):
    """It is of a release that says things which this one does not know, or no message at all."""


def encode_message(message: Message, message_id: bytes | None = None) -> bytes:
    """Return the message as bytes, made once; then with that id, where there is one."""
    if message.encoded is None:
        if message_id is not None:
            message._id = message_id
        fields = _encode_fields(message) if message.excluded or message.excluded_users or message.trace else b""
        flags = (SHOWN if message.is_shown else 0) | (TRANSIENT if message.is_transient else 0)
        header = _HEADER.pack(VERSION, message.form, flags, message.id, message.created, len(fields))
        message.encoded = b"".join((header, fields, message.frame(0).payload))
    return message.encoded


def _encode_fields(message: Message) -> bytes:
    fields = (
        (EXCLUDED_CHANNELS, b"".join(sorted(uuid.bytes for uuid in message.excluded))),
        (EXCLUDED_USERS, b"".join(sorted(user.encode() + b"\0" for user in message.excluded_users))),
        (TRACE, message.trace),
    )
    return b"".join(_FIELD.pack(tag, len(data)) + data for tag, data in fields if data)


def decode_message(data: bytes, position: Position | None = None) -> Message:
    """Return the message that these bytes are. Raises: UnreadableMessage."""
    try:
        version, form, flags, message_id, created, fields_size = _HEADER.unpack_from(data)
        end = _HEADER.size + fields_size
        if version != VERSION or flags & MUST_KNOW_FLAGS or end > len(data):
            raise UnreadableMessage(_problem(data))
        if form not in (0, 1, 2):
            raise UnreadableMessage(f"a payload of form {form}")
        payload: PayloadForm = form
        message = restore_message(data[end:], payload, message_id, created)
        if fields_size:
            _decode_fields(data[_HEADER.size : end], message)
    except (struct.error, ValueError, RecursionError) as error:
        if isinstance(error, UnreadableMessage):
            raise
        raise UnreadableMessage(f"{_problem(data)}: {error}") from None
    message.is_shown = bool(flags & SHOWN)
    message.is_transient = bool(flags & TRANSIENT)
    message.position = position
    message.encoded = data
    return message


def restore_message(data: bytes, form: PayloadForm, message_id: bytes, created: float) -> Message:
    """Make a message again of its parts. Raises: ValueError when `data` is not of that form."""
    message = Message.__new__(Message)
    is_bytes = form == BYTES_FORM
    frame = Frame(data, text=not is_bytes)
    message._frames = [frame, frame, frame] if is_bytes else [frame, None, None]
    message._raw = data if is_bytes else json.loads(data) if form == TEXT_FORM else None
    message._id = message_id
    message.created = created
    message.position = None
    message.excluded = NOBODY_EXCLUDED
    message.excluded_users = NO_USERS
    message.is_shown = True
    message.is_transient = False
    message.trace = b""
    message.encoded = None
    message.group = ""
    message._encodings = None
    message.size = len(data)
    return message


def encoded_id(data: bytes) -> bytes:
    """Return the id of the message that these bytes are; of what is none, some bytes."""
    return data[_ID_AT]


def _problem(data: bytes) -> str:
    return f"{len(data)} bytes that begin with {data[:4].hex()!r}, where a message of version {VERSION} was expected"


def _decode_fields(data: bytes, message: Message) -> None:
    at = 0
    while at < len(data):
        tag, size = _FIELD.unpack_from(data, at)
        at += _FIELD.size
        field = data[at : at + size]
        at += size
        if at > len(data):
            raise UnreadableMessage(f"field {tag} is cut off")
        match tag:
            case 1:
                message.excluded = frozenset([UUID(bytes=field[i : i + 16]) for i in range(0, size, 16)])
            case 2:
                message.excluded_users = frozenset(field.decode().split("\0")[:-1])
            case 3:
                message.trace = field
            case _ if tag >= MUST_KNOW_TAG:
                raise UnreadableMessage(f"field {tag} is not known, and must be")
            case _:
                continue


class SavedMessage:
    """What a history keeps of a message: its bytes, and nothing that was made of it on the way to its readers."""

    __slots__ = ("data", "position")

    def __init__(self, message: Message) -> None:
        """Save it. Its position must be set."""
        assert message.position is not None
        self.data = encode_message(message)
        self.position = message.position

    @property
    def size(self) -> int:
        """Bytes of the payload as serialized."""
        return len(self.data) - _HEADER.size - int.from_bytes(self.data[_FIELDS_SIZE_AT : _HEADER.size])

    @property
    def cost(self) -> int:
        """Bytes of memory."""
        return len(self.data) + SAVED_OVERHEAD_BYTES

    def restore(self) -> Message:
        """Make a message of it again, the same each time."""
        return decode_message(self.data, self.position)
