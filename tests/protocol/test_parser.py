"""The parser: the same events however the bytes are split, and every mistake of a peer seen, as early as it can be.

The oracle is the sans-I/O protocol of the `websockets` library, as the client that writes and as another server that
reads the same bytes.
"""

import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import PayloadTooBig, ProtocolError
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.protocol import OPEN, Protocol, Side

from nexios_trio.core.lifecycle import Cause
from nexios_trio.core.message import Frame, binary_frame, text_frame
from nexios_trio.protocol.frames import Violation, close_frame, control_frame, messages_behind
from nexios_trio.protocol.parser import FrameParser
from tests.rawframes import (
    BINARY,
    CLOSE,
    CONTINUATION,
    MASK,
    PING,
    PONG,
    TEXT,
    ServerFrame,
    client_frame,
    close,
    deflated,
    header,
    take_frames,
    text,
)


class Log:
    """Notes what the parser finds. `room`: compressed messages until it is full."""

    def __init__(self, room=10**9):
        self.events = []
        self.room = room

    def on_message(self, message):
        self.events.append(("message", message))
        self.room -= 1

    @property
    def is_full(self):
        return self.room <= 0

    def on_ping(self, payload):
        self.events.append(("ping", payload))

    def on_pong(self, payload):
        self.events.append(("pong", payload))

    def on_close(self, code, reason):
        self.events.append(("close", code, reason))


def parse(*chunks, max_size=1 << 20, max_fragments=4096, deflate=False):
    """The events of some chunks, the last of which is the violation, as (cause, reason), if there is one."""
    log = Log()
    parser = FrameParser(log, max_size, max_fragments, deflate=deflate)
    try:
        for chunk in chunks:
            parser.feed(chunk)
            if log.events and log.events[-1][0] == "close":
                break
    except Violation as violation:
        log.events.append((violation.end.cause, violation.end.reason))
    return log.events


def one_by_one(data):
    return [data[i : i + 1] for i in range(len(data))]


def messages(*chunks, **limits):
    return [event[1] for event in parse(*chunks, **limits) if event[0] == "message"]


def peak_memory(run):
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# ---------------------------------------------------------------- streams


payloads = st.binary(max_size=40) | st.text(max_size=20).map(str.encode)
whole_frames = st.builds(client_frame, st.sampled_from([TEXT, BINARY, PING, PONG]), payloads)
fragments = st.builds(
    client_frame, st.sampled_from([CONTINUATION, CONTINUATION, TEXT, BINARY]), payloads, fin=st.booleans()
)
long_frames = st.builds(
    lambda opcode, size, byte: client_frame(opcode, bytes([byte]) * size),
    st.sampled_from([TEXT, BINARY, CONTINUATION, PING]),
    st.sampled_from([125, 126, 127, 300, 65535, 65536]),
    st.integers(32, 130),
)
odd_frames = st.builds(
    client_frame,
    st.integers(0, 15),
    payloads,
    fin=st.booleans(),
    rsv=st.integers(0, 7),
    mask=st.binary(min_size=4, max_size=4),
)
compressed_frames = st.builds(
    lambda opcode, payload, fin: client_frame(opcode, deflated(payload), rsv=4, fin=fin),
    st.sampled_from([TEXT, BINARY]),
    payloads,
    st.booleans(),
)
close_frames = st.builds(close, st.integers(999, 5000), st.text(max_size=10)) | st.just(client_frame(CLOSE))
frames = whole_frames | fragments | long_frames | odd_frames | compressed_frames | close_frames
streams = st.lists(frames, max_size=8).map(b"".join)
torn_streams = st.builds(lambda stream, tail: stream + tail, streams, st.binary(max_size=20))


