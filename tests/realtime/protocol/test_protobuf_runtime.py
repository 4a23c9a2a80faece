"""Our protobuf beside the real runtime, with the definitions that come with a client of others."""

from typing import Any

import pytest
from centrifuge.protocol import client_pb2
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from nexios_trio.realtime.protocol.codecs import PROTOBUF
from nexios_trio.realtime.protocol.protobuf_codec import _read_varint, varint
from nexios_trio.realtime.protocol.replies import Reply
from nexios_trio.realtime.protocol.requests import Command
from nexios_trio.realtime.protocol.schema import BadFrame, Kind, schema_of
from tests.realtime.protocol.objects import COMMANDS, REPLIES

THEIRS: dict[Any, Any] = {Command: client_pb2.Command, Reply: client_pb2.Reply}


def body_of(message):
    frame = PROTOBUF.encode(message)
    size, start = _read_varint(frame, 0, len(frame))
    assert size == len(frame) - start
    return frame[start:]


def framed(body):
    return varint(len(body)) + body


def assert_same(ours, theirs):
    """Compare field by field, as far as their definitions have them: they are of an older version than ours."""
    schema = schema_of(type(ours))
    known = theirs.DESCRIPTOR.fields_by_name
    for field in schema.fields:
        if field.name not in known:
            continue
        assert known[field.name].number == field.number, field.name
        mine, other = getattr(ours, field.name), getattr(theirs, field.name)
        match field.kind:
            case Kind.DATA:
                assert (b"" if mine is None else mine.raw) == other
            case Kind.MESSAGE:
                assert theirs.HasField(field.name) == (mine is not None)
                if mine is not None:
                    assert_same(mine, other)
            case Kind.PRESENT:
                assert theirs.HasField(field.name) == mine
            case Kind.MESSAGES:
                assert len(mine) == len(other)
                for one, two in zip(mine, other, strict=True):
                    assert_same(one, two)
            case Kind.MESSAGE_MAP:
                assert set(mine) == set(other)
                for name, one in mine.items():
                    assert_same(one, other[name])
            case Kind.STRINGS:
                assert mine == dict(other)
            case _:
                assert mine == other, field.name
    if schema.one_of is not None:
        mine = getattr(ours, schema.one_of)
        there = [variant for variant in schema.variants if variant.name in known and theirs.HasField(variant.name)]
        if mine is None:
            assert there == []
        elif schema.variant_of[type(mine)].name in known:
            assert [variant.of for variant in there][:1] == [type(mine)]
            assert_same(mine, getattr(theirs, there[0].name))


@given(st.sampled_from([Command, Reply]), st.data())
def test_the_runtime_reads_what_we_write(cls, data):
    ours = data.draw(COMMANDS if cls is Command else REPLIES)
    assert_same(ours, THEIRS[cls].FromString(body_of(ours)))


@given(st.sampled_from([Command, Reply]), st.data())
def test_we_read_what_the_runtime_writes(cls, data):
    """What it does not know it hands on, so nothing may be missing."""
    ours = data.draw(COMMANDS if cls is Command else REPLIES)
    written = THEIRS[cls].FromString(body_of(ours)).SerializeToString()
    assert list(PROTOBUF.decode_frame(framed(written), cls)) == [ours]


@given(COMMANDS, COMMANDS)
def test_messages_in_parts_are_joined_as_the_runtime_joins_them(one, two):
    body = body_of(one) + body_of(two)
    [ours] = PROTOBUF.commands(framed(body))
    theirs = client_pb2.Command.FromString(body)
    if ours.request is None or type(one.request) is type(two.request):
        assert_same(ours, theirs)
    else:
        assert ours.id == theirs.id


@given(COMMANDS | REPLIES, st.data())
def test_both_refuse_the_same(message, data):
    """Bytes of a message are changed. We also refuse groups, and numbers of more bits than there are."""
    cls = type(message)
    body = bytearray(body_of(message))
    for _ in range(data.draw(st.integers(1, 3))):
        if body:
            body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        [ours] = PROTOBUF.decode_frame(framed(bytes(body)), cls)
    except BadFrame as error:
        if "wire type" not in str(error) and "64 bits" not in str(error):
            with pytest.raises(DecodeError):
                THEIRS[cls].FromString(bytes(body))
        return
    try:
        theirs = THEIRS[cls].FromString(bytes(body))
    except DecodeError:
        raise AssertionError(f"the runtime refuses {bytes(body)!r}, we read {ours}") from None
    assert_same(ours, theirs)
