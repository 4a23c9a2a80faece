"""What travels: a payload becomes a `Message`, encoded once per payload type, framed once per encoding.

A `Message` keeps no reference to the caller's payload, only its encoding: changing a dict after it was sent changes
nothing for anybody, and every reader of the history gets a fresh copy.
"""

import dataclasses
import json
import math
import zlib
from collections.abc import Callable
from enum import Enum
from typing import Any, Literal, TypeVar, cast
from uuid import UUID, uuid4

import attrs
import orjson

from .json import MAX_DEPTH, is_deeper


class PayloadTypeEnum(str, Enum):
    """How a channel's payloads are written to its peer."""

    JSON = "json"
    TEXT = "text"
    BYTES = "bytes"

    def __str__(self) -> str:
        return self.value


# What orjson makes keeps the whole buffer that it was written into, of this size at least: queues and histories of
# small messages would take forty times the bytes that they are counted with. So small ones are copied.
ORJSON_BUFFER = 4096

T = TypeVar("T")

MIN_DEFLATE_SIZE = 128  # bytes; below, compression costs more than it saves

# A payload type as an index: hashing an enum member costs more than the rest of a delivery's bookkeeping.
Kind = Literal[0, 1, 2]
KINDS: dict[PayloadTypeEnum, Kind] = {PayloadTypeEnum.JSON: 0, PayloadTypeEnum.TEXT: 1, PayloadTypeEnum.BYTES: 2}


def payload_type(value: "str | PayloadTypeEnum") -> PayloadTypeEnum:
    """The payload type called `value`; `ValueError` names the accepted ones."""
    if isinstance(value, str):
        try:
            return PayloadTypeEnum(value)
        except ValueError:
            pass
    accepted = ", ".join(repr(member.value) for member in PayloadTypeEnum)
    raise ValueError(f"payload_type must be one of {accepted}, not {value!r}")


def wire_header(opcode: int, length: int) -> bytes:
    """The header of one whole, unmasked server frame (RFC 6455, section 5.2) of `length` payload bytes."""
    if length < 126:
        return bytes((0x80 | opcode, length))
    if length < 65536:
        return bytes((0x80 | opcode, 126)) + length.to_bytes(2, "big")
    return bytes((0x80 | opcode, 127)) + length.to_bytes(8, "big")


TEXT_HEADERS = tuple(wire_header(1, size) for size in range(126))
BINARY_HEADERS = tuple(wire_header(2, size) for size in range(126))


class Frame:
    """One message as the wire wants it. Shared by every receiver, so never changed."""

    __slots__ = ("_rarer", "_wire", "payload", "text")

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
    def deflated(self) -> bytes:
        """The bytes of the server frame, compressed (RFC 7692) without a context, so one for all; plain if small."""
        return self._made("deflated", self._deflate)

    def _deflate(self) -> bytes:
        if self.size < MIN_DEFLATE_SIZE:
            return self.wire
        deflater = zlib.compressobj(wbits=-15)
        # A sync flush ends with an empty block that the peer adds by itself.
        data = (deflater.compress(self.payload) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]
        header = wire_header(1 if self.text else 2, len(data))
        return bytes((header[0] | 0x40,)) + header[1:] + data

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


def text_frame(text: str) -> Frame:
    """`text` as a text frame; `ValueError` when it holds a lone surrogate, which UTF-8 cannot carry."""
    try:
        return Frame(text.encode(), text=True)
    except UnicodeEncodeError:
        return Frame(_utf8(text), text=True)  # for its error


def binary_frame(data: bytes | bytearray | memoryview) -> Frame:
    return Frame(bytes(data), text=False)


def encode_json(payload: Any) -> bytes:
    """`payload` as compact UTF-8 JSON.

    Raises: ValueError naming what JSON cannot carry: NaN and infinities, lone surrogates, cycles, unknown types; also
        for what is more than `MAX_DEPTH` levels deep, which many readers could not decode.
    """
    try:
        data = orjson.dumps(payload, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        return _encode_json_slowly(payload)  # integers beyond 64 bits are legal JSON; anything else gets its error here
    if b"null" in data:  # orjson writes NaN as null
        _refuse_non_finite(payload)
    if len(data) < ORJSON_BUFFER:
        data = bytes(memoryview(data))
    return _refuse_deep(payload, data)


def _refuse_deep(payload: Any, data: bytes) -> bytes:
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH and is_deeper(payload, MAX_DEPTH):
        raise ValueError(f"the payload is nested too deeply: JSON may have {MAX_DEPTH} levels")
    return data


def _encode_json_slowly(payload: Any) -> bytes:
    try:
        data = _utf8(json.dumps(payload, ensure_ascii=False, allow_nan=False, separators=(",", ":")))
    except RecursionError:
        raise ValueError("the payload is nested too deeply for JSON") from None
    except TypeError as error:
        raise ValueError(f"the payload is not JSON: {error}") from None
    return _refuse_deep(payload, data)


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"text must be encodable as UTF-8: lone surrogate at index {error.start}") from None


