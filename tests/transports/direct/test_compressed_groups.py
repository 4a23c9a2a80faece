"""Group messages to members that negotiated compression: one frame for all of them, which each of them can read."""

import zlib
from contextlib import AsyncExitStack

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode

from nexios_trio.core.message import MIN_DEFLATE_BYTES, Message, text_frame
from nexios_trio.groups.broadcast import Broadcaster
from nexios_trio.pubsub.index import GroupIndex
from tests.rawframes import CLOSE
from tests.transports.support import direct, settle

TEXT_INDEX = 1  # of the forms of a message
LONG = "all work and no play " * 50


class Room:
    """Two members with compression, one without, in one group; what each was sent, and what it can read."""

    def __init__(self, ends):
        self.index = GroupIndex()
        self.broadcaster = Broadcaster(self.index, {})
        self.ends = ends
        self.sent = [[] for _ in ends]

    def join(self, member):
        self.index.add(member, "room", self.ends[member][0], TEXT_INDEX)

    def leave(self, member):
        memberships = self.index.memberships(member)
        self.broadcaster.catch_up(memberships)
        self.index.remove(member, "room")

    def publish(self, text):
        self.broadcaster.deliver("room", Message(text, 0.0))
        for member in self.index.groups["room"].members if "room" in self.index else ():
            self.sent[member].append(text)

    def send(self, member, text):
        self.broadcaster.catch_up(self.index.memberships(member))
        self.ends[member][0].offer(text_frame(text))
        self.sent[member].append(text)

    async def read(self, member, *, keeps_window):
        """Return all that a member was sent, as the `websockets` library reads it."""
        _, peer = self.ends[member]
        extension = PerMessageDeflate(
            remote_no_context_takeover=not keeps_window,
            local_no_context_takeover=True,
            remote_max_window_bits=15,
            local_max_window_bits=15,
        )
        frames = await peer.frames(len(self.sent[member]))
        read = [
            extension.decode(Frame(Opcode(frame.opcode), frame.payload, fin=frame.fin, rsv1=frame.rsv == 4))
            for frame in frames
        ]
        return [bytes(frame.data).decode() for frame in read]


async def room(stack, *, small=False, with_compression=(True, True, False), **options):
    ends = [
        await stack.enter_async_context(direct(deflate=deflate, small=small, **options)) for deflate in with_compression
    ]
    return Room(ends)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_members_with_compression_share_a_cohort_and_one_frame(tls, monkeypatch):
    compressed = []
    compressobj = zlib.compressobj

    def counted(**options):
        compressed.append(options)
        return compressobj(**options)

    monkeypatch.setattr(zlib, "compressobj", counted)
    async with AsyncExitStack() as stack:
        house = await room(stack, tls=tls)
        for member in range(3):
            house.join(member)
        group = house.index.groups["room"]
        assert sorted(len(cohort.members) for cohort in group.cohorts) == [1, 2]
        assert not group.stragglers
        house.publish(LONG)
        house.publish("short")
        assert len(compressed) == 1
        first, second, plain = [await end[1].frames(2) for end in house.ends]
        assert first == second
        assert [frame.rsv for frame in first] == [4, 0]
        assert len(first[0].payload) < len(LONG) / 10
        assert [frame.payload.decode() for frame in plain] == [LONG, "short"]
        assert plain[0].rsv == 0


# Payloads that repeat themselves and each other, so that any history that is referred to would be.
texts = st.tuples(st.sampled_from(["abc", LONG[:60], LONG]), st.integers(0, MIN_DEFLATE_BYTES)).map(
    lambda given: given[0] * 2 + "z" * given[1]
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), texts),
        st.tuples(st.just("send"), st.integers(0, 2), texts),
        st.tuples(st.sampled_from(["join", "leave"]), st.integers(0, 2)),
    ),
    max_size=25,
)


@given(steps, st.booleans(), st.booleans(), st.booleans())
@settings(max_examples=60)
def test_whatever_is_mixed_each_member_can_read_it(given_steps, keeps_window, small, tls):
    """Whether its decoder keeps what it has seen, which it need not, or begins anew with each message."""

    async def main():
        async with AsyncExitStack() as stack:
            house = await room(stack, small=small, tls=tls)
            for member in range(3):
                house.join(member)
            for name, *arguments in given_steps:
                getattr(house, name)(*arguments)
            for member in range(3):
                assert await house.read(member, keeps_window=keeps_window) == house.sent[member]

    trio.run(main, clock=MockClock())


async def test_what_the_kernel_does_not_take_is_compressed_too_and_counted_as_it_was():
    async with AsyncExitStack() as stack:
        noise = "".join(chr(33 + number * number * 7919 % 89) for number in range(4000))
        house = await room(stack, small=True, with_compression=(True, True), outbox_messages=40)
        house.join(0)
        house.join(1)
        transport, _ = house.ends[0]
        while not transport.statistics().queued_messages:
            house.publish(noise + str(len(house.sent[0])))
        assert house.index.memberships(0)
        for _ in range(3):
            house.publish(noise)
        assert transport.statistics().queued_messages == 4
        assert transport.statistics().queued_bytes >= 3 * len(noise)
        assert await house.read(0, keeps_window=False) == house.sent[0]
        await settle()
        house.publish(LONG)
        del house.sent[0][:-1]
        assert await house.read(0, keeps_window=False) == [LONG]


async def test_a_member_without_room_is_told_why_behind_a_whole_frame():
    async with AsyncExitStack() as stack:
        noise = "".join(chr(33 + number * number * 7919 % 89) for number in range(4000))
        house = await room(stack, small=True, with_compression=(True,), outbox_messages=2)
        house.join(0)
        transport, peer = house.ends[0]
        while transport.end is None:
            house.publish(noise)
        frames = []
        while not frames or frames[-1].opcode != CLOSE:
            frames.append(await peer.frame())
        assert (frames[-1].code, frames[-1].reason) == (1013, "too slow")
        assert {frame.rsv for frame in frames[:-1]} == {4}
