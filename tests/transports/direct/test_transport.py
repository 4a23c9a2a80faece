"""The block of a connection: its handshake, its heartbeat, and leaving it."""

from contextlib import AsyncExitStack

import pytest
import trio
from trio.testing import assert_checkpoints

from nexios_trio.core.lifecycle import Cause, End, Phase
from nexios_trio.core.message import binary_frame, text_frame
from nexios_trio.exceptions import LifecycleError, WebSocketDisconnect
from nexios_trio.transports.direct.states import State
from nexios_trio.transports.progress import unacknowledged_bytes
from tests.rawframes import (
    BINARY,
    PING,
    PONG,
    ServerFrame,
    client_frame,
    close,
    take_frame,
    text,
)
from tests.transports.direct.support import BIG, PLAIN, batch, end_of, later, pass_time, stall, texts
from tests.transports.support import ANSWER, direct, settle

# ---------------- the handshake


async def test_accept_answers_and_opens():
    async with direct(accepted=False) as (transport, peer):
        with assert_checkpoints():
            assert await transport.accept(None, []) is transport
        assert transport.is_open
        assert await peer.head() == ANSWER
        with pytest.raises(LifecycleError):
            await transport.accept(None, [])


async def test_nothing_is_read_before_accept_and_nothing_is_lost():
    async with direct(accepted=False, received=text("with the request")) as (transport, peer):
        await peer.send(text("before") + client_frame(PING, b"?"))
        await settle()
        assert len(transport.inbox) == 0
        await transport.accept(None, [])
        await peer.send(text("after"))
        got = [await transport.inbox.get() for _ in range(3)]
        assert got == ["with the request", "before", "after"]
        await peer.head()
        assert await peer.frame() == ServerFrame(PONG, b"?")


async def test_messages_from_before_accept_go_out_behind_the_answer():
    async with direct(accepted=False) as (transport, peer):
        with pytest.raises(LifecycleError, match=r"accept\(\)"):
            await transport.send(text_frame("too early"))
        transport.offer(text_frame("one"))
        transport.offer_batch(PLAIN, batch("two", "three"))
        await settle()
        assert peer.take() == b""
        await transport.accept(None, [])
        transport.offer(text_frame("four"))
        assert await peer.head() == ANSWER
        assert texts(await peer.frames(4)) == ["one", "two", "three", "four"]


async def test_accept_when_the_peer_has_left():
    async with direct(accepted=False) as (transport, peer):
        peer.hang_up()
        await settle()
        assert end_of(transport) == End.of(Cause.PEER_LOST)
        with assert_checkpoints(), pytest.raises(WebSocketDisconnect) as caught:
            await transport.accept(None, [])
        assert caught.value.code == 1006


async def test_accept_finds_out_that_the_peer_was_reset():
    """The poller has not had its turn yet."""
    async with direct(accepted=False) as (transport, peer):
        peer.reset()
        with pytest.raises(WebSocketDisconnect):
            await transport.accept(None, [])
        transport.offer(text_frame("into the void"))
        assert (transport.counts.lost, end_of(transport).cause) == (1, Cause.PEER_LOST)


async def test_a_cancelled_accept_has_answered_or_not():
    async with direct(accepted=False) as (transport, peer):
        with trio.CancelScope() as scope:
            scope.cancel()
            await transport.accept(None, [])
        assert transport.lifecycle.phase is Phase.CONNECTING
        await settle()
        assert peer.take() == b""


async def test_deny_answers_and_waits_for_the_peer_to_hang_up():
    async with direct(accepted=False) as (transport, peer):
        with assert_checkpoints():
            await transport.deny(404, [(b"x-why", b"because")], b"not here", "unknown")
        assert end_of(transport) == End(1006, "unknown", Cause.DENIED)
        head = await peer.head()
        assert head.startswith(b"HTTP/1.1 404 Not Found\r\n")
        assert b"x-why: because\r\n" in head
        assert await peer.end() == "eof"
        assert peer.buffer == b"not here"
        with assert_checkpoints():
            await transport.deny(500, [], b"")  # once


@pytest.mark.parametrize("size", [100, 500_000])
async def test_a_denial_arrives_whole_though_the_peer_had_sent_more(size, nursery):
    async with direct(accepted=False, small=True) as (transport, peer):
        peer.send_nowait(bytes(100_000))
        nursery.start_soon(transport.deny, 403, [], b"n" * size)
        head = await peer.head()
        assert await peer.end() == "eof"
        assert len(peer.buffer) == size
        assert b"content-length: %d" % size in head