@st.composite
def split_streams(draw):
    """A stream, and the same in pieces, some of them empty."""
    stream = draw(torn_streams)
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    return stream, [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


limits = st.fixed_dictionaries(
    {
        "max_size": st.sampled_from([1, 30, 100, 1000, 70_000]),
        "max_fragments": st.sampled_from([1, 2, 4096]),
        "deflate": st.booleans(),
    }
)


@given(split_streams(), limits)
def test_any_split_of_any_stream_gives_the_same_events(stream_and_pieces, given_limits):
    stream, pieces = stream_and_pieces
    assert parse(*pieces, **given_limits) == parse(stream, **given_limits)


@given(torn_streams.filter(lambda stream: len(stream) < 600), limits)
def test_a_violation_is_seen_at_the_byte_that_shows_it(stream, given_limits):
    """What a prefix of the stream gives at once is what it gives byte by byte."""
    for end in range(len(stream) + 1):
        assert parse(stream[:end], **given_limits) == parse(*one_by_one(stream[:end]), **given_limits)


@given(st.binary(max_size=300), limits)
def test_noise_raises_nothing_but_violations(noise, given_limits):
    parse(noise, **given_limits)


# ---------------------------------------------------------------- the oracle


def client():
    return Protocol(Side.CLIENT, state=OPEN)


def sent(protocol):
    return b"".join(protocol.data_to_send())


calls = st.lists(
    st.tuples(st.just("text"), st.lists(st.text(max_size=50), min_size=1, max_size=4))
    | st.tuples(st.just("binary"), st.lists(st.binary(max_size=200), min_size=1, max_size=4))
    | st.tuples(st.just("ping"), st.binary(max_size=125))
    | st.tuples(st.just("pong"), st.binary(max_size=125)),
    max_size=10,
)
ends = st.none() | st.tuples(
    st.sampled_from([1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999, 1005]),
    st.text(max_size=30),
)


def write(protocol, kind, given_parts):
    """Have the library's client write; the event that has to come out."""
    if kind in ("ping", "pong"):
        getattr(protocol, f"send_{kind}")(given_parts)
        return (kind, given_parts)
    first, *rest = [part.encode() if isinstance(part, str) else part for part in given_parts]
    getattr(protocol, f"send_{kind}")(first, fin=not rest)
    for left, part in zip(range(len(rest) - 1, -1, -1), rest, strict=True):
        protocol.send_continuation(part, fin=left == 0)
    return ("message", type(given_parts[0])().join(given_parts))


@given(calls, ends, st.integers(1, 50))
def test_what_the_library_s_client_writes_is_what_comes_out(given_calls, end, size):
    protocol = client()
    expected = [write(protocol, *call) for call in given_calls]
    if end is not None:
        code, reason = end
        if code == 1005:
            protocol.send_close()
            expected.append(("close", 1005, ""))
        else:
            protocol.send_close(code, reason)
            expected.append(("close", code, reason))
    data = sent(protocol)
    assert parse(*[data[at : at + size] for at in range(0, len(data), size)]) == expected


@pytest.mark.parametrize("size", [*range(126), 126, 127, 1000, 65535, 65536, 65537, 200_000])
@pytest.mark.parametrize("kind", ["text", "binary"])
def test_sizes(kind, size):
    protocol = client()
    payload = b"x" * size
    getattr(protocol, f"send_{kind}")(payload)
    data = sent(protocol)
    message = payload.decode() if kind == "text" else payload
    assert messages(data) == [message]
    assert messages(*one_by_one(data[:16]), data[16:] + data) == [message, message]
    assert messages(data + data + data[:-1]) == [message, message]


def close_event(protocol):
    assert protocol.close_rcvd is not None
    return ("close", int(protocol.close_rcvd.code), protocol.close_rcvd.reason)


def oracle(stream, **options):
    """What another server makes of it: the events, and the code that it closes with."""
    protocol = Protocol(Side.SERVER, state=OPEN, **options)
    protocol.receive_data(stream)
    events: list[Any] = []
    kind, parts = None, []
    frame: Any
    for frame in protocol.events_received():
        data = bytes(frame.data)
        if frame.opcode == CLOSE:
            events.append(close_event(protocol))
        elif frame.opcode in (PING, PONG):
            events.append(("ping" if frame.opcode == PING else "pong", data))
        else:
            if frame.opcode != CONTINUATION:
                kind, parts = frame.opcode, []
            parts.append(data)
            try:
                whole = b"".join(parts).decode() if kind == TEXT else b"".join(parts)
            except UnicodeDecodeError as error:
                # It leaves UTF-8 to others. A sequence that may go on is no mistake yet.
                if frame.fin or error.reason != "unexpected end of data":
                    return [*events, 1007]
            else:
                if frame.fin:
                    events.append(("message", whole))
    match protocol.parser_exc:
        case None:
            return events
        case PayloadTooBig():
            return [*events, 1009]
        case ProtocolError(args=("incomplete fragmented message",)):  # which the RFC allows
            return [*events, close_event(protocol)]
        case ProtocolError():
            return [*events, 1002]
        case UnicodeDecodeError():
            return [*events, 1007]
        case other:
            raise AssertionError(other)


def verdict(events):
    """Events with the close code in place of the violation."""
    if events and isinstance(events[-1][0], Cause):
        return [*events[:-1], events[-1][0].close_code]
    return events


@given(st.lists(whole_frames | fragments | long_frames | odd_frames | close_frames, max_size=8).map(b"".join))
def test_another_server_reads_the_same_out_of_the_same_bytes(stream):
    # The oracle looks at most bits when the frame is whole, so there has to be enough behind a wrong length.
    stream += bytes(70_000)
    assert verdict(parse(stream)) == oracle(stream, max_size=1 << 20)


# ---------------------------------------------------------------- mistakes, each at the first byte that shows it


MASKED, RESERVED = "a client's frames must be masked", "a reserved bit is set"
CONTROL = "control frames must be whole and of 125 bytes at most"
INSIDE, ORPHAN = "a message began inside another", "a continuation without a beginning"
MALFORMED = "the close frame is malformed"
WASTEFUL = "a frame's length must take as few bytes as it can"
BEGUN = text("a", fin=False)

MISTAKES = [
    (header(TEXT, 3, masked=False) + b"abc", 2, MASKED),
    (header(PING, 0, masked=False), 2, MASKED),
    (header(BINARY, 300, masked=False) + bytes(300), 2, MASKED),
    *[(client_frame(TEXT, b"abc", rsv=rsv), 2, RESERVED) for rsv in range(1, 8)],
    (client_frame(PING, b"", rsv=4), 2, RESERVED),
    (BEGUN + client_frame(CONTINUATION, b"", rsv=4), len(BEGUN) + 2, RESERVED),
    *[
        (client_frame(opcode, b"abc"), 2, f"opcode {opcode} is reserved")
        for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
    ],
    *[(client_frame(opcode, b"", fin=False), 2, CONTROL) for opcode in (CLOSE, PING, PONG)],
    *[(client_frame(opcode, bytes(126)), 2, CONTROL) for opcode in (CLOSE, PING, PONG)],
    (client_frame(PING, bytes(70_000)), 2, CONTROL),
    (BEGUN + text("b"), len(BEGUN) + 2, INSIDE),
    (BEGUN + client_frame(BINARY, b"b", fin=False), len(BEGUN) + 2, INSIDE),
    (client_frame(CONTINUATION, b"a"), 2, ORPHAN),
    (text("a") + client_frame(CONTINUATION, b"b", fin=False), len(text("a")) + 2, ORPHAN),
    (BEGUN + client_frame(CONTINUATION, b"b") + client_frame(CONTINUATION, b"c"), 2 * len(BEGUN) + 2, ORPHAN),
    (header(BINARY, 1 << 63), 10, "a frame's length has its highest bit set"),
    *[(b"\x82\xfe" + length.to_bytes(2, "big") + MASK, 6, WASTEFUL) for length in (0, 5, 125)],
    *[(b"\x81\xff" + length.to_bytes(8, "big") + MASK, 10, WASTEFUL) for length in (0, 5, 126, 65_535)],
    (BEGUN + b"\x80\xfe\x00\x01" + MASK + b"b", len(BEGUN) + 6, WASTEFUL),
    (client_frame(CLOSE, b"\x03"), 7, MALFORMED),
    *[(close(code), 8, MALFORMED) for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)],
]


