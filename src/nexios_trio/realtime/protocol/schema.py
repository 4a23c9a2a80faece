"""The fields of the protocol's objects: declared once, read by both codecs. docs/decisions/013.

A class of the protocol is an `attrs` class whose fields are made by the functions here. Each has its number, which is
its name in protobuf; in JSON it is called by the attribute's name. A field that has its default value is not written.

    uint32, uint64, int32, int64    whole numbers within their bits
    boolean, string
    data                            the application's: `Data`, or None; JSON in JSON, bytes in protobuf
    strings                         a dict of str to str
    message, messages               another class; None, or a list of them
    message_map                     a dict of str to objects of another class
    present                         a message of which only matters that it is there: True
    one_of                          an object of one of several classes, each a field of its own on the wire; None
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Final

import attrs

__all__ = ["BadFrame", "Field", "Kind", "Schema", "Variant", "schema_of"]

_KEY: Final = "nexios_trio.realtime"


class BadFrame(ValueError):
    """What came is no frame of the protocol. Its text says what was wrong, and what is accepted."""


class Kind(IntEnum):
    """What a field holds."""

    UINT32 = 0
    UINT64 = 1
    INT32 = 2
    INT64 = 3
    BOOLEAN = 4
    STRING = 5
    DATA = 6
    STRINGS = 7
    MESSAGE = 8
    MESSAGES = 9
    MESSAGE_MAP = 10
    PRESENT = 11


# What a whole number of each kind may be.
RANGES: Final[Mapping[Kind, range]] = {
    Kind.UINT32: range(2**32),
    Kind.UINT64: range(2**64),
    Kind.INT32: range(-(2**31), 2**31),
    Kind.INT64: range(-(2**63), 2**63),
}


@attrs.frozen
class Field:
    """One field of a class: its attribute, its number, what it holds, and the class of that."""

    name: str
    number: int
    kind: Kind
    of: Any = None
    default: Any = None  # what is not written; dicts and lists: empty ones


@attrs.frozen
class Variant:
    """One of the classes that a `one_of` may hold, with its name and number on the wire."""

    name: str
    number: int
    of: Any


@attrs.frozen
class Schema:
    """What both codecs know of a class."""

    cls: Any
    fields: tuple[Field, ...]
    one_of: str | None  # the attribute with one of the variants
    variants: tuple[Variant, ...]  # the first that is there holds
    by_name: Mapping[str, Field]
    by_number: Mapping[int, Field | Variant]
    variant_of: Mapping[Any, Variant]


def _field(number: int, kind: Kind, default: Any, of: Any = None, **options: Any) -> Any:
    made = Field("", number, kind, of, default)
    if not options:
        options = {"default": default}
    return attrs.field(metadata={_KEY: made}, **options)


def uint32(number: int) -> Any:
    return _field(number, Kind.UINT32, 0)


def uint64(number: int) -> Any:
    return _field(number, Kind.UINT64, 0)


def int32(number: int) -> Any:
    return _field(number, Kind.INT32, 0)


def int64(number: int) -> Any:
    return _field(number, Kind.INT64, 0)


def boolean(number: int) -> Any:
    return _field(number, Kind.BOOLEAN, False)


def string(number: int) -> Any:
    return _field(number, Kind.STRING, "")


def data(number: int) -> Any:
    return _field(number, Kind.DATA, None)


def strings(number: int) -> Any:
    return _field(number, Kind.STRINGS, {}, factory=dict)


def message(number: int, of: Any) -> Any:
    return _field(number, Kind.MESSAGE, None, of)


def messages(number: int, of: Any) -> Any:
    return _field(number, Kind.MESSAGES, [], of, factory=list)


def message_map(number: int, of: Any) -> Any:
    return _field(number, Kind.MESSAGE_MAP, {}, of, factory=dict)


def present(number: int) -> Any:
    return _field(number, Kind.PRESENT, False)


def one_of(**variants: tuple[int, Any]) -> Any:
    """Declare the field of a class that has several: name on the wire to number and class."""
    made = tuple(Variant(name, number, of) for name, (number, of) in variants.items())
    return attrs.field(default=None, metadata={_KEY: made})


_schemas: dict[Any, Schema] = {}


def schema_of(cls: Any) -> Schema:
    """Return what was declared for a class."""
    schema = _schemas.get(cls)
    if schema is None:
        schema = _schemas[cls] = _read(cls)
    return schema


def _read(cls: Any) -> Schema:
    fields: list[Field] = []
    attribute: str | None = None
    variants: tuple[Variant, ...] = ()
    for declared in attrs.fields(cls):
        made = declared.metadata[_KEY]
        if isinstance(made, tuple):
            attribute, variants = declared.name, made
        else:
            fields.append(attrs.evolve(made, name=declared.name))
    return Schema(
        cls=cls,
        fields=tuple(fields),
        one_of=attribute,
        variants=variants,
        by_name={field.name: field for field in fields},
        by_number={**{field.number: field for field in fields}, **{each.number: each for each in variants}},
        variant_of={variant.of: variant for variant in variants},
    )