async def test_a_denial_that_is_not_read_is_bounded_in_time(clock, nursery):
    async with direct(accepted=False, small=True, write_timeout=3.0) as (transport, peer):
        nursery.start_soon(transport.deny, 403, [], bytes(500_000))
        await pass_time(clock, 2.75)
        assert transport._sock.fileno() > 0
        await pass_time(clock, 1.5)
        assert transport._sock.fileno() == -1
        assert await peer.end() == "reset"


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (End.of(Cause.LOCAL_CLOSE), 403),
        (End.of(Cause.EXPIRED), 403),
        (End.of(Cause.SERVER_SHUTDOWN), 503),
        (End.of(Cause.HANDLER_ERROR), 500),
    ],
)
@pytest.mark.parametrize("verb", ["close", "evict"])
async def test_a_goodbye_before_accept_is_an_http_response(end, status, verb):
    async with direct(accepted=False) as (transport, peer):
        transport.offer(text_frame("never"))
        if verb == "close":
            await transport.close(end)
        else:
            transport.evict(end)
        assert end_of(transport) == end
        assert (await peer.head()).startswith(b"HTTP/1.1 %d " % status)
        assert await peer.end() == "eof"
        assert peer.buffer == b""
        assert transport.counts.lost == 1


async def test_kill_before_accept():
    async with direct(accepted=False) as (transport, peer):
        transport.kill(End.of(Cause.ABORTED))
        assert await peer.end() == "reset"


# ---------------- leaving the block


async def test_leaving_waits_for_the_peer_s_answer(clock, nursery):
    async with direct(close_timeout=5.0) as (transport, peer):
        await transport.close(End.of(Cause.LOCAL_CLOSE))
        left = trio.Event()

        async def leave():
            await transport.leave()
            left.set()

        nursery.start_soon(leave)
        await later(clock, 4)
        assert not left.is_set()
        await peer.send(close())
        await left.wait()
        assert await peer.end() == "eof"


async def test_what_the_peer_sends_between_our_close_and_its_own_has_no_meaning(nursery):
    """It may have been under way, or be nonsense: only the answer to our close is waited for."""
    async with direct() as (transport, peer):
        await peer.send(text("torn")[:8])
        await settle()
        await transport.close(End.of(Cause.LOCAL_CLOSE))
        await peer.send(text("torn")[8:] + text(b"\xff") + client_frame(3) + client_frame(BINARY, bytes(300_000)))
        nursery.start_soon(transport.leave)
        await peer.send(text("late") * 1000 + close())
        assert await peer.end() == "eof"
        assert end_of(transport) == End.of(Cause.LOCAL_CLOSE)
        assert len(transport.inbox) == 0


async def test_leaving_waits_no_longer_than_the_close_timeout(clock, nursery):
    async with direct(close_timeout=5.0) as (transport, peer):
        await transport.close(End.of(Cause.LOCAL_CLOSE))
        nursery.start_soon(transport.leave)
        await pass_time(clock, 4.75)
        assert transport._sock.fileno() > 0
        await pass_time(clock, 0.5)
        assert transport._sock.fileno() == -1
        assert (await peer.rest())[1] == "eof"  # it has everything: a reset is for peers that do not read


async def test_leaving_resets_who_does_not_take_what_was_sent(clock, nursery):
    async with direct(small=True, close_timeout=5.0, write_timeout=50.0) as (transport, peer):
        stall(transport)
        nursery.start_soon(transport.close, End.of(Cause.LOCAL_CLOSE))
        nursery.start_soon(transport.leave)
        await pass_time(clock, 7)
        assert transport._sock.fileno() == -1
        assert await peer.end() == "reset"  # so that the kernel lets go too