@pytest.mark.parametrize(("stream", "at", "reason"), MISTAKES)
def test_a_protocol_error(stream, at, reason):
    chunks = one_by_one(stream)
    assert parse(*chunks)[-1:] == [(Cause.PROTOCOL_ERROR, reason)]
    assert parse(*chunks[:at])[-1:] == [(Cause.PROTOCOL_ERROR, reason)]
    assert not any(isinstance(event[0], Cause) for event in parse(*chunks[: at - 1]))
    assert Cause.PROTOCOL_ERROR.close_code == 1002


def test_a_close_reason_that_is_not_utf8():
    payload = (1000).to_bytes(2, "big") + b"\xff"
    assert parse(client_frame(CLOSE, payload)) == [(Cause.INVALID_DATA, "the close reason is not UTF-8")]


def test_what_follows_a_close_in_the_same_bytes_has_no_meaning():
    assert parse(close(4001, "bye") + text("late") + b"\xff\xff\xff\xff") == [("close", 4001, "bye")]


def test_what_came_before_a_mistake_counts():
    stream = text("one") + client_frame(PING, b"?") + client_frame(3)
    assert parse(stream)[:2] == [("message", "one"), ("ping", b"?")]


# ---------------------------------------------------------------- after our goodbye


@given(
    st.lists(whole_frames, max_size=4).map(b"".join),
    st.lists(whole_frames | fragments | long_frames | compressed_frames, max_size=6).map(b"".join),
    st.data(),
)
def test_after_our_goodbye_only_the_close_is_found(before, behind, data):
    """Wherever the goodbye fell into the stream, however the rest is split, and whatever it holds."""
    log = Log()
    parser = FrameParser(log, 1 << 20, 4096)
    stream = before + behind + close(4001, "bye")
    goodbye = data.draw(st.integers(0, len(before)))
    try:
        parser.feed(stream[:goodbye])
    except Violation:
        return  # such a peer is not listened to any more
    log.events.clear()
    cuts = sorted(data.draw(st.lists(st.integers(goodbye, len(stream)), max_size=12)))
    for start, end in zip([goodbye, *cuts], [*cuts, len(stream)], strict=True):
        assert log.events == [] or start == len(stream)
        parser.seek_close(stream[start:end])
    assert log.events == [("close", 4001, "bye")]


