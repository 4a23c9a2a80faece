"""What travels: frames, and messages that keep nothing of the caller's."""

import math
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexios_trio.core.message import (
    MIN_DEFLATE_BYTES,
    Batch,
    Frame,
    Message,
    Position,
    binary_frame,
    text_frame,
    wire_header,
)
from nexios_trio.core.payloads import FRAME_INDEXES, PayloadTypeEnum, encode

JSON, TEXT, BYTES = PayloadTypeEnum

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
payloads = json_values | st.text() | st.binary()


def read_frame(wire):
    """(first byte, payload) of one unmasked frame, which must be all there is."""
    length, start = wire[1], 2
    if length == 126:
        length, start = int.from_bytes(wire[2:4], "big"), 4
    elif length == 127:
        length, start = int.from_bytes(wire[2:10], "big"), 10
    assert len(wire) == start + length
    return wire[0], wire[start:]


# ---------------------------------------------------------------- frames


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
@pytest.mark.parametrize("is_text", [True, False])
def test_a_frame_is_one_whole_server_frame(size, is_text):
    frame = Frame(b"x" * size, text=is_text)
    assert read_frame(frame.wire) == (0x81 if is_text else 0x82, b"x" * size)
    assert frame.size == size
    assert frame.wire is frame.wire


@pytest.mark.parametrize(
    ("length", "header"),
    [(0, "8100"), (125, "817d"), (126, "817e007e"), (65_535, "817effff"), (65_536, "817f0000000000010000")],
)
def test_lengths_take_the_shortest_form(length, header):
    assert wire_header(1, length) == bytes.fromhex(header)


def test_small_frames_are_not_compressed():
    frame = text_frame("x" * (MIN_DEFLATE_BYTES - 1))
    assert frame.deflated is frame


@given(st.binary(min_size=MIN_DEFLATE_BYTES), st.booleans())
def test_compression_needs_no_context(data, is_text):
    frame = Frame(data, text=is_text)
    first, body = read_frame(frame.deflated.wire)
    assert first == (0xC1 if is_text else 0xC2)  # final, compressed
    assert zlib.decompressobj(wbits=-15).decompress(body + b"\0\0\xff\xff") == data
    assert frame.deflated is frame.deflated.deflated  # made once
    assert (frame.deflated.size, frame.deflated.payload) == (frame.size, data)  # queues count what it was


def test_a_frame_as_an_asgi_event():
    assert text_frame("ä").event == {"type": "websocket.send", "text": "ä"}
    assert binary_frame(bytearray(b"\xff")).event == {"type": "websocket.send", "bytes": b"\xff"}


def test_a_binary_frame_does_not_follow_its_buffer():
    buffer = bytearray(b"before")
    frame = binary_frame(buffer)
    buffer[:] = b"after!"
    assert frame.payload == b"before"


def test_text_with_a_lone_surrogate_is_refused_with_its_place():
    with pytest.raises(ValueError, match="lone surrogate at index 2"):
        text_frame("ab\ud800")


# ---------------------------------------------------------------- messages


@given(payloads, st.sampled_from(PayloadTypeEnum))
def test_a_group_message_is_encoded_like_a_direct_one(payload, kind):
    frame = Message(payload, 0.0).frame(FRAME_INDEXES[kind])
    direct = encode(payload, kind)
    assert (frame.text, frame.payload) == (direct.text, direct.payload)


@given(payloads)
def test_a_message_gives_its_payload_back(payload):
    assert Message(payload, 0.0).payload == payload


def test_a_message_is_encoded_once_per_payload_type():
    message = Message({"a": 1}, 0.0)
    for kind in FRAME_INDEXES.values():
        assert message.frame(kind) is message.frame(kind)
    assert message.frame(0) is message.frame(1)  # JSON text for both


def test_regression_history_payload_was_aliased():
    payload = {"list": [1]}
    message = Message(payload, 0.0)
    payload["list"].append(2)
    first = message.payload
    first["list"].append(3)
    assert message.payload == {"list": [1]}


def test_regression_history_shared_one_uuid():
    first, second = Message(1, 0.0), Message(1, 0.0)
    assert first.uuid == first.uuid
    assert first.uuid != second.uuid


def test_a_message_that_cannot_be_encoded_does_not_come_to_be():
    with pytest.raises(ValueError, match="finite"):
        Message({"n": math.nan}, 0.0)


@pytest.mark.parametrize(("payload", "size"), [({"a": 1}, 7), ("ä", 4), (b"\xff\xff", 2)])
def test_the_size_is_that_of_the_serialized_message(payload, size):
    assert Message(payload, 0.0).size == size


def test_positions_of_one_epoch_are_ordered():
    assert Position(1, "e") < Position(2, "e")


@given(st.lists(payloads, min_size=1, max_size=5), st.sampled_from([0, 1, 2]))
def test_a_batch_is_its_frames_in_order(batch_payloads, kind):
    messages = tuple(Message(payload, 0.0) for payload in batch_payloads)
    batch = Batch(messages)
    assert batch.wire(kind) == b"".join(message.frame(kind).wire for message in messages)
    assert batch.frames(kind) == [message.frame(kind) for message in messages]
    assert batch.wire(kind) is batch.wire(kind)
