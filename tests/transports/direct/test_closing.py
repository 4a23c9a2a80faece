"""How a connection ends, and what the peer sees of it."""

import pytest
import trio
from trio.testing import assert_checkpoints, assert_no_checkpoints

from nexios_trio.core.lifecycle import Cause, End, Phase
from nexios_trio.core.message import text_frame
from nexios_trio.exceptions import WebSocketDisconnect
from tests.rawframes import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    TEXT,
    ServerFrame,
    client_frame,
    close,
    header,
    text,
)
from tests.transports.direct.support import BIG, end_of, later, stall, texts
from tests.transports.support import direct, settle

pytestmark = pytest.mark.usefixtures("plain_and_tls")

# ---------------- goodbyes


async def test_we_close_and_the_peer_answers(clock):
    async with direct() as (transport, peer):
        transport.offer(text_frame("last"))
        with assert_checkpoints():
            await transport.close(End(4000, "done here", Cause.LOCAL_CLOSE))
        assert not transport.is_open
        assert await peer.frames(2) == [ServerFrame(TEXT, b"last"), ServerFrame(CLOSE, b"\x0f\xa0done here")]
        await peer.send(text("crossing") + close(4000))
        assert await peer.end() == "eof"  # the server hangs up first
        assert transport.lifecycle.phase is Phase.CLOSED
        assert end_of(transport) == End(4000, "done here", Cause.LOCAL_CLOSE)
        assert await transport.inbox.get() == end_of(transport)
        with assert_checkpoints():
            await transport.close(End.of(Cause.LOCAL_CLOSE))  # a no-op
    assert trio.current_time() == clock.current_time()


@pytest.mark.parametrize("code", [1000, 1001, 1011, 3000, 4999])
async def test_the_peer_closes_and_we_answer(code):
    async with direct() as (transport, peer):
        await peer.send(text("last words") + close(code, "tschüß") + text("nobody hears this"))
        frames, what = await peer.rest()
        assert ([(frame.code, frame.reason) for frame in frames], what) == ([(code, "tschüß")], "eof")
        assert end_of(transport) == End(code, "tschüß", Cause.PEER_CLOSED)
        assert [await transport.inbox.get() for _ in range(2)] == ["last words", end_of(transport)]


async def test_the_peer_closes_without_a_code():
    async with direct() as (transport, peer):
        await peer.send(client_frame(CLOSE))
        assert await peer.rest() == ([ServerFrame(CLOSE, b"")], "eof")
        assert end_of(transport) == End(1005, "", Cause.PEER_CLOSED)


async def test_both_close_at_once():
    async with direct() as (transport, peer):
        peer.send_nowait(close(4001))
        await transport.close(End(4000, "", Cause.LOCAL_CLOSE))  # the poller has had no turn yet
        frames, what = await peer.rest()
        assert ([frame.code for frame in frames], what) == ([4000], "eof")
        assert end_of(transport).code == 4000


async def test_close_goes_out_behind_what_is_queued(nursery):
    async with direct(small=True) as (transport, peer):
        count = stall(transport)
        for number in range(50):
            transport.offer(text_frame(f"{number} {BIG}"))
        is_closed = trio.Event()

        async def close_it():
            await transport.close(End(1000, "bye", Cause.LOCAL_CLOSE))
            is_closed.set()

        nursery.start_soon(close_it)
        await settle()
        assert not is_closed.is_set()
        transport.offer(text_frame("too late"))
        frames = await peer.frames(count + 51)
        assert len(texts(frames)) == count + 50
        assert (frames[-1].code, frames[-1].reason) == (1000, "bye")
        await is_closed.wait()
        assert transport.counts.lost == 1


async def test_a_sender_that_waits_when_the_connection_is_closed_is_told(nursery):
    async with direct(small=True, outbox_messages=1) as (transport, _):
        stall(transport)
        transport.offer(text_frame("queued"))

        async def send():
            with pytest.raises(WebSocketDisconnect) as caught:
                await transport.send(text_frame("waiting"))
            assert caught.value.code == 4000
            told.set()

        told = trio.Event()
        nursery.start_soon(send)
        await settle()
        transport.evict(End(4000, "", Cause.LOCAL_CLOSE))
        await told.wait()


async def test_cancelling_close_does_not_take_the_goodbye_back(nursery):
    async with direct(small=True) as (transport, peer):
        count = stall(transport)
        transport.offer(text_frame("queued"))
        with trio.CancelScope() as scope:
            scope.cancel()
            await transport.close(End(1001, "", Cause.CANCELLED))
        assert scope.cancelled_caught
        frames = await peer.frames(count + 2)
        assert frames[-1].code == 1001


async def test_the_peer_closes_while_much_is_queued():
    """It will not read that any more; our answer follows the torn frame."""
    async with direct(small=True) as (transport, peer):
        count = stall(transport)
        for _ in range(10):
            transport.offer(text_frame("queued"))
        await peer.send(close(1001))
        await settle()
        frames, what = await peer.rest()
        assert (len(texts(frames)), frames[-1].code, what) == (count, 1001, "eof")
        assert transport.counts.lost == 10


async def test_the_peer_answers_our_close_before_it_has_read_everything(nursery):
    async with direct(small=True) as (transport, peer):
        count = stall(transport)
        nursery.start_soon(transport.close, End(1000, "", Cause.LOCAL_CLOSE))
        await settle()
        await peer.send(close(1000))
        frames, what = await peer.rest()
        assert (len(texts(frames)), frames[-1].code, what) == (count, 1000, "eof")


