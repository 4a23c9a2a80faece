"""A group's messages as publications: what clients read in them, and that each is written once."""

import json
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexios_trio.core import message as messages
from nexios_trio.core.message import Message, Position
from nexios_trio.groups.broadcast import Broadcaster
from nexios_trio.pubsub.index import GroupIndex
from nexios_trio.realtime.encodings import frame_index, message_index
from nexios_trio.realtime.protocol.codecs import JSON, PROTOBUF
from nexios_trio.realtime.protocol.data import Data
from nexios_trio.realtime.protocol.parts import Publication
from nexios_trio.realtime.protocol.replies import Message as ToClient
from nexios_trio.realtime.protocol.replies import Push, Reply
from tests.realtime.protocol.objects import VALUES

both = pytest.mark.parametrize("codec", [JSON, PROTOBUF], ids=["json", "protobuf"])


def message_of(payload, offset=None, group="room:1"):
    message = Message(payload, 0.0)
    message.group = group
    message.position = None if offset is None else Position(offset, "epoch")
    return message


def read(codec, frame):
    assert frame.text is codec.is_text
    [reply] = codec.decode_frame(frame.payload, Reply)
    return reply


@both
@given(VALUES, st.none() | st.integers(1, 10**18))
def test_a_message_is_a_publication(codec, payload, offset):
    reply = read(codec, message_of(payload, offset).frame(frame_index(codec, is_kept=True)))
    assert reply == Reply(0, Push("room:1", Publication(Data(payload), offset=offset or 0)))


@both
@given(VALUES)
def test_what_a_user_is_sent_is_a_message(codec, payload):
    reply = read(codec, message_of(payload, 7, "$user:YW5u").frame(message_index(codec)))
    assert reply == Reply(0, Push("", ToClient(Data(payload))))


def test_bytes_are_bytes_or_base64():
    message = message_of(b"\x00\xff", 3)
    assert read(PROTOBUF, message.frame(frame_index(PROTOBUF, is_kept=True))).body.event.data.raw == b"\x00\xff"
    assert json.loads(message.frame(frame_index(JSON, is_kept=True)).payload) == {
        "push": {"channel": "room:1", "pub": {"data": "AP8=", "offset": 3}}
    }


@both
def test_only_what_a_client_may_not_miss_is_kept(codec):
    assert message_of(1, 1).frame(frame_index(codec, is_kept=True)).is_kept
    assert not message_of(1, 1).frame(frame_index(codec, is_kept=False)).is_kept
    assert not message_of(1).frame(frame_index(codec, is_kept=True)).is_kept


def test_it_is_written_once_for_each_encoding_however_many_get_it(monkeypatch):
    """Plain channels, clients with JSON and with protobuf in one group: one order, one flush."""
    written = []

    def counted(encode):
        def count(group, message):
            written.append(message)
            return encode(group, message)

        return count

    monkeypatch.setattr(messages, "_encodings", [counted(encode) for encode in messages._encodings])
    index = GroupIndex()
    broadcaster = Broadcaster(index, {})
    got = {}
    for form in (0, frame_index(JSON, is_kept=True), frame_index(PROTOBUF, is_kept=True)):
        for _ in range(20):
            member = UUID(int=len(got))
            got[member] = []
            index.add(member, "room", _Noting(got[member]), form)
    for offset in (1, 2, 3):
        broadcaster.deliver("room", message_of({"n": offset}, offset))
    assert [message.position.offset for message in written] == [1, 1, 2, 2, 3, 3]
    assert list(got.values()) == [[1, 2, 3]] * 60


class _Noting:
    """A receiver that notes the offsets of what it has given to its peer."""

    def __init__(self, received):
        self._received = received

    def attach(self, membership):
        return None

    def detach(self, membership): ...

    def offer_batch(self, membership, batch, written=0):
        batch.wire(membership.frame_index)
        self._received.extend(message.position.offset for message in batch.messages)
