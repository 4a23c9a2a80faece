"""What travels: a payload becomes a `Message`, encoded once per payload type, framed once per encoding.

A `Message` keeps no reference to the caller's payload, only its encoding: changing a dict after it was sent changes
nothing for anybody, and every reader of the history gets a fresh copy.
"""

import json
import zlib
from collections.abc import Callable
from typing import Any, Final, Literal, TypeVar, cast
from uuid import UUID, uuid4

import attrs

from .json import JsonDefault, encode_json, encode_utf8
from .position import Position as Position

T = TypeVar("T")

MIN_DEFLATE_BYTES = 128  # below, compression costs more than it saves

# What a payload is: what is neither str nor bytes, as JSON; a str, as JSON; bytes. Nodes tell each other these numbers.
PayloadForm = Literal[0, 1, 2]
JSON_FORM: Final = 0
TEXT_FORM: Final = 1
BYTES_FORM: Final = 2

# Which form of a message a channel takes: its JSON as text, plain text, bytes; from `FIRST_ENCODING` on, what
# `register_encoding` has given out. An index, since hashing an enum member costs more than the rest of a delivery's
# bookkeeping; `payloads.FRAME_INDEXES` has it by payload type.
FrameIndex = int
FIRST_ENCODING: Final = 3
DEFLATED: Final[FrameIndex] = 1 << 16  # added to an index: the same form, for those who negotiated compression


def wire_header(opcode: int, length: int) -> bytes:
    """The header of one whole, unmasked server frame (RFC 6455, section 5.2) of `length` payload bytes."""
    if length < 126:
        return bytes((0x80 | opcode, length))
    if length < 65536:
        return bytes((0x80 | opcode, 126)) + length.to_bytes(2, "big")
    return bytes((0x80 | opcode, 127)) + length.to_bytes(8, "big")


SHORT_BYTES: Final = 126  # a payload of fewer has its size in the second byte
TEXT_HEADERS = tuple(wire_header(1, size) for size in range(SHORT_BYTES))
BINARY_HEADERS = tuple(wire_header(2, size) for size in range(SHORT_BYTES))


class Frame:
    """One message as the wire wants it. Shared by every receiver, so never changed."""

    __slots__ = ("_rarer", "_wire", "payload", "text")

    is_kept = False  # a dropping policy drops it as any other

    def __init__(self, payload: bytes, text: bool) -> None:
        self.payload = payload
        self.text = text
        self._wire: bytes | None = None
        self._rarer: dict[str, Any] | None = None  # what else was made of it, by name

    @property
    def size(self) -> int:
        return len(self.payload)

    @property
    def wire(self) -> bytes:
        """The bytes of the server frame."""
        wire = self._wire
        if wire is None:
            payload = self.payload
            size = len(payload)
            if size < 126:
                self._wire = wire = (TEXT_HEADERS if self.text else BINARY_HEADERS)[size] + payload
            else:
                self._wire = wire = wire_header(1 if self.text else 2, size) + payload
        return wire

    @property
    def deflated(self) -> "Frame":
        """The same, compressed on the wire (RFC 7692) without a context, so one for all; itself if it is small."""
        return self if self.size < MIN_DEFLATE_BYTES else self._made("deflated", self._deflate)

    def _deflate(self) -> "Frame":
        bits = self.size.bit_length()  # a window and tables for as much: 32 KiB for 1 KiB, where the default takes 256
        deflater = zlib.compressobj(wbits=-min(bits + 1, 15), memLevel=min(bits - 6, 8))
        # A sync flush ends with an empty block that the peer adds by itself.
        data = (deflater.compress(self.payload) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]
        header = wire_header(1 if self.text else 2, len(data))
        frame = _DEFLATED_FRAMES[self.is_kept](self.payload, self.text)
        frame._wire = bytes((header[0] | 0x40,)) + header[1:] + data
        return frame

    @property
    def event(self) -> dict[str, Any]:
        """The ASGI `websocket.send` event."""
        return self._made("event", self._make_event)

    def _make_event(self) -> dict[str, Any]:
        if self.text:
            return {"type": "websocket.send", "text": self.payload.decode()}
        return {"type": "websocket.send", "bytes": self.payload}

    def _made(self, name: str, make: Callable[[], T]) -> T:
        if self._rarer is None:
            self._rarer = {}
        if name not in self._rarer:
            self._rarer[name] = make()
        return cast(T, self._rarer[name])


class KeptFrame(Frame):
    """One that no overflow policy drops once it is queued: others follow on it.

    Where there is no room for it, it may be refused, and whoever offered it has to see to that.
    """

    __slots__ = ()

    is_kept = True


class _DeflatedFrame(Frame):
    __slots__ = ()

    @property
    def deflated(self) -> Frame:
        return self


class _DeflatedKeptFrame(_DeflatedFrame):
    __slots__ = ()

    is_kept = True


_DEFLATED_FRAMES = {False: _DeflatedFrame, True: _DeflatedKeptFrame}


def text_frame(text: str) -> Frame:
    """Make `text` a text frame. Raises: PayloadError when it holds a lone surrogate, which UTF-8 cannot carry."""
    try:
        return Frame(text.encode(), text=True)
    except UnicodeEncodeError:
        return Frame(encode_utf8(text), text=True)  # for its error