async def test_evict_says_goodbye_in_place_of_what_is_queued():
    async with direct(small=True) as (transport, peer):
        count = stall(transport)
        for _ in range(10):
            transport.offer(text_frame("queued"))
        await peer.send(text("unread"))
        await settle()
        with assert_no_checkpoints():
            transport.evict(End(1001, "expired", Cause.EXPIRED))
        assert len(transport.inbox) == 0
        assert transport.counts.lost == 10
        frames = await peer.frames(count + 1)
        assert (frames[-1].code, frames[-1].reason) == (1001, "expired")
        transport.evict(End.of(Cause.OVERFLOW))  # the first end stays
        assert end_of(transport).cause is Cause.EXPIRED


async def test_kill_resets_at_once():
    async with direct() as (transport, peer):
        await peer.send(text("unread"))
        await settle()
        with assert_no_checkpoints():
            transport.kill(End.of(Cause.ABORTED))
        assert transport.lifecycle.phase is Phase.CLOSED
        assert await transport.inbox.get() == End.of(Cause.ABORTED)
        assert await peer.end() == "reset"


async def test_a_mistake_of_ours_ends_that_connection(caplog):
    async with direct() as (transport, peer):

        def fail(message):
            raise ValueError(message)

        transport.on_message = fail
        await peer.send(text("x"))
        assert await peer.end() == "reset"
        assert end_of(transport).cause is Cause.ABORTED
    assert [record.exc_info[0] for record in caplog.records] == [ValueError]


# ---------------- mistakes of the peer


VIOLATIONS = [
    (client_frame(3), 1002, Cause.PROTOCOL_ERROR),
    (header(TEXT, 3, masked=False) + b"abc", 1002, Cause.PROTOCOL_ERROR),
    (text("a", rsv=4), 1002, Cause.PROTOCOL_ERROR),
    (client_frame(CONTINUATION, b"a"), 1002, Cause.PROTOCOL_ERROR),
    (client_frame(PING, bytes(126)), 1002, Cause.PROTOCOL_ERROR),
    (client_frame(CLOSE, b"\x03\xe7"), 1002, Cause.PROTOCOL_ERROR),
    (text(b"\xff"), 1007, Cause.INVALID_DATA),
    (text(b"\xc3", fin=False) + client_frame(CONTINUATION, b"("), 1007, Cause.INVALID_DATA),
    (client_frame(CLOSE, b"\x03\xe8\xff"), 1007, Cause.INVALID_DATA),
    (client_frame(BINARY, bytes(65537)), 1009, Cause.MESSAGE_TOO_BIG),
    (header(BINARY, 1 << 40) + bytes(4), 1009, Cause.MESSAGE_TOO_BIG),
]


@pytest.mark.parametrize(("data", "code", "cause"), VIOLATIONS)
async def test_a_violation_is_answered_with_its_code_before_the_end(data, code, cause):
    async with direct() as (transport, peer):
        await peer.send(text("before") + data)
        frames, what = await peer.rest()
        assert ([frame.code for frame in frames], what) == ([code], "eof")
        assert frames[0].reason
        assert end_of(transport) == End(code, frames[0].reason, cause)
        assert [await transport.inbox.get() for _ in range(2)] == ["before", end_of(transport)]


async def test_a_violator_that_goes_on_sending_still_sees_the_code(nursery):
    async with direct() as (transport, peer):
        await peer.send(header(BINARY, 10**9) + bytes(4))
        await peer.send(bytes(3_000_000))
        frames, what = await peer.rest()
        assert ([frame.code for frame in frames], what) == ([1009], "eof")
        await peer.send(client_frame(PING))  # which is not heard
        peer.hang_up()
        await settle()
        assert transport._sock.fileno() == -1


async def test_a_violator_that_does_not_hang_up_is_let_go(clock, nursery):
    async with direct(close_timeout=5.0) as (transport, peer):
        await peer.send(client_frame(3))
        await settle()
        nursery.start_soon(transport.leave)
        await later(clock, 5.1)
        assert transport._sock.fileno() == -1


async def test_a_violator_with_a_backlog_gets_the_code_behind_it():
    async with direct(small=True) as (transport, peer):
        count = stall(transport)
        await peer.send(text(b"\xff"))
        await settle()
        frames, what = await peer.rest()
        assert (len(texts(frames)), frames[-1].code, what) == (count, 1007, "eof")


# ---------------- the peer vanishes


async def test_a_peer_that_only_stops_sending_is_gone():
    async with direct() as (transport, peer):
        await peer.send(text("last"))
        peer.stop_sending()
        assert await peer.end() == "eof"
        assert end_of(transport) == End.of(Cause.PEER_LOST)
        assert [await transport.inbox.get() for _ in range(2)] == ["last", end_of(transport)]


async def test_a_reset_is_noticed_by_itself():
    async with direct() as (transport, peer):
        peer.reset()
        await settle()
        assert end_of(transport) == End.of(Cause.PEER_LOST)
        assert transport._sock.fileno() == -1


async def test_a_peer_that_is_gone_before_our_goodbye(clock):
    async with direct() as (transport, peer):
        peer.reset()
        await transport.close(End.of(Cause.LOCAL_CLOSE))
        assert end_of(transport).cause is Cause.LOCAL_CLOSE


async def test_a_peer_that_hangs_up_in_place_of_answering_our_close():
    async with direct() as (transport, peer):
        await transport.close(End.of(Cause.LOCAL_CLOSE))
        await peer.frame()
        peer.hang_up()
        await settle()
        assert transport.lifecycle.phase is Phase.CLOSED
        assert transport._sock.fileno() == -1