def _refuse_non_finite(payload: Any) -> None:
    stack: list[Any] = [payload]
    while stack:
        value = stack.pop()
        if isinstance(value, float):
            if not math.isfinite(value):
                raise ValueError(f"JSON has no {value!r}: numbers must be finite")
        elif isinstance(value, dict):
            stack.extend(value.keys())
            stack.extend(value.values())
        elif isinstance(value, list | tuple):
            stack.extend(value)
        elif isinstance(value, Enum):
            stack.append(value.value)
        elif dataclasses.is_dataclass(value):
            stack.extend(getattr(value, field.name) for field in dataclasses.fields(value))


def encode(payload: Any, kind: PayloadTypeEnum) -> Frame:
    """`payload` as one frame of a channel whose payload type is `kind`.

    json: bytes stay a binary frame, all else is JSON text (a str becomes a JSON string). text: a str as it is, bytes a
    binary frame, all else JSON text. bytes: bytes as they are, a str as UTF-8, all else JSON, always a binary frame.
    """
    if isinstance(payload, bytes | bytearray | memoryview):
        return binary_frame(payload)
    if isinstance(payload, str) and kind is not PayloadTypeEnum.JSON:
        return Frame(_utf8(payload), text=kind is PayloadTypeEnum.TEXT)
    return Frame(encode_json(payload), text=kind is not PayloadTypeEnum.BYTES)


@attrs.frozen(order=True)
class Position:
    """A place in one group's history: `offset` counts from 1 within an `epoch`; two epochs do not compare."""

    offset: int
    epoch: str


class Message:
    """One group message: a payload frozen at sending time, with its identity and its place in the history.

    Raises: ValueError when the payload cannot be encoded, so that nothing is sent to anybody.
    """

    __slots__ = ("_frames", "_raw", "_uuid", "created", "excluded", "position", "size")

    def __init__(
        self, payload: Any, created: float, position: Position | None = None, excluded: frozenset[UUID] = frozenset()
    ) -> None:
        # Either the str or bytes as given, or the JSON of anything else.
        self._raw: str | bytes | None = None
        self._frames: list[Frame | None] = [None, None, None]  # indexed by Kind
        self._uuid: UUID | None = None
        self.created = created  # wall-clock seconds
        self.position = position
        self.excluded = excluded  # channels that do not get it
        if isinstance(payload, bytes | bytearray | memoryview):
            self._raw = bytes(payload)
            frame = Frame(self._raw, text=False)
            self._frames = [frame, frame, frame]
        else:
            if isinstance(payload, str):
                self._raw = payload
            frame = Frame(encode_json(payload), text=True)
            self._frames[0] = frame
        self.size = frame.size  # bytes as serialized

    def frame(self, kind: Kind) -> Frame:
        frame = self._frames[kind]
        if frame is None:
            self._frames[kind] = frame = self._other_frame(kind)
        return frame

    def _other_frame(self, kind: Kind) -> Frame:
        if isinstance(self._raw, str):
            return Frame(self._raw.encode(), text=kind == 1)
        json_frame = self.frame(0)
        return json_frame if kind == 1 else Frame(json_frame.payload, text=False)

    @property
    def payload(self) -> Any:
        """The payload as its readers may have it: a fresh copy each time."""
        return self._raw if self._raw is not None else json.loads(self.frame(0).payload)

    @property
    def uuid(self) -> UUID:
        if self._uuid is None:
            self._uuid = uuid4()
        return self._uuid


class Batch:
    """Consecutive messages of one group, written to many members in one go."""

    __slots__ = ("messages", "wires")

    def __init__(self, messages: tuple[Message, ...]) -> None:
        self.messages = messages
        self.wires: list[bytes | None] = [None, None, None]  # by Kind: what `wire` has made

    def wire(self, kind: Kind) -> bytes:
        """The server frames of all messages, joined; made when the first member of that kind needs them."""
        wire = self.wires[kind]
        if wire is None:
            frames = [message.frame(kind).wire for message in self.messages]
            self.wires[kind] = wire = frames[0] if len(frames) == 1 else b"".join(frames)
        return wire

    def frames(self, kind: Kind) -> list[Frame]:
        return [message.frame(kind) for message in self.messages]