@pytest.mark.parametrize("size", [1000, 20_000])
async def test_leaving_waits_for_who_reads(clock, nursery, size):
    """What was accepted before the end is not thrown away, be it in our queue or in the kernel's."""
    async with direct(small=True, close_timeout=2.0, outbox_messages=1000) as (transport, peer):
        for number in range(40):
            transport.offer(text_frame(f"{number} {'x' * size}"))

        async def end():
            await transport.close(End.of(Cause.LOCAL_CLOSE))
            await transport.leave()

        nursery.start_soon(end)
        await settle()
        begun = clock.current_time()
        taken = 0
        frames = []
        while not frames or frames[-1].opcode != 0x8:
            assert await peer.receive(size // 4) == "data"
            taken += 1
            if size == 20_000 or taken % 4 == 0:
                await later(clock, 0.5)
            while (received := take_frame(peer.buffer)) is not None:
                frames.append(received)
        assert [text.partition(" ")[0] for text in texts(frames)] == [str(number) for number in range(40)]
        assert frames[-1].code == 1000
        assert clock.current_time() - begun > 4.0
        await peer.send(close())
        assert await peer.end() == "eof"


async def test_leaving_does_not_wait_for_a_trickle(clock, nursery):
    async with direct(small=True, close_timeout=2.0, min_read_rate=1000, outbox_bytes=10**7) as (transport, peer):
        transport.offer(binary_frame(bytes(1_000_000)))
        nursery.start_soon(transport.close, End.of(Cause.LOCAL_CLOSE))
        await settle()
        nursery.start_soon(transport.leave)
        for _ in range(60):
            if transport._sock.fileno() > 0:
                peer.take(100)
            await later(clock, 0.25)
        assert transport._sock.fileno() == -1


async def test_leaving_gives_an_evicted_peer_time_to_read(clock, nursery):
    async with direct(small=True) as (transport, peer):
        count = stall(transport)
        transport.evict(End.of(Cause.OVERFLOW, "too slow"))
        nursery.start_soon(transport.leave)
        await later(clock, 3)
        frames = await peer.frames(count + 1)
        assert frames[-1].code == 1013
        await peer.send(close(1013))
        assert await peer.end() == "eof"


async def test_leaving_without_a_goodbye_resets():
    async with direct() as (transport, peer):
        await transport.leave()
        assert await peer.end() == "reset"


async def test_leaving_in_a_cancelled_scope_does_not_wait_for_the_peer(clock):
    async with direct() as (transport, peer):
        await peer.send(bytes(0))
        with trio.CancelScope() as scope:
            scope.cancel()
            transport.evict(End.of(Cause.SERVER_SHUTDOWN))
            peer.send_nowait(text("unread") * 1000)
            await transport.leave()
        frames, what = await peer.rest()
        assert ([frame.code for frame in frames], what) == ([1012], "eof")


async def test_leaving_in_a_cancelled_scope_waits_for_our_own_goodbye(clock, nursery):
    async with direct(small=True, close_timeout=5.0) as (transport, peer):
        count = stall(transport)
        transport.evict(End.of(Cause.SERVER_SHUTDOWN))

        async def leave():
            with trio.CancelScope() as scope:
                scope.cancel()
                await transport.leave()

        nursery.start_soon(leave)
        await later(clock, 4)
        frames, what = await peer.rest()
        assert (len(texts(frames)), frames[-1].code, what) == (count, 1012, "eof")


# ---------------- heartbeat


async def test_pings_come_at_intervals_and_pongs_tell_the_latency(clock):
    async with direct(ping_interval=20.0, ping_timeout=60.0) as (transport, peer):
        await later(clock, 9.9)
        assert peer.take() == b""
        await later(clock, 10.6)  # the first comes after half an interval to a whole one
        ping = await peer.frame()
        assert ping.opcode == PING
        await later(clock, 0.25)
        await peer.send(client_frame(PONG, ping.payload))
        await settle()
        assert transport.latency == pytest.approx(0.25, abs=0.001)
        assert transport.pong_at == trio.current_time()
        await later(clock, 20.5)
        assert (await peer.frame()).opcode == PING
        await peer.send(client_frame(PONG, ping.payload))  # the old one's
        await settle()
        assert transport.latency == pytest.approx(0.25, abs=0.001)


async def test_the_pings_of_many_clients_share_a_few_moments(clock):
    """Waking up costs more than a ping: ten thousand idle connections must not wake the process for each."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(direct(ping_interval=20.0)) for _ in range(60)]
        moments = []
        for _ in range(205):
            await later(clock, 0.1)
            moments.append(sum(bool(peer.take()) for _, peer in clients))
        assert sum(moments) == len(clients)
        assert sum(count > 0 for count in moments) <= 21


async def test_a_silent_peer_is_reset(clock):
    async with direct(ping_interval=20.0, ping_timeout=60.0) as (transport, peer):
        await later(clock, 59)
        assert transport.is_open
        for _ in range(5):
            await later(clock, 5)
        assert end_of(transport) == End(1011, "nothing was heard of the peer", Cause.HEARTBEAT_TIMEOUT)
        frames, what = await peer.rest()
        assert ({frame.opcode for frame in frames}, what) == ({PING}, "reset")


@pytest.mark.parametrize("life", [text("x"), client_frame(PONG), client_frame(PING), text("half a frame")[:4]])
async def test_whatever_the_peer_sends_shows_that_it_lives(clock, life):
    async with direct(ping_interval=20.0, ping_timeout=60.0) as (transport, peer):
        for _ in range(10):
            await later(clock, 5)
        await peer.send(life)
        for _ in range(11):
            await later(clock, 5)
        assert transport.is_open
        for _ in range(5):  # it is told from looks at intervals, never too early
            await later(clock, 5)
        assert end_of(transport).cause is Cause.HEARTBEAT_TIMEOUT


async def test_silence_that_is_our_own_fault_does_not_count(clock):
    """A full inbox is not read."""
    async with direct(ping_interval=20.0, ping_timeout=60.0, inbox_messages=1) as (transport, peer):
        for _ in range(3):
            await peer.send(text("x"))
            await settle()
        for _ in range(20):
            await later(clock, 10)
            peer.acknowledge()
        assert transport.is_open
        for _ in range(3):
            await transport.inbox.get()
        for _ in range(10):
            await later(clock, 10)
        assert end_of(transport).cause is Cause.HEARTBEAT_TIMEOUT


async def test_a_ping_goes_between_two_frames_where_messages_wait(clock):
    async with direct(small=True, ping_interval=1.0, ping_timeout=60.0, write_timeout=50.0) as (transport, peer):
        count = stall(transport)
        transport.offer(text_frame("queued"))
        for _ in range(10):
            await later(clock, 1)
        frames = await peer.frames(count + 2)
        assert frames[count].opcode == PING  # one, behind the torn frame
        assert len(texts(frames)) == count + 1
        await peer.send(client_frame(PONG, frames[count].payload))
        await settle()
        assert transport.latency is not None


async def test_a_peer_that_reads_more_slowly_than_we_write_lives(clock):
    """It sees our pings late, or never in time; that it takes what waits for it shows that it is there."""
    async with direct(small=True, ping_interval=1.0, ping_timeout=3.0, overflow="drop_oldest", outbox_messages=16) as (
        transport,
        peer,
    ):
        for number in range(80):
            for _ in range(10):
                transport.offer(text_frame(f"{number} {BIG}"))
            await later(clock, 0.25)
            peer.take(6000)
        assert transport.is_open
        assert transport.statistics().dropped_oldest > 0
        for _ in range(30):  # no more
            await later(clock, 0.25)
        assert end_of(transport).cause is Cause.HEARTBEAT_TIMEOUT


async def test_so_does_one_that_reads_slowly_what_only_the_kernel_still_holds(clock):
    async with direct(ping_interval=1.0, ping_timeout=3.0) as (transport, peer):
        while not unacknowledged_bytes(transport._sock):
            transport.offer(binary_frame(bytes(10_000)))
        assert transport.state is State.CLEAR
        for _ in range(40):
            await later(clock, 0.25)
            peer.take(60_000)
            while unacknowledged_bytes(transport._sock) < 300_000 and transport.state is State.CLEAR:
                transport.offer(binary_frame(bytes(10_000)))
        assert transport.is_open
        for _ in range(30):
            await later(clock, 0.25)
        assert end_of(transport).cause is Cause.HEARTBEAT_TIMEOUT


async def test_a_stopped_process_is_dead_though_its_system_takes_our_pings(clock):
    async with direct(ping_interval=1.0, ping_timeout=3.0) as (transport, _):
        for _ in range(30):
            await later(clock, 0.25)
        assert end_of(transport).cause is Cause.HEARTBEAT_TIMEOUT


async def test_a_full_inbox_does_not_hide_that_the_peer_is_dead(clock):
    """We do not hear it while the inbox is full, but our pings would be taken."""
    async with direct(small=True, ping_interval=1.0, ping_timeout=3.0, write_timeout=50.0, inbox_messages=1) as (
        transport,
        peer,
    ):
        for _ in range(3):
            await peer.send(text("x"))
            await settle()
        for _ in range(40):
            await later(clock, 0.25)
            peer.acknowledge()
        assert transport.is_open
        stall(transport)
        for _ in range(40):
            await later(clock, 0.25)
        assert end_of(transport).cause is Cause.HEARTBEAT_TIMEOUT


async def test_without_heartbeat(clock):
    async with direct(ping_interval=float("inf")) as (transport, peer):
        await later(clock, 100_000)
        assert transport.is_open
        assert peer.take() == b""