def binary_frame(data: bytes | bytearray | memoryview) -> Frame:
    return Frame(bytes(data), text=False)


NOBODY_EXCLUDED: frozenset[UUID] = frozenset()  # one for all messages
NO_USERS: frozenset[str] = frozenset()


class Message:
    """One group message: a payload frozen at sending time, with its identity and its place in the history.

    Args:
        created: wall-clock seconds.
        excluded: ids of channels that do not get it.
        json_default: see `encode_json`.
        excluded_users: whose channels do not get it when they come back for what they have missed.
        is_shown: a history shows it to people; else it is kept for those who come back alone, if it is kept.
        is_transient: only for those who are there now: without a position, and in no history.
    Raises: PayloadError (a ValueError) when the payload cannot be encoded, so that nothing is sent to anybody.
    """

    __slots__ = (
        "_encodings",
        "_frames",
        "_id",
        "_raw",
        "created",
        "encoded",
        "excluded",
        "excluded_users",
        "group",
        "is_shown",
        "is_transient",
        "position",
        "size",
        "trace",
    )

    def __init__(
        self,
        payload: Any,
        created: float,
        position: Position | None = None,
        excluded: frozenset[UUID] = NOBODY_EXCLUDED,
        json_default: JsonDefault | None = None,
        *,
        excluded_users: frozenset[str] = NO_USERS,
        is_shown: bool = True,
        is_transient: bool = False,
    ) -> None:
        # Either the str or bytes as given, or the JSON of anything else.
        self._raw: str | bytes | None = None
        self._id: bytes | None = None
        self.created = created
        self.position = position
        self.excluded = excluded
        self.excluded_users = excluded_users
        self.is_shown = is_shown
        self.is_transient = is_transient
        self.trace = b""  # the trace that the publisher is in, as `traceparent` writes it; empty for none
        self.encoded: bytes | None = None  # what `message_codec` has made of it, or made it of
        self.group = ""  # whose message it is, from its delivery on
        self._encodings: dict[FrameIndex, Frame] | None = None  # what registered encodings have made of it
        self._frames: list[Frame | None]  # by FrameIndex
        if isinstance(payload, bytes | bytearray | memoryview):
            self._raw = data = bytes(payload)
            frame = Frame(data, text=False)
            self._frames = [frame, frame, frame]
        else:
            if isinstance(payload, str):
                self._raw = payload
            data = encode_json(payload, json_default)
            self._frames = [Frame(data, text=True), None, None]
        self.size = len(data)  # bytes as serialized

    @property
    def form(self) -> PayloadForm:
        """Tell which kind of payload `frame(0)` has."""
        if self._raw is None:
            return JSON_FORM
        return TEXT_FORM if isinstance(self._raw, str) else BYTES_FORM

    def frame(self, index: FrameIndex) -> Frame:
        """Return the message as it is written to channels of one payload type, or of one registered encoding."""
        if index >= FIRST_ENCODING:
            return self._encoded(index)
        frame = self._frames[index]
        if frame is None:
            if isinstance(self._raw, str):
                frame = Frame(self._raw.encode(), text=index == 1)
            else:
                json_frame = self.frame(0)
                frame = json_frame if index == 1 else Frame(json_frame.payload, text=False)
            self._frames[index] = frame
        return frame

    def _encoded(self, index: FrameIndex) -> Frame:
        if index >= DEFLATED:
            return self.frame(index - DEFLATED).deflated
        if self._encodings is None:
            self._encodings = {}
        frame = self._encodings.get(index)
        if frame is None:
            frame = self._encodings[index] = _encodings[index - FIRST_ENCODING](self.group, self)
        return frame

    @property
    def payload(self) -> Any:
        """The payload as its readers may have it: a fresh copy each time."""
        return self._raw if self._raw is not None else json.loads(self.frame(0).payload)

    @property
    def id(self) -> bytes:
        """16 bytes, made when they are first asked for: the same on every node, and in every history."""
        if self._id is None:
            self._id = uuid4().bytes
        return self._id

    @property
    def uuid(self) -> UUID:
        return UUID(bytes=self.id)


# (group, message) -> what channels with this encoding get. Called once for each message, when the first of them is
# written to: `message.position` is known then, and None for a transient message. Must not change the message.
Encode = Callable[[str, Message], Frame]
_encodings: list[Encode] = []


def register_encoding(encode: Encode) -> FrameIndex:
    """Add a form that messages are written in, for the life of the process. Returns what `Message.frame` calls it."""
    _encodings.append(encode)
    return FIRST_ENCODING + len(_encodings) - 1


@attrs.define(eq=False)
class Batch:
    """Consecutive messages of one group, written to many members in one go."""

    messages: tuple[Message, ...]
    wires: dict[FrameIndex, bytes] = attrs.field(factory=dict, init=False)  # what `wire` has made

    def wire(self, index: FrameIndex) -> bytes:
        """The server frames of all messages, joined; made when the first member with that form needs them."""
        wire = self.wires.get(index)
        if wire is None:
            frames = [message.frame(index).wire for message in self.messages]
            self.wires[index] = wire = frames[0] if len(frames) == 1 else b"".join(frames)
        return wire

    def frames(self, index: FrameIndex) -> list[Frame]:
        return [message.frame(index) for message in self.messages]
