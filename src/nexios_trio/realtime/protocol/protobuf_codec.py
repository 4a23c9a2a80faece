"""The protocol in protobuf (proto3), each message with its length before it. docs/decisions/013."""

from collections.abc import Iterator
from typing import Any, Final, TypeVar

from ...exceptions import PayloadError
from .data import Data
from .requests import Command
from .schema import BadFrame, Field, Kind, Variant, schema_of

__all__ = ["MEDIUM_IS_TEXT", "PING", "decode_frame", "encode", "join", "varint"]

T = TypeVar("T")

MEDIUM_IS_TEXT: Final = False  # of the WebSocket messages
PING: Final = b"\x00"

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5  # how a field is written
MAX_VARINT_BYTES: Final = 10
_MAX_FIELD: Final = 2**29
_WHOLE = (Kind.UINT32, Kind.UINT64, Kind.INT32, Kind.INT64, Kind.BOOLEAN)
_BITS: Final = {Kind.UINT32: 32, Kind.UINT64: 64, Kind.INT32: 32, Kind.INT64: 64}
_SIGNED: Final = (Kind.INT32, Kind.INT64)


def decode_frame(frame: bytes, cls: type[T] = Command) -> Iterator[T]:  # type: ignore[assignment]
    """Read the messages of one frame, one after the other.

    Raises: BadFrame, where the first bad one is: those before it have been given.
    """
    if not frame:
        raise BadFrame("an empty frame: accepted are messages, each with its length before it")
    at = 0
    while at < len(frame):
        size, at = _read_varint(frame, at, len(frame))
        if size > len(frame) - at:
            raise BadFrame(f"a message of {size} bytes is cut off after {len(frame) - at}")
        yield _read(cls, frame, at, at + size)
        at += size


def encode(message: Any) -> bytes:
    """Write one message, with its length before it. Raises: PayloadError for text that UTF-8 cannot carry."""
    try:
        body = _write(message)
    except UnicodeEncodeError as error:
        raise PayloadError(f"text must be encodable as UTF-8: lone surrogate at index {error.start}") from None
    return varint(len(body)) + body


def join(messages: list[bytes]) -> bytes:
    """Make one frame of several messages."""
    return b"".join(messages)


# ---------------------------------------------------------------- reading