def test_after_our_goodbye_nothing_is_kept():
    log = Log()
    parser = FrameParser(log, 1000, 4096)

    def skip():
        parser.seek_close(header(BINARY, 100_000_000) + bytes(4))
        for _ in range(1000):
            parser.seek_close(bytes(100_000))

    assert peak_memory(skip) < 400_000
    parser.seek_close(close(1000))
    assert log.events == [("close", 1000, "")]


def test_a_malformed_close_after_our_goodbye():
    parser = FrameParser(Log(), 1000, 4096)
    with pytest.raises(Violation, match="malformed"):
        parser.seek_close(client_frame(CLOSE, b"\x03"))


# ---------------------------------------------------------------- fragments and UTF-8


TEXTS = "κόσμε é ߿ ࠀ ퟿  𐀀 􏿿 \x00 x"


@pytest.mark.parametrize("at", range(len(TEXTS.encode()) + 1))
def test_text_in_two_fragments_split_at_every_byte(at):
    data = TEXTS.encode()
    stream = text(data[:at], fin=False) + client_frame(PING, b"!") + client_frame(CONTINUATION, data[at:])
    assert parse(stream) == [("ping", b"!"), ("message", TEXTS)]
    assert parse(*one_by_one(stream)) == [("ping", b"!"), ("message", TEXTS)]


