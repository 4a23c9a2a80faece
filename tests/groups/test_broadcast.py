"""The flush of groups: small ones at once, large ones by the flusher, and the same order for everybody."""

from unittest.mock import patch

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import assert_no_checkpoints

from nexios_trio.core.message import Message
from nexios_trio.groups import broadcast as module
from nexios_trio.groups.broadcast import (
    MAX_PENDING_BYTES,
    MAX_PENDING_MESSAGES,
    MEDIUM_GROUP_MEMBERS,
    MEMBERS_PER_SLICE,
    SMALL_GROUP_MEMBERS,
    Broadcaster,
)
from nexios_trio.pubsub import group as groups
from nexios_trio.pubsub.group import Receiver
from nexios_trio.pubsub.index import GroupIndex
from tests.wire import settle

LARGE = MEDIUM_GROUP_MEMBERS + 1


class Taker(Receiver):
    def __init__(self, room, member):
        self.room, self.member = room, member
        self.written = None
        self.room_left = 0

    def write(self, data):
        """As a socket does that has room for so many more batches."""
        if not self.room_left:
            return 1
        self.room_left -= 1
        size = len(data)
        while data:  # frames of short JSON texts
            end = 2 + data[1]
            self.room.given[self.member].append(int(data[2:end]))
            data = data[end:]
        return size

    def offer_batch(self, membership, batch, written=0):
        self.room.batches += 1
        self.written = written
        if self.member == "broken":
            raise ZeroDivisionError
        self.room.given[self.member].extend(message.payload for message in batch.messages)
        self.room.set_room(self.member, 0)


class Room:
    """A group whose members note what they are given, through a fan-out."""

    def __init__(self, members=0):
        self.index = GroupIndex()
        self.members = {}  # of the group and others, by the id that a message leaves them out with
        self.broadcaster = Broadcaster(self.index, self.members)
        self.given = {}
        self.batches = 0
        for member in range(members):
            self.join(member)

    def join(self, member):
        self.members[member] = member
        self.index.add(member, "room", Taker(self, member))
        self.given[member] = []

    def catch_up(self, member):
        self.broadcaster.catch_up(self.index.memberships(member))

    def set_room(self, member, batches):
        """How many batches the member's socket takes before the next one is queued."""
        for membership in self.index.memberships(member):
            membership.receiver.room_left = batches
            membership.set_write_now(membership.receiver.write if batches else None)

    def leave(self, member):
        self.catch_up(member)
        self.index.remove(member, "room")

    def publish(self, payload, excluded=()):
        self.broadcaster.deliver("room", Message(payload, 0.0, excluded=frozenset(excluded)))


async def test_a_small_group_is_given_its_messages_at_once(nursery):
    room = Room(SMALL_GROUP_MEMBERS)
    nursery.start_soon(room.broadcaster.run)
    await settle()
    with assert_no_checkpoints():
        room.publish(1)
        assert all(given == [1] for given in room.given.values())
    nursery.cancel_scope.cancel()


async def test_a_medium_group_is_given_a_single_message_at_once_and_a_burst_together(nursery, mock_clock):
    room = Room(MEDIUM_GROUP_MEMBERS)
    nursery.start_soon(room.broadcaster.run)
    await settle()
    for number in range(0, 15, 5):
        mock_clock.jump(2 * module.MAX_DEFERRAL_SECONDS)
        with assert_no_checkpoints():
            room.publish(number)
        assert all(given == list(range(number + 1)) for given in room.given.values())
        for following in range(number + 1, number + 5):
            room.publish(following)
            await trio.lowlevel.checkpoint()
        await settle()
        assert all(given == list(range(number + 5)) for given in room.given.values())
    assert room.batches == 3 * 2 * MEDIUM_GROUP_MEMBERS  # the first of each burst, and the others
    nursery.cancel_scope.cancel()


async def test_without_a_flusher_every_group_is_small():
    room = Room(LARGE)
    room.publish(1)
    assert all(given == [1] for given in room.given.values())


