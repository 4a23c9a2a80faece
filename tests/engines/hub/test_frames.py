"""Frames and what is in them, there and back."""

from hypothesis import given
from hypothesis import strategies as st

from nexios_trio.core.message import Message, Position
from nexios_trio.core.message_codec import SavedMessage
from nexios_trio.engines.base import HistoryLimits
from nexios_trio.engines.hub.bodies import (
    pack_keep,
    pack_page,
    pack_position,
    pack_query,
    pack_texts,
    unpack_keep,
    unpack_page,
    unpack_position,
    unpack_query,
    unpack_texts,
)
from nexios_trio.engines.hub.frames import Frame, FrameReader, Kind, frame
from nexios_trio.engines.saved_page import SavedPage

positions = st.none() | st.builds(Position, st.integers(0, 2**60), st.text("abcdef0123456789.", max_size=20))
texts = st.lists(st.text(max_size=20))
frames = st.lists(
    st.tuples(
        st.sampled_from(Kind),
        st.integers(0, 2**32 - 1),
        st.integers(0, 2**16 - 1),
        st.text("abc:._", max_size=100),
        st.binary(max_size=50),
    )
)


@given(frames, st.lists(st.integers(1, 20), min_size=1))
def test_frames_come_whole_however_they_are_cut(sent, sizes):
    data = b"".join(frame(*one) for one in sent)
    reader, received, at = FrameReader(), [], 0
    while at < len(data):
        size = sizes[len(received) % len(sizes)]
        received += reader.feed(data[at : at + size])
        at += size
    assert received == [Frame(*one) for one in sent]


@given(positions, positions)
def test_positions(first, second):
    data = pack_position(first) + pack_position(second)
    found, at = unpack_position(data)
    assert (found, *unpack_position(data, at)) == (first, second, len(data))


@given(texts)
def test_texts(sent):
    assert unpack_texts(pack_texts(sent)) == sent


@given(positions, st.none() | st.integers(0, 2**40), st.none() | st.integers(0, 2**40))
def test_queries(since, limit, max_bytes):
    assert unpack_query(pack_query(since, limit, max_bytes)) == (since, limit, max_bytes)


def test_limits():
    limits = HistoryLimits(max_bytes=7, max_messages=8, max_age=0.5, overflow="trim")
    data = b"x" + pack_keep(limits) + b"rest"
    found, end = unpack_keep(data, 1)
    assert (found, data[end:]) == (limits, b"rest")


def test_a_page_with_a_message_of_a_newer_release_has_a_gap():
    top = Position(2, "e")
    old, new = (Message(payload, 0.5, position=Position(number, "e")) for number, payload in ((1, "a"), (2, b"b")))
    kept = SavedMessage(old), SavedMessage(new)
    data = b"".join(pack_page(SavedPage(kept, True, top, has_more=True)))
    page = unpack_page(data)
    assert [(one.payload, one.position, one.created) for one in page.messages] == [
        ("a", old.position, 0.5),
        (b"b", new.position, 0.5),
    ]
    assert (page.complete, page.top, page.has_more) == (True, top, True)
    kept[1].data = b"\xff" + kept[1].data[1:]
    page = unpack_page(b"".join(pack_page(SavedPage(kept, True, top))))
    assert [one.payload for one in page.messages] == ["a"]
    assert not page.complete
