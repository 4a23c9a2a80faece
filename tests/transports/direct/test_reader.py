"""What comes in: messages, pings and pongs, within the bounds of the inbox."""

import pytest

from nexios_trio.core.lifecycle import Cause, End
from nexios_trio.core.message import text_frame
from nexios_trio.transports.direct.reader import MAX_PONGS_PER_READ, Reader
from nexios_trio.transports.direct.socket import RECEIVE_BYTES
from nexios_trio.transports.epoll import READ
from tests.rawframes import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    ServerFrame,
    client_frame,
    close,
    deflated,
    text,
)
from tests.transports.direct.support import end_of, stall, texts
from tests.transports.support import direct, settle

pytestmark = pytest.mark.usefixtures("plain_and_tls")

# ---------------- pings and pongs


async def test_pings_are_answered_at_once_and_each():
    async with direct() as (transport, peer):
        await peer.send(b"".join(client_frame(PING, b"%d" % number) for number in range(5)))
        assert await peer.frames(5) == [ServerFrame(PONG, b"%d" % number) for number in range(5)]
        assert transport.is_open


async def test_of_a_flood_of_pings_the_last_ones_are_answered_together():
    async with direct() as (transport, peer):
        count = RECEIVE_BYTES // 9  # as many as one read takes
        await peer.send(b"".join(client_frame(PING, b"%03d" % (number % 1000)) for number in range(count)))
        await settle()
        payloads = [b"%03d" % (number % 1000) for number in range(count - MAX_PONGS_PER_READ, count)]
        assert await peer.frames(MAX_PONGS_PER_READ) == [ServerFrame(PONG, payload) for payload in payloads]
        await peer.send(client_frame(PING, b"and on"))
        assert await peer.frames(1) == [ServerFrame(PONG, b"and on")]
        assert transport.is_open


async def test_a_ping_before_a_close_is_answered():
    async with direct() as (_, peer):
        await peer.send(client_frame(PING, b"1") + client_frame(CLOSE, b"\x03\xe8"))
        assert [frame.opcode for frame in await peer.frames(2)] == [PONG, CLOSE]


class EchoSink:
    """Answers each message in the turn that it comes in."""

    turn_calls = 0

    def __init__(self, transport):
        self.transport = transport

    def put(self, item):
        self.transport.offer(text_frame(item))


async def test_pings_before_a_message_are_answered_before_what_is_said_to_the_message_in_its_turn():
    async with direct() as (transport, peer):
        transport.divert(EchoSink(transport))
        ping = client_frame(PING, b"!")
        fragments = client_frame(TEXT, b"o", fin=False) + ping + client_frame(0, b"k")
        await peer.send(text("a") + ping + ping + text("b") + text("c") + fragments + ping)
        pong = ServerFrame(PONG, b"!")
        a, b, c, ok = [ServerFrame(TEXT, payload) for payload in (b"a", b"b", b"c", b"ok")]
        assert await peer.frames(8) == [a, pong, pong, b, c, pong, ok, pong]
        transport.divert(None)
        await peer.send(ping + text("d"))
        assert await peer.frames(1) == [pong]
        assert await transport.inbox.get() == "d"


async def test_a_pong_goes_between_two_frames_ahead_of_what_is_queued():
    async with direct(small=True) as (transport, peer):
        count = stall(transport)
        for number in range(5):
            transport.offer(text_frame(f"queued {number}"))
        await peer.send(client_frame(PING, b"first") + client_frame(PING, b"second"))
        await settle()
        frames = await peer.frames(count + 6)
        assert frames[count] == ServerFrame(PONG, b"second")  # behind the torn frame; the last ping's suffices
        assert texts(frames)[count:] == [f"queued {number}" for number in range(5)]


async def test_an_unasked_pong_is_ignored():
    async with direct() as (transport, peer):
        await peer.send(client_frame(PONG, b"hello") + client_frame(PONG))
        await settle()
        assert transport.is_open
        assert transport.latency is None
        assert transport.pong_at is not None  # it is a sign of life all the same


# ---------------- reading


async def test_a_long_message_that_is_there_takes_one_turn(monkeypatch):
    turns = []

    def ready(transport, events):
        turns.append(events)
        original(transport, events)

    original = Reader.ready
    monkeypatch.setattr(Reader, "ready", ready)
    async with direct() as (transport, peer):
        assert peer.send_nowait(client_frame(BINARY, bytes(16_000))) == 16_008
        assert await transport.inbox.get() == bytes(16_000)
    assert turns == [READ]


async def test_a_full_inbox_stops_reading_and_room_resumes_it():
    async with direct(inbox_messages=5) as (transport, peer):
        count = 160
        flood = b"".join(text(f"{number} {'y' * 60_000}") for number in range(count))
        sent = 0
        while now := peer.send_nowait(flood[sent:]):  # until every buffer is full
            sent += now
            await settle()
        assert sent < len(flood)
        assert 5 <= len(transport.inbox) <= 7
        received = []
        while len(received) < count:
            received.append(int(str(await transport.inbox.get()).partition(" ")[0]))
            sent += peer.send_nowait(flood[sent:])
        assert received == list(range(count))


async def test_messages_that_came_before_the_peer_left_are_read_first():
    async with direct(inbox_messages=2) as (transport, peer):
        for number in range(10):
            await peer.send(text(f"{number}"))
            await settle()
        peer.hang_up()
        await settle()
        assert transport.ends == []  # there is more to read
        assert [await transport.inbox.get() for _ in range(10)] == [str(number) for number in range(10)]
        assert await transport.inbox.get() == End.of(Cause.PEER_LOST)


async def test_a_close_behind_a_full_inbox_is_heard_when_there_is_room():
    async with direct(inbox_messages=2) as (transport, peer):
        for data in (text("a"), text("b"), text("c"), close(4001)):
            await peer.send(data)
            await settle()
        assert transport.is_open
        assert [await transport.inbox.get() for _ in range(3)] == ["a", "b", "c"]
        assert await transport.inbox.get() == End(4001, "", Cause.PEER_CLOSED)


async def test_a_reset_is_noticed_though_the_inbox_is_full():
    async with direct(inbox_messages=1) as (transport, peer):
        for _ in range(3):
            await peer.send(text("x"))
            await settle()
        peer.reset()
        await settle()
        assert end_of(transport) == End.of(Cause.PEER_LOST)


async def test_an_end_of_ours_does_not_wait_for_a_full_inbox():
    async with direct(inbox_messages=1) as (transport, peer):
        for _ in range(3):
            await peer.send(text("x"))
            await settle()
        await transport.close(End.of(Cause.LOCAL_CLOSE))
        await peer.send(close())
        assert await peer.end() == "eof"


async def test_few_compressed_bytes_do_not_become_many_messages():
    async with direct(deflate=True, inbox_messages=4) as (transport, peer):
        bomb = client_frame(TEXT, deflated(b"0" * 65536), rsv=4)
        await peer.send(bomb * 300 + close(4001))
        await settle()
        assert len(transport.inbox) == 4
        for _ in range(300):
            assert len(str(await transport.inbox.get())) == 65536
            assert len(transport.inbox) <= 4
        assert await transport.inbox.get() == End(4001, "", Cause.PEER_CLOSED)
        assert (await peer.rest())[0][-1].code == 4001