async def test_messages_to_a_large_group_are_written_in_one_go(nursery):
    room = Room(LARGE)
    nursery.start_soon(room.broadcaster.run)
    await settle()
    for number in range(5):
        room.publish(number)
    assert room.batches == 0
    await settle()
    assert all(given == [0, 1, 2, 3, 4] for given in room.given.values())
    assert room.batches == LARGE
    assert room.broadcaster.deliveries == 5 * LARGE
    assert not room.broadcaster.dirty
    nursery.cancel_scope.cancel()


async def test_a_single_message_does_not_wait_for_a_second_one(nursery, mock_clock):
    """A busy server's scheduler passes are long: each that a message waits for is seen by its group."""
    room = Room(LARGE)
    nursery.start_soon(room.broadcaster.run)
    await settle()
    for number in range(3):
        mock_clock.jump(2 * module.MAX_DEFERRAL_SECONDS)
        room.publish(number)
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        assert room.given[0] == list(range(number + 1))
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("slices", [1, 2])
async def test_messages_that_follow_each_other_are_joined(nursery, mock_clock, monkeypatch, slices):
    """As when many are under way, and a handler takes a scheduler pass for each: but for the first, nobody is flushed
    to for one of them.
    """
    monkeypatch.setattr(module, "MEMBERS_PER_SLICE", LARGE // slices)
    room = Room(LARGE)
    nursery.start_soon(room.broadcaster.run)
    await settle()
    for number in range(16):
        room.publish(number)
        await trio.lowlevel.checkpoint()
    await settle()
    assert room.given[0] == list(range(16))
    assert room.batches <= 3 * LARGE
    nursery.cancel_scope.cancel()


async def test_between_the_flushes_of_many_groups_others_run(nursery):
    index = GroupIndex()
    broadcaster = Broadcaster(index, {})
    nursery.start_soon(broadcaster.run)
    await settle()
    given = []

    class Noting(Receiver):
        def offer_batch(self, membership, batch, written=0):
            given.append(batch)

    names = [f"room-{number}" for number in range(20)]
    for name in names:
        for member in range(MEMBERS_PER_SLICE // 4):
            index.add((name, member), name, Noting())
    for name in names:
        broadcaster.deliver(name, Message(1, 0.0))
    most = 0
    while len(given) < 5 * MEMBERS_PER_SLICE:
        before = len(given)
        await trio.lowlevel.checkpoint()
        most = max(most, len(given) - before)
    assert most <= 2 * MEMBERS_PER_SLICE  # within a pass, the order of tasks is chance
    nursery.cancel_scope.cancel()


async def test_who_joins_leaves_or_is_written_to_in_between(nursery):
    room = Room(LARGE)
    nursery.start_soon(room.broadcaster.run)
    await settle()
    room.publish("before")
    room.join("late")
    room.leave(0)
    assert room.given[0] == ["before"]
    room.catch_up(1)
    assert room.given[1] == ["before"]
    room.publish("after", excluded=[2])
    await settle()
    assert room.given[0] == ["before"]
    assert room.given[1] == ["before", "after"]
    assert room.given[2] == ["before"]
    assert room.given["late"] == ["after"]
    assert room.given[3] == ["before", "after"]
    nursery.cancel_scope.cancel()


async def test_an_write_now_write_that_is_short_or_fails_is_taken_over_by_the_receiver():
    room = Room(5)
    whole = Message("hello", 0.0).frame(0).wire
    taken = []

    def write(data):
        taken.append(data)
        return len(data)

    def fail(data):
        raise BlockingIOError

    members = room.index.groups["room"].members.values()
    for membership, write_now in zip(members, (write, lambda data: 3, write, fail, write), strict=True):
        membership.set_write_now(write_now)
    room.publish("hello")
    assert taken == [whole] * 3
    assert room.given == {0: [], 1: ["hello"], 2: [], 3: ["hello"], 4: []}
    assert [membership.receiver.written for membership in members] == [None, 3, None, 0, None]
    assert room.broadcaster.deliveries == 5


async def test_two_members_behind_one_socket_that_takes_the_first_message_in_part():
    """Whatever it could take by then, the second one's must not come between the first one's pieces."""

    class Socket(Receiver):
        def __init__(self):
            self.memberships = []
            self.taken = []

        def attach(self, membership):
            self.memberships.append(membership)
            return self.write

        def write(self, data):
            self.taken.append(data)
            return 3 if len(self.taken) == 1 else len(data)

        def offer_batch(self, membership, batch, written=0):
            for membership in self.memberships:
                membership.set_write_now(None)
            self.taken.append(written)

    index, socket = GroupIndex(), Socket()
    broadcaster = Broadcaster(index, {})
    for member in range(3):
        index.add(member, "room", socket)
    broadcaster.deliver("room", Message("hello", 0.0))
    assert socket.taken == [Message("hello", 0.0).frame(0).wire, 3, 0, 0]


async def test_a_member_that_fails_is_logged_and_keeps_nobody_from_the_message(nursery, caplog):
    room = Room(LARGE)
    room.join("broken")
    room.join("last")
    room.publish(1)
    nursery.start_soon(room.broadcaster.run)
    await settle()
    room.publish(2)
    room.catch_up("broken")
    await settle()
    assert room.given["last"] == [1, 2]
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError] * 2
    nursery.cancel_scope.cancel()


async def test_a_group_that_shrinks_during_its_flush(nursery):
    """Regression: the flusher then settled less than had been given, and what was pending was lost."""
    room = Room(LARGE)
    with patch.object(module, "MEMBERS_PER_SLICE", 10):
        nursery.start_soon(room.broadcaster.run)
        await settle()
        room.publish("first")
        while not room.batches:
            await trio.lowlevel.checkpoint()
        assert room.batches < LARGE  # in the middle of it
        room.leave(0)
        room.publish("second")  # small now: written at once
        for member in ("x", "y", "z"):
            room.join(member)
        room.publish("third")  # large again
        await settle()
    assert room.given[0] == ["first"]
    assert room.given[LARGE - 1] == ["first", "second", "third"]
    assert room.given["x"] == ["third"]
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("size", [1, MAX_PENDING_BYTES])
async def test_what_is_pending_is_bounded(nursery, size):
    room = Room(LARGE)
    nursery.start_soon(room.broadcaster.run)
    await settle()
    group = room.index.groups["room"]
    count = 3 * MAX_PENDING_MESSAGES
    for _ in range(count):
        room.publish("x" * size)
        assert len(group.pending) < room.broadcaster.max_pending
        assert group.pending_bytes < room.broadcaster.max_pending_bytes + 2 * size
    await settle()
    assert all(len(given) == count for given in room.given.values())
    nursery.cancel_scope.cancel()


async def test_a_flusher_that_is_cancelled_leaves_nothing_pending():
    room = Room(LARGE)
    with patch.object(module, "MEMBERS_PER_SLICE", 10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(room.broadcaster.run)
            await settle()
            room.publish(1)
            while not room.batches:
                await trio.lowlevel.checkpoint()
            room.publish(2)
            nursery.cancel_scope.cancel()
    assert all(given == [1, 2] for given in room.given.values())
    room.publish(3)  # and without a flusher it goes on
    assert all(given == [1, 2, 3] for given in room.given.values())


async def test_a_flush_of_sockets_that_is_cancelled_is_made_up_for():
    """Some members have been given the first message, some have not, and then there is a second one."""
    with patch.object(groups, "MAX_COHORT_MEMBERS", 10), patch.object(module, "MEMBERS_PER_SLICE", 10):
        room = Room(LARGE)
        for member in range(LARGE):
            room.set_room(member, 9)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(room.broadcaster.run)
            await settle()
            room.publish(1)
            while not room.broadcaster.deliveries:
                await trio.lowlevel.checkpoint()
            assert 0 < room.broadcaster.deliveries < LARGE
            room.publish(2)
            nursery.cancel_scope.cancel()
    assert all(given == [1, 2] for given in room.given.values())
    assert room.batches == 0  # nothing was queued


async def test_many_that_are_left_out_are_given_the_rest_in_slices_too(nursery):
    """Regression: they were given theirs in one go, and everybody else waited."""
    room = Room(LARGE)
    with patch.object(module, "MEMBERS_PER_SLICE", 10):
        nursery.start_soon(room.broadcaster.run)
        await settle()
        room.publish(1)
        room.publish(2, excluded=range(LARGE - 1))
        while not room.batches:
            await trio.lowlevel.checkpoint()
        assert room.batches < LARGE - 1
        await settle()
    assert [room.given[member] for member in range(LARGE)] == [[1]] * (LARGE - 1) + [[1, 2]]
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("first_to_go", [0, 1])
async def test_when_one_of_two_lifespans_ends_the_other_goes_on(nursery, first_to_go):
    """Regression: the other one slept for ever, and large groups got nothing."""
    room = Room(LARGE)
    nurseries = []
    async with trio.open_nursery() as outer:
        for _ in range(2):
            nurseries.append(await outer.start(run_in_a_nursery, room.broadcaster))
            await settle()
        room.publish(1)
        await settle()
        nurseries[first_to_go].cancel_scope.cancel()
        await settle()
        room.publish(2)
        await settle()
        assert all(given == [1, 2] for given in room.given.values())
        nurseries[1 - first_to_go].cancel_scope.cancel()


async def run_in_a_nursery(broadcaster, task_status):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(broadcaster.run)
        task_status.started(nursery)


# ---------------------------------------------------------------- whatever happens

members = st.integers(0, 5)
steps = st.one_of(
    st.tuples(st.just("publish"), st.lists(members, max_size=2)),
    st.tuples(st.just("publish"), st.just([])),
    st.tuples(st.sampled_from(["join", "leave", "write"]), members),
    st.tuples(st.just("wait"), st.integers(1, 6)),
    st.tuples(st.just("flushers"), st.integers(0, 2)),
    st.tuples(st.just("room"), st.tuples(members, st.integers(0, 2))),
)


@settings(max_examples=150)
@given(st.lists(steps, max_size=40))
def test_order_and_completeness_whoever_flushes_when(script):
    """Against a model: what was published since a member joined, without what it was left out of."""

    async def main():
        room = Room()
        owed = {}
        count = 0
        scopes = []
        async with trio.open_nursery() as nursery:
            for action, argument in script:
                if action == "publish":
                    count += 1
                    room.publish(count, argument)
                    for member, messages in owed.items():
                        if member not in argument:
                            messages.append(count)
                elif action == "join" and argument not in owed:
                    room.join(argument)
                    owed[argument] = []
                elif action == "leave" and argument in owed:
                    room.leave(argument)
                    assert room.given[argument] == owed.pop(argument)
                elif action == "write" and argument in owed:
                    room.catch_up(argument)
                    assert room.given[argument] == owed[argument]
                elif action == "room":
                    room.set_room(*argument)
                elif action == "wait":
                    for _ in range(argument):
                        await trio.lowlevel.checkpoint()
                elif action == "flushers":
                    while len(scopes) > argument:
                        scopes.pop().cancel()
                    while len(scopes) < argument:
                        scopes.append(await nursery.start(run_cancellable, room.broadcaster))
                for member, messages in owed.items():
                    given_ = room.given[member]
                    assert given_ == messages[: len(given_)]
            await settle()
            assert {member: room.given[member] for member in owed} == owed
            assert not room.broadcaster.dirty
            nursery.cancel_scope.cancel()

    with (
        patch.object(module, "SMALL_GROUP_MEMBERS", 2),
        patch.object(module, "MEDIUM_GROUP_MEMBERS", 3),
        patch.object(module, "MEMBERS_PER_SLICE", 1),
        patch.object(groups, "MAX_COHORT_MEMBERS", 2),
    ):
        trio.run(main)


async def run_cancellable(broadcaster, task_status):
    with trio.CancelScope() as scope:
        task_status.started(scope)
        await broadcaster.run()


async def test_a_large_group_does_not_wait_for_publishers_that_never_pause(nursery, mock_clock):
    """A busy server's scheduler passes are long, so passes alone bound nothing that a member would notice."""
    room = Room(LARGE)
    nursery.start_soon(room.broadcaster.run)
    await settle()
    room.publish("just now")
    await settle()
    room.given[0].clear()
    waited = 0
    while not room.given[0]:
        room.publish(waited)
        await trio.lowlevel.checkpoint()
        mock_clock.jump(module.MAX_DEFERRAL_SECONDS)
        waited += 1
        assert waited < module.MAX_DEFERRAL_PASSES / 2
    assert waited > 1
    nursery.cancel_scope.cancel()
