"""Where TLS makes a difference to a direct transport."""

import gc
import sys
import weakref
from itertools import pairwise

import pytest
import trio

from nexios_trio.core.lifecycle import Cause, End
from nexios_trio.core.message import text_frame
from nexios_trio.transports.direct.reader import Reader
from nexios_trio.transports.direct.socket import RECEIVE_BYTES
from nexios_trio.transports.direct.states import State
from tests.rawframes import TEXT, client_frame, text
from tests.transports.direct.support import BIG, PLAIN, batch, end_of, stall, texts
from tests.transports.support import direct, settle


async def test_many_frames_in_one_record_all_arrive():
    """Of what OpenSSL has decrypted no epoll tells."""
    async with direct(tls=True, inbox_messages=10_000) as (transport, peer):
        await peer.send(b"".join(text(f"{number}") for number in range(1500)))
        for number in range(1500):
            assert await transport.inbox.get() == f"{number}"


async def test_a_record_of_many_frames_takes_many_turns(monkeypatch):
    """Others have theirs in between."""
    turns = []

    def ready(transport, events):
        turns.append(transport.inbox.received)
        original(transport, events)

    original = Reader.ready
    monkeypatch.setattr(Reader, "ready", ready)
    async with direct(tls=True, inbox_messages=10_000) as (transport, peer):
        await peer.send(b"".join(text("") for _ in range(2700)))
        for _ in range(2700):
            assert await transport.inbox.get() == ""
        assert max(later - before for before, later in pairwise(turns)) == RECEIVE_BYTES / len(text(""))


async def test_a_full_inbox_leaves_what_is_decrypted_where_it_is():
    async with direct(tls=True, inbox_messages=5) as (transport, peer):
        await peer.send(b"".join(text(f"{number} {'y' * 1000}") for number in range(15)))
        await settle()
        assert len(transport.inbox) < 15
        for number in range(15):
            assert (await transport.inbox.get()).startswith(f"{number} ")
            await settle()


async def test_frames_behind_the_handshake_in_the_same_record():
    async with direct(tls=True, accepted=False) as (transport, peer):
        await peer.send(b"".join(text(f"{number} {'y' * 100}") for number in range(100)))
        await settle()
        await transport.accept(None, [])
        for number in range(100):
            assert (await transport.inbox.get()).startswith(f"{number} ")


async def test_a_batch_is_torn_between_two_records_and_nothing_is_lost():
    async with direct(tls=True, small=True, outbox_messages=100) as (transport, peer):
        messages = [f"{number} {BIG}" for number in range(30)]
        transport.offer_batch(PLAIN, batch(*messages))
        transport.offer(text_frame("behind"))
        assert transport.state is State.BACKLOG
        frames = await peer.frames(31)
        assert texts(frames) == [*messages, "behind"]


async def test_a_batch_goes_out_as_one_record():
    async with direct(tls=True) as (transport, peer):
        transport.offer_batch(PLAIN, batch("one", "two", "three"))
        assert len(peer.take_raw()) == 5 + 2 * 3 + 11 + 17
        assert transport.counts.lost == 0


@pytest.mark.parametrize("side", ["ours", "theirs"])
async def test_a_close_ends_tls_too(side, nursery):
    async with direct(tls=True) as (transport, peer):
        if side == "ours":
            nursery.start_soon(transport.close, End.of(Cause.LOCAL_CLOSE))
            await peer.frame()
        await peer.send(client_frame(8, b"\x03\xe8"))
        assert await peer.end() == "eof"
        assert peer.has_closed_tls


async def test_a_refusal_ends_tls_too():
    async with direct(tls=True, accepted=False) as (transport, peer):
        await transport.deny(403, [], b"no")
        assert (await peer.head()).startswith(b"HTTP/1.1 403")
        assert await peer.end() == "eof"
        assert peer.has_closed_tls


async def test_whoever_is_killed_sees_no_end_of_tls():
    async with direct(tls=True) as (transport, peer):
        transport.kill(End.of(Cause.ABORTED))
        assert await peer.end() == "reset"
        assert not peer.has_closed_tls


async def test_a_peer_that_ends_tls_without_a_close_frame_is_lost():
    async with direct(tls=True) as (transport, peer):
        peer.close_tls()
        assert await peer.end() == "eof"
        assert end_of(transport).cause is Cause.PEER_LOST
        assert peer.has_closed_tls


async def test_noise_in_place_of_a_record_is_an_end():
    async with direct(tls=True) as (transport, peer):
        peer.raw.send(b"\x17\x03\x03\x00\x20" + bytes(32))
        await peer.end()
        assert end_of(transport).cause is Cause.PEER_LOST
        assert peer.alert == "SSLV3_ALERT_BAD_RECORD_MAC"


async def test_a_connection_that_is_over_is_freed_without_the_collector():
    gc.disable()
    try:
        async with direct(tls=True) as (transport, peer):
            await peer.send(text("hello"))
            assert await transport.inbox.get() == "hello"
            stall(transport)
            sock, openssl = weakref.ref(transport._sock), transport._sock._sslobj
            peer.reset()
            await settle()
        del transport, peer
        assert sock() is None
        assert sys.getrefcount(openssl) == 2  # this test's own, and the call's
    finally:
        gc.enable()


async def test_texts_and_pings_share_the_way(autojump_clock):
    async with direct(tls=True, ping_interval=1.0, ping_timeout=60.0) as (transport, peer):
        for number in range(10):
            transport.offer(text_frame(f"{number}"))
            await trio.sleep(1)
        frames = await peer.frames(15)
        assert [frame.payload for frame in frames if frame.opcode == TEXT][:5] == [b"0", b"1", b"2", b"3", b"4"]
        assert [frame for frame in frames if frame.opcode == 9]
