"""How long a group send lets the writers of slow members catch up: a few milliseconds, and not a cancelled caller."""

import pytest
import trio

from nexios_trio.channels.channel import Channel
from nexios_trio.groups import broadcast as module
from nexios_trio.groups.box import ChannelBox
from nexios_trio.groups.results import GroupSendStatusEnum
from nexios_trio.pubsub.group import Receiver
from tests.wire import house, settle


class Steady(Receiver):
    """A backlog that is always high, and always gets on."""

    is_high = True

    def __init__(self):
        self.looked_at = 0

    @property
    def taken(self):
        self.looked_at += 1
        return self.looked_at

    def offer_batch(self, membership, batch, written=0):
        return self


def steady(box, members):
    receivers = [Steady() for _ in range(members)]
    for number, receiver in enumerate(receivers):
        box._index.add(number, "room", receiver)
    box.engine_client.joined("room")
    return receivers


class BusyClock(trio.abc.Clock):
    """Whoever looks at it finds that a millisecond has passed: a busy server's scheduler pass."""

    def __init__(self):
        self.now = 0.0

    def start_clock(self):
        pass

    def current_time(self):
        self.now += 0.001
        return self.now

    def deadline_to_sleep_time(self, deadline):
        return 0


@pytest.mark.parametrize("members", [1, 20, 100])
def test_steady_but_slow_members_hold_a_publisher_for_five_milliseconds_at_most(members):
    async def main():
        box = ChannelBox()
        steady(box, members)
        passes = 0

        async def others():
            nonlocal passes
            while True:
                passes += 1
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(others)
            await trio.lowlevel.checkpoint()
            for _ in range(3):
                before = passes
                assert await box.group_send("room", 1) is GroupSendStatusEnum.GROUP_SEND
                assert passes - before <= 8
            nursery.cancel_scope.cancel()

    trio.run(main, clock=BusyClock())


async def test_a_caller_who_is_cancelled_while_writers_catch_up_returns_at_once():
    box = ChannelBox()
    [receiver] = steady(box, 1)
    scope = trio.CancelScope()
    statuses = []

    class Cancelling(Steady):
        def offer_batch(self, membership, batch, written=0):
            scope.cancel()
            return self

    box._index.add("canceller", "room", Cancelling())
    box.engine_client.joined("room")
    with scope:
        statuses.append(await box.group_send("room", 1))
        seen = receiver.looked_at
        assert scope.cancel_called
        await trio.lowlevel.checkpoint()
    assert statuses == [GroupSendStatusEnum.GROUP_SEND]  # it was published, and the caller is told
    assert scope.cancelled_caught  # by the next checkpoint
    assert seen <= 2


async def test_a_deadline_that_passes_while_writers_catch_up_is_told_by_the_next_checkpoint():
    box = ChannelBox()
    steady(box, 1)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel_soon, scope)
            status = await box.group_send("room", 1)
            assert status is GroupSendStatusEnum.GROUP_SEND
            assert scope.cancel_called
            await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught


async def cancel_soon(scope):
    await trio.lowlevel.checkpoint()
    scope.cancel()


async def test_a_cancelled_caller_has_sent_nothing():
    box = ChannelBox()
    with trio.CancelScope() as scope:
        scope.cancel()
        await box.group_send("room", 1, save_history=True)
    assert await box.show_history("room") == []


async def test_a_burst_to_readers_who_keep_up_drops_nobody():
    async def endpoint(ws):
        await ws.accept()
        await ChannelBox.add_channel_to_group(Channel(ws), "room")
        await ws.receive()

    async with house(outbox_messages=16) as inside:
        wires = [await inside.connect(endpoint) for _ in range(40)]
        for number in range(500):
            await inside.box.group_send("room", number)
        await settle()
        assert all(wire.json == list(range(500)) for wire in wires)
    assert inside.box.statistics().undelivered == 0


# ---------------------------------------------------------------- exclude


class Counting:
    """A member that counts how often it is compared."""

    compared = 0

    def __hash__(self):
        return id(self)

    def __eq__(self, other):
        Counting.compared += 1
        return self is other


@pytest.mark.parametrize("members", [200, 2000])
def test_leaving_many_out_takes_no_more_than_one_look_at_each(members):
    from nexios_trio.core.message import Message
    from nexios_trio.pubsub.index import GroupIndex

    index = GroupIndex()
    broadcast = module.Broadcaster(index, {})
    everybody = [Counting() for _ in range(members)]
    for member in everybody:
        index.add(member, "room")
    Counting.compared = 0
    group = index.groups["room"]
    group.publish(Message(1, 0.0), frozenset(everybody[1:]))
    broadcast.flush(group)
    assert Counting.compared <= 4 * members


async def test_a_box_leaves_many_out():
    kept = []

    async def endpoint(ws):
        await ws.accept()
        kept.append(Channel(ws))
        await ChannelBox.add_channel_to_group(kept[-1], "room")
        await ws.receive()

    async with house() as inside:
        wires = [await inside.connect(endpoint) for _ in range(50)]
        await inside.box.group_send("room", 1, exclude=kept[1:])
        await inside.box.group_send("room", 2, exclude=[channel.uuid for channel in kept[:1]])
        await settle()
        assert [wire.json for wire in wires] == [[1]] + [[2]] * 49
