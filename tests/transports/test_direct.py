"""The direct lane's transport on a real socket: what the peer sees, in which order, and when it is let go."""

from contextlib import AsyncExitStack

import pytest
import trio
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from trio.testing import MockClock, assert_checkpoints, assert_no_checkpoints

from nexios_trio.core.lifecycle import Cause, End, Phase
from nexios_trio.core.message import Batch, Kind, Message, binary_frame, text_frame
from nexios_trio.core.overflow import conflate
from nexios_trio.exceptions import LifecycleError, MessageTooBig, WebSocketDisconnect
from nexios_trio.transports.direct.reader import MAX_PONGS_PER_READ, Reader
from nexios_trio.transports.direct.socket import RECEIVE_BYTES
from nexios_trio.transports.epoll import READ
from tests.rawframes import (
    BINARY,
    CLOSE,
    CONTINUATION,
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
from tests.transports.support import ANSWER, direct, settle

JSON: Kind = 0
PLAIN: Kind = 1
BIG = "x" * 3000  # a few of these fill small kernel buffers


def batch(*payloads):
    return Batch(tuple(Message(payload, 0.0) for payload in payloads))


def texts(frames):
    return [frame.payload.decode() for frame in frames if frame.opcode == TEXT]


def stall(transport):
    """Offer messages until one is kept; how many that took."""
    count = 0
    while not transport.statistics().queued_bytes:
        transport.offer(text_frame(f"{count} {BIG}"))
        count += 1
    return count


def end_of(transport):
    [end] = transport.ends
    assert transport.end == end
    return end


@pytest.fixture
def clock():
    return MockClock()


async def later(clock, seconds):
    """Let so much time pass, and everything happen that is due."""
    await settle()
    clock.jump(seconds)
    await settle()


# ---------------------------------------------------------------- the handshake


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
        await later(clock, 2.9)
        assert transport._sock.fileno() > 0
        await later(clock, 0.2)
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


# ---------------------------------------------------------------- sending


async def test_a_message_is_in_the_kernel_when_the_call_returns():
    async with direct() as (transport, peer):
        with assert_no_checkpoints():
            transport.offer(text_frame("one"))
            transport.offer_batch(JSON, batch("two", {"n": 3}))
        assert texts(take_frames(peer.take())) == ["one", '"two"', '{"n":3}']
        with assert_checkpoints():
            await transport.send(binary_frame(b"\0"))
        assert take_frames(peer.take()) == [ServerFrame(BINARY, b"\0")]


async def test_a_cancelled_send_sends_nothing():
    async with direct() as (transport, peer):
        with trio.CancelScope() as scope:
            scope.cancel()
            await transport.send(text_frame("no"))
        assert scope.cancelled_caught
        await transport.send(text_frame("yes"))
        assert texts(take_frames(peer.take())) == ["yes"]


async def test_compressed_for_those_who_negotiated_it():
    async with direct(deflate=True) as (transport, peer):
        transport.offer(text_frame("short"))
        transport.offer_batch(PLAIN, batch("z" * 1000))
        await transport.send(text_frame("y" * 1000))
        short, first, second = await peer.frames(3)
        assert (short, short.rsv) == (ServerFrame(TEXT, b"short"), 0)
        assert [(frame.rsv, frame.payload) for frame in (first, second)] == [
            (4, deflated(b"z" * 1000, -1)),
            (4, deflated(b"y" * 1000, -1)),
        ]


async def test_what_the_kernel_does_not_take_waits_and_keeps_its_order():
    async with direct(small=True, outbox_messages=100) as (transport, peer):
        count = stall(transport)
        before = transport.statistics()
        assert (before.queued_messages, before.undelivered) == (1, 0)
        assert 0 < before.queued_bytes <= len(BIG) + 10
        transport.offer(text_frame("a"))
        transport.offer_batch(PLAIN, batch("b", "c"))
        await transport.send(text_frame("d"))
        assert transport.statistics().queued_messages == 5
        assert transport.statistics().queued_bytes == before.queued_bytes + 4
        received = texts(await peer.frames(count + 4))
        assert [message.partition(" ")[0] for message in received] == [*map(str, range(count)), "a", "b", "c", "d"]
        await settle()
        assert transport.statistics().queued_messages == 0
        transport.offer(text_frame("inline again"))
        assert texts(take_frames(peer.take())) == ["inline again"]


async def test_a_batch_torn_by_the_kernel_keeps_its_order():
    payloads = [f"{number} {BIG}" for number in range(30)]
    async with direct(small=True) as (transport, peer):
        transport.offer_batch(PLAIN, batch(*payloads))
        transport.offer(text_frame("behind"))
        assert 2 < transport.statistics().queued_messages <= 31
        assert texts(await peer.frames(31)) == [*payloads, "behind"]
        assert transport.statistics().undelivered == 0


async def test_a_sender_waits_for_room_and_is_woken(nursery):
    async with direct(small=True, outbox_messages=2) as (transport, peer):
        count = stall(transport)
        transport.offer(text_frame("a"))
        transport.offer(text_frame("b"))
        sent = []

        async def send(name):
            with assert_checkpoints():
                await transport.send(text_frame(name))
            sent.append(name)

        nursery.start_soon(send, "c")
        nursery.start_soon(send, "d")
        await settle()
        assert sent == []
        received = texts(await peer.frames(count + 4))[count:]
        await settle()
        assert received[:2] == ["a", "b"]
        assert sorted(received[2:]) == sorted(sent) == ["c", "d"]
        transport.offer(text_frame("e"))
        assert texts(take_frames(peer.take())) == ["e"]


async def test_a_cancelled_waiting_send_sends_nothing(nursery):
    async with direct(small=True, outbox_messages=1) as (transport, peer):
        count = stall(transport)
        transport.offer(text_frame("a"))
        scope = trio.CancelScope()

        async def send():
            with scope:
                await transport.send(text_frame("no"))

        nursery.start_soon(send)
        await settle()
        scope.cancel()
        await settle()
        assert texts(await peer.frames(count + 1))[count:] == ["a"]
        transport.offer(text_frame("b"))
        assert texts(await peer.frames(1)) == ["b"]


@pytest.mark.parametrize("is_stalled", [False, True])
async def test_a_message_that_could_never_wait_is_refused_whether_it_had_to_or_not(is_stalled):
    async with direct(small=True, outbox_bytes=10_000) as (transport, _):
        if is_stalled:
            stall(transport)
        with (
            assert_checkpoints(),
            pytest.raises(MessageTooBig, match="10001 bytes; accepted: up to outbox_bytes=10000"),
        ):
            await transport.send(binary_frame(bytes(10_001)))


async def test_sending_after_the_end():
    async with direct() as (transport, peer):
        await peer.send(close(4001, "enough"))
        await settle()
        with assert_checkpoints(), pytest.raises(WebSocketDisconnect) as caught:
            await transport.send(text_frame("late"))
        assert (caught.value.code, caught.value.reason) == (4001, "enough")
        with assert_no_checkpoints():
            transport.offer(text_frame("late"))
            transport.offer_batch(JSON, batch(1, 2))
        assert transport.statistics().lost == 3


@pytest.mark.parametrize("verb", ["offer", "offer_batch", "send"])
async def test_a_message_to_a_peer_that_was_reset_is_lost_and_counted(verb):
    async with direct() as (transport, peer):
        peer.reset()
        if verb == "offer":
            transport.offer(text_frame("lost"))
        elif verb == "offer_batch":
            transport.offer_batch(PLAIN, batch("lost"))
        else:
            await transport.send(text_frame("lost"))
        assert end_of(transport) == End.of(Cause.PEER_LOST)
        assert transport.statistics().lost == 1


async def test_what_was_on_its_way_when_the_connection_was_killed_is_counted():
    async with direct(small=True) as (transport, _):
        transport.offer_batch(PLAIN, batch(*[f"{number} {BIG}" for number in range(30)]))
        queued = transport.statistics().queued_messages
        transport.kill(End.of(Cause.ABORTED))
        after = transport.statistics()
        assert (after.queued_messages, after.queued_bytes, after.lost) == (0, 0, queued)


class Script:
    """What the program, the peer and time do, in turns; afterwards the peer has everything, in order."""

    def __init__(self, transport, peer):
        self.transport = transport
        self.peer = peer
        self.number = 0

    def next(self, size):
        self.number += 1
        return f"{self.number} {'x' * size}"

    async def run(self, steps):
        async with trio.open_nursery() as nursery:
            for kind, size in steps:
                match kind:
                    case "offer":
                        self.transport.offer(text_frame(self.next(size)))
                    case "batch":
                        self.transport.offer_batch(PLAIN, batch(self.next(size), self.next(size // 2), self.next(0)))
                    case "send":
                        nursery.start_soon(self.transport.send, text_frame(self.next(size)))
                        await settle()
                    case "ping":
                        await self.peer.send(client_frame(PING, b"%d" % size))
                    case "read":
                        self.peer.buffer += self.peer.take(size)
                    case "settle":
                        await settle()
            received = []
            while len(received) < self.number:
                received += texts([await self.peer.frame()])
        assert [int(message.partition(" ")[0]) for message in received] == list(range(1, self.number + 1))


steps = st.lists(
    st.tuples(st.sampled_from(["offer", "batch", "send", "ping", "settle"]), st.sampled_from([0, 100, 5000, 30_000]))
    | st.tuples(st.just("read"), st.sampled_from([1, 1000, 60_000])),
    max_size=25,
)


@given(steps)
@hypothesis_settings(max_examples=40)
def test_whatever_happens_the_peer_gets_whole_frames_in_order(given_steps):
    async def main():
        async with direct(small=True, outbox_messages=10_000, outbox_bytes=100_000_000) as (transport, peer):
            await Script(transport, peer).run(given_steps)
            assert transport.ends == []

    trio.run(main, clock=MockClock())


# ---------------------------------------------------------------- pings and pongs


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


# ---------------------------------------------------------------- overflow


async def test_overflow_disconnects_behind_the_torn_frame():
    async with direct(small=True, outbox_messages=3) as (transport, peer):
        count = stall(transport)
        for _ in range(4):
            transport.offer(text_frame("queued"))
        assert end_of(transport) == End(1013, "too slow", Cause.OVERFLOW)
        assert transport.counts.lost == 4
        frames, _ = (await peer.frames(count), None)
        assert len(texts(frames)) == count
        goodbye = await peer.frame()
        assert (goodbye.code, goodbye.reason) == (1013, "too slow")


@pytest.mark.parametrize(
    ("overflow", "kept", "counted"),
    [
        ("drop_oldest", ["2", "3", "4"], {"dropped_oldest": 2}),
        ("drop_latest", ["0", "1", "2"], {"dropped_latest": 2}),
        (conflate(lambda payload: int(payload) % 2), ["4", "3"], {"replaced": 3}),
    ],
)
@pytest.mark.parametrize("is_batch", [False, True])
async def test_overflow_by_policy(overflow, kept, counted, is_batch):
    async with direct(small=True, outbox_messages=3, overflow=overflow) as (transport, peer):
        count = stall(transport)
        for number in range(0, 5, 1):
            if is_batch:
                transport.offer_batch(PLAIN, batch(str(number)))
            else:
                key = transport.policy.key
                transport.offer(text_frame(str(number)), key(str(number)) if key else None)
        statistics = transport.statistics()
        assert {name: getattr(statistics, name) for name in counted} == counted
        assert statistics.undelivered == sum(counted.values())
        assert texts(await peer.frames(count + len(kept)))[count:] == kept
        assert transport.is_open


async def test_the_rest_of_a_torn_batch_is_conflated_too():
    """By the key of each message."""
    policy = conflate(lambda payload: payload.partition(" ")[0])
    async with direct(small=True, overflow=policy) as (transport, peer):
        payloads = [f"{'ab'[number % 2]} {number} {BIG}" for number in range(30)]
        transport.offer_batch(PLAIN, batch(*payloads))
        assert transport.statistics().queued_messages == 3  # the torn one, and the newest of each key
        transport.offer(text_frame("z"))
        received = []
        while not received or received[-1] != "z":
            received += texts([await peer.frame()])
        assert received[-3:-1] == payloads[-2:]
        assert transport.statistics().replaced == 30 - (len(received) - 1)


# ---------------------------------------------------------------- the write deadline


async def test_a_peer_that_does_not_read_is_reset(clock):
    async with direct(small=True, write_timeout=10.0, ping_interval=float("inf")) as (transport, peer):
        stall(transport)
        await later(clock, 9.9)
        assert transport.is_open
        transport.offer(text_frame("queued"))  # which gives it no more time
        await later(clock, 0.2)
        assert end_of(transport).cause is Cause.WRITE_TIMEOUT
        assert transport.counts.lost == 2
        assert await peer.end() == "reset"


async def test_reading_a_little_of_one_write_gives_no_more_time(clock):
    async with direct(small=True, write_timeout=10.0, ping_interval=float("inf"), outbox_bytes=10**7) as (
        transport,
        peer,
    ):
        transport.offer(binary_frame(bytes(2_000_000)))
        for _ in range(9):
            await later(clock, 1)
            peer.take(30_000)
        assert transport.is_open
        await later(clock, 1.1)
        assert end_of(transport).cause is Cause.WRITE_TIMEOUT


async def test_every_write_has_a_deadline_of_its_own(clock):
    async with direct(small=True, write_timeout=10.0, ping_interval=float("inf"), outbox_messages=1000) as (
        transport,
        peer,
    ):
        count = 0
        for _ in range(20):
            count += stall(transport)
            await later(clock, 6)
            await peer.frames(count)
            count = 0
        assert transport.is_open


async def test_a_goodbye_gives_no_more_time(clock, nursery):
    async with direct(small=True, write_timeout=10.0, ping_interval=float("inf")) as (transport, peer):
        stall(transport)
        await later(clock, 8)
        nursery.start_soon(transport.close, End.of(Cause.LOCAL_CLOSE))
        await later(clock, 2.1)
        assert transport._sock.fileno() == -1
        assert end_of(transport).cause is Cause.LOCAL_CLOSE
        assert await peer.end() == "reset"


async def test_a_peer_that_vanishes_with_a_backlog(clock):
    async with direct(small=True) as (transport, peer):
        stall(transport)
        transport.offer(text_frame("queued"))
        peer.reset()
        await settle()
        assert end_of(transport).cause is Cause.PEER_LOST
        assert transport.counts.lost == 2


# ---------------------------------------------------------------- goodbyes


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


# ---------------------------------------------------------------- leaving the block


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
        await later(clock, 5.1)
        assert transport._sock.fileno() == -1
        assert (await peer.rest())[1] == "reset"  # so that the kernel lets go too


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


# ---------------------------------------------------------------- mistakes of the peer


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


# ---------------------------------------------------------------- the peer vanishes


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


# ---------------------------------------------------------------- reading


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


# ---------------------------------------------------------------- heartbeat


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
        assert transport.is_open
        for _ in range(3):
            await transport.inbox.get()
        for _ in range(10):
            await later(clock, 10)
        assert end_of(transport).cause is Cause.HEARTBEAT_TIMEOUT


async def test_no_ping_goes_where_messages_wait(clock):
    async with direct(small=True, ping_interval=1.0, ping_timeout=60.0, write_timeout=50.0) as (transport, peer):
        count = stall(transport)
        transport.offer(text_frame("queued"))
        for _ in range(10):
            await later(clock, 1)
        assert len(texts(await peer.frames(count + 1))) == count + 1


async def test_without_heartbeat(clock):
    async with direct(ping_interval=float("inf")) as (transport, peer):
        await later(clock, 100_000)
        assert transport.is_open
        assert peer.take() == b""
