"""What goes out: whole frames in order, whatever the kernel takes."""

import pytest
import trio
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from trio.testing import MockClock, assert_checkpoints, assert_no_checkpoints

from nexios_trio.core.lifecycle import Cause, End
from nexios_trio.core.message import binary_frame, text_frame
from nexios_trio.core.overflow import conflate
from nexios_trio.exceptions import MessageTooBig, WebSocketDisconnect
from nexios_trio.pubsub.group import Group
from tests.rawframes import (
    BINARY,
    PING,
    TEXT,
    ServerFrame,
    client_frame,
    close,
    deflated,
    take_frames,
)
from tests.transports.direct.support import BIG, JSON, PLAIN, batch, end_of, later, pass_time, stall, texts
from tests.transports.support import direct, settle

# ---------------- sending


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
        membership = Group("room").add_member("member", transport, frame_index=1)
        transport.offer_batch(membership, batch("z" * 1000))
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


async def test_a_sender_that_waits_for_room_is_told_of_the_end(nursery):
    async with direct(small=True, outbox_messages=1) as (transport, peer):
        stall(transport)
        errors = []

        async def sender():
            try:
                while True:
                    await transport.send(text_frame("x"))
            except WebSocketDisconnect as error:
                errors.append(error)

        nursery.start_soon(sender)
        await settle()
        await peer.send(close(4001, "enough"))
        await settle()
        [error] = errors
        assert error.code == 4001
        assert error.__context__ is None  # whose traceback would lead whoever keeps the error to the transport


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


# ---------------- overflow


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


# ---------------- the write deadline


async def test_a_peer_that_does_not_read_is_reset(clock):
    async with direct(small=True, write_timeout=10.0, ping_interval=float("inf")) as (transport, peer):
        stall(transport)
        await settle()
        await pass_time(clock, 9.75)
        assert transport.is_open
        transport.offer(text_frame("queued"))  # which gives it no more time
        await pass_time(clock, 3)
        assert end_of(transport) == End(1013, "the peer does not read", Cause.WRITE_TIMEOUT)
        assert transport.counts.lost == 2
        assert await peer.end() == "reset"


async def test_who_reads_a_long_message_steadily_may_take_its_time(clock):
    async with direct(small=True, write_timeout=10.0, ping_interval=float("inf"), outbox_bytes=10**7) as (
        transport,
        peer,
    ):
        transport.offer(binary_frame(bytes(1_000_000)))
        for _ in range(60):
            await later(clock, 1)
            peer.buffer += peer.take(8_000)
        assert transport.is_open
        assert (await peer.frame()).payload == bytes(1_000_000)


async def test_who_trickles_is_reset_and_told_why(clock):
    async with direct(
        small=True, write_timeout=10.0, min_read_rate=2000, ping_interval=float("inf"), outbox_bytes=10**7
    ) as (transport, peer):
        transport.offer(binary_frame(bytes(1_000_000)))
        for _ in range(160):
            await later(clock, 0.25)
            if transport.is_open:
                peer.take(250)
        assert end_of(transport).cause is Cause.WRITE_TIMEOUT
        assert end_of(transport).reason in ("the peer reads less than 2000 bytes a second", "the peer does not read")


async def test_who_reads_everything_in_time_is_never_late(clock):
    async with direct(small=True, write_timeout=10.0, ping_interval=float("inf"), outbox_messages=1000) as (
        transport,
        peer,
    ):
        for _ in range(20):
            count = stall(transport)
            await later(clock, 6)
            await peer.frames(count)
        assert transport.is_open


async def test_a_goodbye_gives_no_more_time(clock, nursery):
    async with direct(small=True, write_timeout=10.0, ping_interval=float("inf")) as (transport, peer):
        stall(transport)
        await settle()
        await pass_time(clock, 8)
        nursery.start_soon(transport.close, End.of(Cause.LOCAL_CLOSE))
        await pass_time(clock, 5)
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