def _read_varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Return a number of 64 bits, and what follows it."""
    number = shift = 0
    while at < end:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            if number >= 1 << 64:
                break
            return number, at
        shift += 7
        if shift >= 7 * MAX_VARINT_BYTES:
            break
    else:
        raise BadFrame("a number is cut off")
    raise BadFrame("a number has more than 64 bits")


def _read(cls: Any, data: bytes, at: int, end: int, into: Any = None) -> Any:
    """Read a message, or more of one that came in parts."""
    message = cls() if into is None else into
    schema = schema_of(cls)
    variant_at = len(schema.variants)  # which variant was found
    while at < end:
        tag, at = _read_varint(data, at, end)
        number, wire = tag >> 3, tag & 7
        if not 0 < number < _MAX_FIELD:
            raise BadFrame(f"field {number}: accepted are 1 to {_MAX_FIELD - 1}")
        start, at, value = _read_value(data, at, end, wire, number)
        field = schema.by_number.get(number)
        if field is None:
            continue
        if isinstance(field, Variant):
            if wire != LENGTH:
                continue
            position = schema.variants.index(field)
            before = getattr(message, schema.one_of or "") if position == variant_at else None
            body = _read(field.of, data, start, at, before)  # also of one that does not count, for its errors
            if position <= variant_at:
                variant_at = position
                setattr(message, schema.one_of or "", body)
        elif wire == (VARINT if field.kind in _WHOLE else LENGTH):
            _set(message, field, data, start, at, value)
    return message


def _read_value(data: bytes, at: int, end: int, wire: int, number: int) -> tuple[int, int, int]:
    """Return where the value of a field begins and ends, and the value, if it is a number."""
    if wire == VARINT:
        value, after = _read_varint(data, at, end)
        return at, after, value
    if wire == LENGTH:
        size, at = _read_varint(data, at, end)
    elif wire == FIXED64:
        size = 8
    elif wire == FIXED32:
        size = 4
    else:
        raise BadFrame(f"field {number} is of wire type {wire}: accepted are 0, 1, 2 and 5")
    if size > end - at:
        raise BadFrame(f"field {number}: {size} bytes are cut off after {end - at}")
    return at, at + size, 0


def _set(message: Any, field: Field, data: bytes, start: int, end: int, value: int) -> None:
    name = field.name
    match field.kind:
        case Kind.STRING:
            setattr(message, name, _text(data, start, end, name))
        case Kind.DATA:
            setattr(message, name, Data(raw=data[start:end]))
        case Kind.BOOLEAN:
            setattr(message, name, value != 0)
        case Kind.MESSAGE:
            setattr(message, name, _read(field.of, data, start, end, getattr(message, name)))
        case Kind.MESSAGES:
            getattr(message, name).append(_read(field.of, data, start, end))
        case Kind.STRINGS | Kind.MESSAGE_MAP:
            _set_entry(getattr(message, name), field, data, start, end)
        case Kind.PRESENT:
            setattr(message, name, True)
        case _:
            bits = _BITS[field.kind]
            value &= (1 << bits) - 1
            if field.kind in _SIGNED and value >> (bits - 1):
                value -= 1 << bits
            setattr(message, name, value)


def _set_entry(entries: dict[str, Any], field: Field, data: bytes, at: int, end: int) -> None:
    """Add an entry of a map, which is a message with a key (1) and a value (2)."""
    key: str = ""
    value: Any = "" if field.kind is Kind.STRINGS else None
    while at < end:
        tag, at = _read_varint(data, at, end)
        start, at, _ = _read_value(data, at, end, tag & 7, tag >> 3)
        if tag == 1 << 3 | LENGTH:
            key = _text(data, start, at, field.name)
        elif tag == 2 << 3 | LENGTH:
            is_text = field.kind is Kind.STRINGS
            value = _text(data, start, at, field.name) if is_text else _read(field.of, data, start, at, value)
    entries[key] = field.of() if value is None else value


def _text(data: bytes, start: int, end: int, name: str) -> str:
    try:
        return data[start:end].decode()
    except UnicodeDecodeError:
        raise BadFrame(f"{name}: a text that is not UTF-8") from None


# ---------------------------------------------------------------- writing


def varint(number: int) -> bytes:
    """Write a number of 64 bits, from 0."""
    if number < 0x80:
        return bytes((number,))
    made = bytearray()
    while number >= 0x80:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    made.append(number)
    return bytes(made)


def _write(message: Any) -> bytes:
    schema = schema_of(type(message))
    parts: list[bytes] = []
    for field in schema.fields:
        value = getattr(message, field.name)
        if value != field.default:
            _write_field(parts, field, value)
    if schema.one_of is not None:
        body = getattr(message, schema.one_of)
        if body is not None:
            _write_bytes(parts, schema.variant_of[type(body)].number, _write(body))
    return b"".join(parts)


def _write_field(parts: list[bytes], field: Field, value: Any) -> None:
    number = field.number
    match field.kind:
        case Kind.STRING:
            _write_bytes(parts, number, value.encode())
        case Kind.DATA:
            _write_bytes(parts, number, value.raw)
        case Kind.MESSAGE:
            _write_bytes(parts, number, _write(value))
        case Kind.MESSAGES:
            for item in value:
                _write_bytes(parts, number, _write(item))
        case Kind.STRINGS | Kind.MESSAGE_MAP:
            for key, item in value.items():
                entry: list[bytes] = []
                _write_bytes(entry, 1, key.encode())
                _write_bytes(entry, 2, item.encode() if field.kind is Kind.STRINGS else _write(item))
                _write_bytes(parts, number, b"".join(entry))
        case Kind.PRESENT:
            _write_bytes(parts, number, b"")
        case _:
            parts += (varint(number << 3 | VARINT), varint(int(value) & (2**64 - 1)))


def _write_bytes(parts: list[bytes], number: int, data: bytes) -> None:
    parts += (varint(number << 3 | LENGTH), varint(len(data)), data)
