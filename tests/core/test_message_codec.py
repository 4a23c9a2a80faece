"""Messages as bytes: what is recorded here is what other releases send and understand."""

import struct
from contextlib import suppress
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nexios_trio.core.message import Message, Position
from nexios_trio.core.message_codec import SavedMessage, UnreadableMessage, decode_message, encode_message

HERE = Position(7, "epoch")
ID = bytes(range(16))
ONE, TWO = UUID(int=1), UUID(int=2)

WITH_EXCLUSIONS = (
    "010001000102030405060708090a0b0c0d0e0f41d954fc4000000000000033"
    "01000000200000000000000000000000000000000100000000000000000000000000000002"
    "0200000009616e6e00c3a462650031"
)
# Written by the first release that has them. They never change.
RECORDED = {
    "an object": ("010001000102030405060708090a0b0c0d0e0f41d954fc40000000000000007b2261223a317d", {"a": 1}, {}),
    "a str": ("010101000102030405060708090a0b0c0d0e0f41d954fc400000000000000022c3a422", "ä", {}),
    "bytes": ("010201000102030405060708090a0b0c0d0e0f41d954fc400000000000000000ff", b"\x00\xff", {}),
    "not shown": ("010000000102030405060708090a0b0c0d0e0f41d954fc400000000000000031", 1, {"is_shown": False}),
    "transient": ("010003000102030405060708090a0b0c0d0e0f41d954fc400000000000000031", 1, {"is_transient": True}),
    "exclusions": (
        WITH_EXCLUSIONS,
        1,
        {"excluded": frozenset({ONE, TWO}), "excluded_users": frozenset({"äbe", "ann"})},
    ),
}


def made(payload, **options):
    message = Message(payload, 1_700_000_000.0, **options)
    message._id = ID
    return message


def parts(message):
    return (
        message.payload,
        message.id,
        message.created,
        message.excluded,
        message.excluded_users,
        message.is_shown,
        message.is_transient,
        message.trace,
        message.size,
        [message.frame(kind).wire for kind in (0, 1, 2)],
    )


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_bytes_are_written_and_read(name):
    recorded, payload, options = RECORDED[name]
    message = made(payload, **options)
    assert encode_message(message).hex() == recorded
    read = decode_message(bytes.fromhex(recorded), HERE)
    assert parts(read) == parts(message)
    assert read.position == HERE


def test_a_trace_travels():
    message = made(1)
    message.trace = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert decode_message(encode_message(message)).trace == message.trace


def test_what_was_read_is_not_written_anew():
    data = encode_message(made({"a": 1}))
    assert encode_message(decode_message(data)) is data


def altered(at, value):
    data = bytearray(encode_message(made(1)))
    data[at] = value
    return bytes(data)


def with_field(tag, data):
    whole = encode_message(made(1))
    field = struct.pack(">BI", tag, len(data)) + data
    return whole[:27] + struct.pack(">I", len(field)) + field + whole[31:]


def test_what_a_newer_release_adds_is_skipped():
    assert decode_message(with_field(100, b"new")).payload == 1
    assert decode_message(altered(2, 0x0F)).payload == 1


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (altered(0, 2), "of version 1 was expected"),
        (altered(1, 3), "form 3"),
        (altered(2, 0x11), "of version 1 was expected"),
        (with_field(128, b"new"), "field 128 is not known"),
        (with_field(1, b"short"), "bytes that begin"),
        (with_field(2, b"\xff\x00"), "utf-8"),
        (encode_message(made("text"))[:-1], "bytes that begin"),
        (encode_message(made(1))[:30], "bytes that begin"),
        (altered(30, 200), "of version 1 was expected"),
        (b"", "0 bytes"),
        (b"hello", "begin with '68656c6c'"),
    ],
)
def test_what_cannot_be_understood_is_one_error(data, text):
    with pytest.raises(UnreadableMessage, match=text):
        decode_message(data)


@given(st.binary(max_size=80), st.sampled_from([1, 1, 2]), st.integers(0, 2))
@example(b"\x01\x01\x00" + bytes(28) + b"[" * 100_000, 1, 1)
def test_no_bytes_do_worse_than_that(data, version, form):
    with suppress(UnreadableMessage):
        decode_message(bytes((version, form)) + data[2:])


@given(
    st.one_of(st.integers(), st.text(), st.binary(), st.lists(st.integers())),
    st.frozensets(st.uuids()),
    st.frozensets(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)),
    st.booleans(),
    st.booleans(),
)
def test_every_message_comes_back(payload, excluded, users, is_shown, is_transient):
    message = Message(payload, 2.5, None, excluded, excluded_users=users, is_shown=is_shown, is_transient=is_transient)
    assert parts(decode_message(encode_message(message))) == parts(message)


def test_an_id_is_made_once():
    message = Message(1, 0.0)
    assert len(message.id) == 16
    assert message.uuid == message.uuid
    assert message.uuid == decode_message(encode_message(message)).uuid
    assert message.uuid.version == 4
    assert Message(1, 0.0).id != message.id


def test_a_saved_message_is_the_same_whenever_it_is_read():
    message = made({"a": "ä"}, position=HERE, excluded=frozenset({ONE}))
    saved = SavedMessage(message)
    assert (saved.size, saved.position) == (message.size, HERE)
    assert parts(saved.restore()) == parts(message)
    assert saved.cost > len(saved.data)
