"""Hypothesis strategies for the protocol's objects, made from their declarations."""

from functools import cache

from hypothesis import strategies as st

from nexios_trio.realtime.protocol.data import Data
from nexios_trio.realtime.protocol.replies import Reply
from nexios_trio.realtime.protocol.requests import Command
from nexios_trio.realtime.protocol.schema import RANGES, Kind, schema_of

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def field_values(field):
    match field.kind:
        case Kind.STRING:
            return TEXT
        case Kind.BOOLEAN | Kind.PRESENT:
            return st.booleans()
        case Kind.DATA:
            return st.none() | VALUES.map(Data)
        case Kind.STRINGS:
            return st.dictionaries(TEXT, TEXT, max_size=3)
        case Kind.MESSAGE:
            return st.none() | objects(field.of)
        case Kind.MESSAGES:
            return st.lists(objects(field.of), max_size=3)
        case Kind.MESSAGE_MAP:
            return st.dictionaries(TEXT, objects(field.of), max_size=3)
        case _:
            allowed = RANGES[field.kind]
            return st.sampled_from((0, 1, allowed.start, allowed.stop - 1)) | st.integers(
                allowed.start, allowed.stop - 1
            )


@cache
def objects(cls):
    """Any object of a class of the protocol."""
    schema = schema_of(cls)
    fields = {field.name: field_values(field) for field in schema.fields}
    if schema.one_of is not None:
        variants = [objects(variant.of) for variant in schema.variants]
        fields[schema.one_of] = st.none() | st.one_of(variants)
    return st.builds(cls, **fields)


COMMANDS = objects(Command)
REPLIES = objects(Reply)