BAD = [
    b"\x80", b"\xbf", b"\xc0\xaf", b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xf0\x8f\xbf\xbf",
    b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xfe", b"\xff", b"\xc3(", b"\xe2(\xa1", b"\xf0\x90(\xbc",
]  # fmt: skip
NOT_UTF8 = (Cause.INVALID_DATA, "the text is not UTF-8")


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("before", [b"", "é".encode()])
def test_bad_utf8_at_every_place(bad, before):
    data = before + bad + b"abc"
    assert parse(text(data)) == [NOT_UTF8]
    for at in range(len(data) + 1):
        stream = text(data[:at], fin=False) + client_frame(CONTINUATION, data[at:], fin=False)
        assert parse(stream) == [NOT_UTF8]  # before the last fragment has come
    byte_by_byte = [client_frame(CONTINUATION, data[i : i + 1], fin=False) for i in range(len(data))]
    assert parse(text(b"", fin=False), *byte_by_byte) == [NOT_UTF8]
    assert Cause.INVALID_DATA.close_code == 1007


@pytest.mark.parametrize("sequence", ["é", "€", "𐀀"])
def test_text_that_ends_inside_a_character(sequence):
    data = sequence.encode()[:-1]
    assert parse(text(data)) == [NOT_UTF8]
    assert parse(text(data, fin=False)) == []
    assert parse(text(data, fin=False) + client_frame(CONTINUATION)) == [NOT_UTF8]


def test_binary_need_not_be_utf8():
    data = b"".join(BAD)
    assert messages(client_frame(BINARY, data)) == [data]
    assert messages(client_frame(BINARY, data, fin=False) + client_frame(CONTINUATION, data)) == [data + data]


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=5))
def test_fragmented_text_is_judged_as_whole_text_is(data, cuts):
    cuts = sorted(min(cut, len(data)) for cut in cuts)
    parts = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    pieces = [client_frame(CONTINUATION if i else TEXT, part, fin=False) for i, part in enumerate(parts)]
    assert parse(*pieces, client_frame(CONTINUATION)) == parse(text(data))


def test_empty_messages_and_fragments():
    pieces = text(b"", fin=False) + client_frame(CONTINUATION, b"", fin=False) + client_frame(CONTINUATION, b"")
    assert messages(text("") + client_frame(BINARY) + pieces) == ["", b"", ""]


# ---------------------------------------------------------------- limits


def too_big(limit):
    return (Cause.MESSAGE_TOO_BIG, f"a message may have {limit} bytes")


@pytest.mark.parametrize("limit", [1, 50, 125, 126, 1000, 65535, 65536, 100_000])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_message_may_have_exactly_so_many_bytes(limit, opcode):
    assert len(messages(client_frame(opcode, b"x" * limit), max_size=limit)) == 1
    assert parse(client_frame(opcode, b"x" * (limit + 1)), max_size=limit) == [too_big(limit)]
    assert Cause.MESSAGE_TOO_BIG.close_code == 1009


def test_a_large_message_is_refused_by_its_header():
    assert parse(header(BINARY, 1001), max_size=1000) == []
    assert parse(header(BINARY, 1001) + b"\0\0", max_size=1000) == [too_big(1000)]
    assert parse(header(TEXT, 1 << 62), max_size=1000) == [too_big(1000)]
    assert parse(header(TEXT, 100) + bytes(4), max_size=99) == [too_big(99)]


def test_fragments_count_together():
    first = text("x" * 600, fin=False)
    assert messages(first + client_frame(CONTINUATION, b"x" * 400), max_size=1000) == ["x" * 1000]
    assert parse(first + header(CONTINUATION, 401) + bytes(2), max_size=1000) == [too_big(1000)]
    short = first + client_frame(CONTINUATION, b"x" * 390, fin=False)
    assert parse(short + client_frame(CONTINUATION, b"x" * 11), max_size=1000) == [too_big(1000)]
    # and anew for the next message
    assert len(messages((first + client_frame(CONTINUATION, b"x" * 400)) * 3, max_size=1000)) == 3


def test_control_frames_do_not_count_towards_the_message_that_they_interrupt():
    ping = client_frame(PING, b"p" * 125)
    stream = text("x" * 1000, fin=False) + ping + client_frame(CONTINUATION)
    assert parse(stream, max_size=1000) == [("ping", b"p" * 125), ("message", "x" * 1000)]
    assert parse(*one_by_one(stream), max_size=1000) == [("ping", b"p" * 125), ("message", "x" * 1000)]


def test_the_number_of_fragments_is_limited():
    def fragmented(count):
        return [client_frame(CONTINUATION if i else TEXT, b"", fin=i == count - 1) for i in range(count)]

    assert messages(*fragmented(4) * 2, max_fragments=4) == ["", ""]
    too_many = (Cause.MESSAGE_TOO_BIG, "a message may have 4 fragments")
    assert parse(*fragmented(5), max_fragments=4) == [too_many]
    assert parse(*fragmented(4)[:-1], text("")[:1], max_fragments=4) == []
    assert parse(b"".join(fragmented(6)), max_fragments=4) == [too_many]


def test_an_endless_message_needs_little_memory():
    """A header that promises a lot reserves nothing, and fragments are kept up to the limit."""
    log = Log()
    parser = FrameParser(log, 1 << 30, 4096)
    tracemalloc.start()
    try:
        parser.feed(header(BINARY, 1 << 29))
        for _ in range(100):
            parser.feed(bytes(1000))
        assert tracemalloc.get_traced_memory()[1] < 400_000
    finally:
        tracemalloc.stop()


# ---------------------------------------------------------------- compression


def compressing_client():
    protocol = client()
    protocol.extensions = [PerMessageDeflate(True, True, 15, 15)]
    return protocol


@given(calls, st.integers(1, 50))
def test_what_a_compressing_client_writes_is_what_comes_out(given_calls, size):
    protocol = compressing_client()
    expected = [write(protocol, *call) for call in given_calls]
    data = sent(protocol)
    assert parse(*[data[at : at + size] for at in range(0, len(data), size)], deflate=True) == expected


def test_compressed_and_plain_messages_mix():
    stream = client_frame(TEXT, deflated(b"packed"), rsv=4) + text("plain") + client_frame(BINARY, b"\xff")
    stream += client_frame(BINARY, deflated(b"\xff"), rsv=4)
    assert messages(stream, deflate=True) == ["packed", "plain", b"\xff", b"\xff"]


def test_a_compressed_message_in_fragments():
    data = deflated(TEXTS.encode() * 10)
    for at in range(len(data)):
        stream = client_frame(TEXT, data[:at], rsv=4, fin=False) + client_frame(CONTINUATION, data[at:])
        assert messages(stream, deflate=True) == [TEXTS * 10]


@pytest.mark.parametrize("opcode", [CONTINUATION, PING])
def test_only_the_first_frame_of_a_message_is_marked_as_compressed(opcode):
    begun = client_frame(TEXT, deflated(b"a"), rsv=4, fin=False)
    assert parse(begun + client_frame(opcode, b"", rsv=4), deflate=True) == [(Cause.PROTOCOL_ERROR, RESERVED)]


def test_without_compression_negotiated_its_bit_is_a_mistake():
    assert parse(client_frame(TEXT, deflated(b"a"), rsv=4)) == [(Cause.PROTOCOL_ERROR, RESERVED)]


@pytest.mark.parametrize("data", [b"\xff" * 10, b"\x06\xff\xff", deflated(b"abc" * 50)[::-1]])
def test_malformed_compression(data):
    malformed = (Cause.INVALID_DATA, "the compressed data is malformed")
    assert parse(client_frame(BINARY, data, rsv=4), deflate=True) == [malformed]


def test_a_compressed_text_that_is_not_utf8():
    assert parse(client_frame(TEXT, deflated(b"\xff"), rsv=4), deflate=True) == [NOT_UTF8]


@pytest.mark.parametrize("level", [0, 1, 9])
def test_a_compressed_message_may_have_exactly_so_many_bytes(level):
    """Also one that cannot be compressed, so that the wire has more."""
    noise = zlib.compress(bytes(range(256)) * 4000, 9)
    noise = (noise * (65536 // len(noise) + 1))[:65536]
    assert messages(client_frame(BINARY, deflated(noise, level), rsv=4), max_size=65536, deflate=True) == [noise]
    assert parse(client_frame(BINARY, deflated(noise, level), rsv=4), max_size=65535, deflate=True) == [too_big(65535)]


LIMIT = 65536


def test_a_deflate_bomb_is_not_inflated():
    bomb = client_frame(TEXT, deflated(bytes(50_000_000)), rsv=4)
    assert len(bomb) < 50_000
    events = []
    assert peak_memory(lambda: events.extend(parse(bomb, max_size=LIMIT, deflate=True))) < 6 * LIMIT
    assert events == [too_big(LIMIT)]


def test_a_deflate_bomb_in_fragments_is_not_inflated():
    data = deflated(bytes(50_000_000))
    pieces = [data[at : at + 100] for at in range(0, len(data), 100)]
    stream = [client_frame(CONTINUATION, piece, fin=False) for piece in pieces[1:]]
    stream.insert(0, client_frame(BINARY, pieces[0], rsv=4, fin=False))
    events = []
    assert peak_memory(lambda: events.extend(parse(*stream, max_size=LIMIT, deflate=True))) < 6 * LIMIT
    assert events == [too_big(LIMIT)]


def finished(payload):
    """Compressed up to a final block (BFINAL), which ends at a byte."""
    deflater = zlib.compressobj(wbits=-15)
    return deflater.compress(payload) + deflater.flush()


@pytest.mark.parametrize("ends", [finished(b"two") + b"\0", deflated(b"two")])
def test_blocks_behind_a_final_block_count(ends):
    """RFC 7692, 7.2.1: any number of blocks, of any type, with or without BFINAL."""
    data = finished(b"one") + finished(b"") + ends
    assert messages(client_frame(TEXT, data, rsv=4), deflate=True) == ["onetwo"]
    for at in range(len(data) + 1):
        stream = client_frame(TEXT, data[:at], rsv=4, fin=False) + client_frame(CONTINUATION, data[at:])
        assert messages(stream + text("next"), deflate=True) == ["onetwo", "next"]


def test_nonsense_behind_a_final_block_is_malformed():
    malformed = (Cause.INVALID_DATA, "the compressed data is malformed")
    assert parse(client_frame(TEXT, finished(b"one") + b"\xff" * 9, rsv=4), deflate=True) == [malformed]


def test_the_size_holds_over_final_blocks():
    data = finished(bytes(LIMIT)) + finished(b"a")
    assert parse(client_frame(BINARY, data, rsv=4), max_size=LIMIT, deflate=True) == [too_big(LIMIT)]


def test_final_blocks_are_bounded():
    """Each makes zlib begin anew, which costs as much as some hundred bytes of text."""
    many = finished(b"") * 64
    assert messages(client_frame(BINARY, many, rsv=4) * 2, deflate=True) == [b"", b""]
    too_many = (Cause.MESSAGE_TOO_BIG, "a message may have 64 final blocks")
    assert parse(client_frame(BINARY, many + finished(b""), rsv=4), deflate=True) == [too_many]


def test_a_full_inbox_stops_compressed_messages_between_two_of_them():
    """Some bytes from the wire may be a thousand times as many in the inbox."""
    log = Log(room=2)
    parser = FrameParser(log, LIMIT, 4096, deflate=True)
    stream = b"".join(client_frame(TEXT, deflated(b"%d" % i * 500), rsv=4) for i in range(7))
    parser.feed(stream + text("plain")[:-1])
    assert len(log.events) == 2
    parser.feed(text("plain")[-1:])
    assert len(log.events) == 3  # one more whenever it is fed, full or not: the transport does not read then
    log.room = 3
    parser.feed(b"")
    assert len(log.events) == 6
    log.room = 100
    parser.feed(b"")
    assert [event[1][0] for event in log.events] == [*"0123456", "p"]
    parser.feed(b"")
    assert len(log.events) == 8


# ---------------------------------------------------------------- our frames


@given(st.lists(st.text(max_size=300).map(text_frame) | st.binary(max_size=300).map(binary_frame), max_size=6))
def test_the_library_s_client_reads_our_messages(given_frames):
    for protocol, compressed in ((client(), False), (compressing_client(), True)):
        protocol.receive_data(b"".join((frame.deflated if compressed else frame).wire for frame in given_frames))
        events: list[Any] = protocol.events_received()
        received = [(bytes(frame.data), frame.opcode == TEXT) for frame in events]
        assert received == [(frame.payload, frame.text) for frame in given_frames]
        assert protocol.parser_exc is None


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_the_library_s_client_reads_our_sizes(size):
    protocol = Protocol(Side.CLIENT, state=OPEN, max_size=None)
    protocol.receive_data(Frame(bytes(size), text=False).wire)
    frame: Any
    [frame] = protocol.events_received()
    assert len(frame.data) == size


@pytest.mark.parametrize("size", [0, 1, 125])
def test_control_frames(size):
    protocol = client()
    protocol.receive_data(control_frame(PING, b"x" * size))
    frame: Any
    [frame] = protocol.events_received()
    assert (frame.opcode, bytes(frame.data)) == (PING, b"x" * size)


@given(st.sampled_from([1000, 1002, 1007, 1009, 1013, 4999]), st.text(max_size=200))
def test_close_frames_carry_code_and_reason_as_far_as_it_fits(code, reason):
    protocol = client()
    protocol.receive_data(close_frame(code, reason))
    received = protocol.close_rcvd
    assert received is not None
    assert received.code == code
    assert reason.startswith(received.reason)
    assert received.reason == reason or len(reason.encode()) > 123


@pytest.mark.parametrize("code", [1005, 1006, 1015])
def test_codes_that_are_never_sent_give_an_empty_close_frame(code):
    assert take_frames(close_frame(code, "lost")) == [ServerFrame(CLOSE, b"")]


@given(
    st.lists(
        st.binary(max_size=300).map(binary_frame) | st.sampled_from([control_frame(PING), close_frame(1000)]),
        min_size=1,
        max_size=6,
    ),
    st.data(),
)
def test_messages_behind_an_unsent_rest_are_counted(given_frames, data):
    wires = [frame if isinstance(frame, bytes) else frame.wire for frame in given_frames]
    joined = b"".join(wires)
    at = data.draw(st.integers(0, len(joined)))
    ends = [len(b"".join(wires[: i + 1])) for i in range(len(wires))]
    expected = sum(isinstance(frame, Frame) and end > at for frame, end in zip(given_frames, ends, strict=True))
    assert messages_behind(memoryview(joined)[at:]) == expected


def test_large_messages_behind_an_unsent_rest_are_counted():
    joined = binary_frame(bytes(70_000)).wire + binary_frame(bytes(200)).wire
    assert messages_behind(memoryview(joined)[1:]) == 2
    assert messages_behind(memoryview(joined)[70_010:]) == 1
    assert messages_behind(memoryview(b"HTTP/1.1 403 Forbidden\r\n\r\n")[5:]) == 0
