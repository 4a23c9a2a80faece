"""Who is connected and in which group: synchronous, and consistent whatever comes in between."""

from uuid import UUID, uuid4

import pytest
import trio
from trio.testing import assert_no_checkpoints

from nexios_trio.engines.memory import MemoryEngine
from nexios_trio.groups.memberships import Memberships, as_uuid, excluded_ids
from nexios_trio.websockets import Channel, ChannelAddStatusEnum, ChannelRemoveStatusEnum
from tests.wire import house, settle


@pytest.fixture
async def inside():
    async with house() as inside:
        yield inside


async def connect(inside, count=1, **options):
    channels, wires = [], []

    async def endpoint(ws):
        await ws.accept()
        channels.append(Channel(ws, **options))
        await ws.receive()
        while True:
            await ws.receive()

    for _ in range(count):
        wires.append(await inside.connect(endpoint))
    return wires, channels


async def test_everything_is_synchronous(inside):
    _, (channel,) = await connect(inside)
    roster = Memberships(MemoryEngine(), 128)
    with assert_no_checkpoints():
        assert roster.join_watched(channel, "room") is ChannelAddStatusEnum.CHANNEL_ADDED
        assert roster.join_watched(channel, "room") is ChannelAddStatusEnum.CHANNEL_EXIST
        assert roster.find(channel.uuid) is channel
        assert (roster.size_of("room"), roster.size_of("nowhere"), roster.channels()) == (1, 0, [channel])
        assert roster.leave_group(channel, "room") is ChannelRemoveStatusEnum.GROUP_REMOVED
        roster.join_watched(channel, "a")
        roster.join_watched(channel, "b")
        roster.leave_all(channel)
        assert roster.channels() == [channel]
        roster.forget(channel)
        assert roster.channels() == []
        roster.forget(channel)  # twice is once


async def test_every_roster_that_knows_a_channel_forgets_it_when_its_connection_ends(inside):
    (wire,), (channel,) = await connect(inside)
    rosters = [Memberships(MemoryEngine(), 128), Memberships(MemoryEngine(), 128)]
    for roster in rosters:
        roster.join_watched(channel, "room")
    wire.leave()
    await settle()
    for roster in rosters:
        assert (roster.channels(), roster.size_of("room"), roster.find(channel.uuid)) == ([], 0, None)


async def test_one_whose_peer_has_left_is_not_found_any_more(inside):
    found = []

    async def endpoint(ws):
        await ws.accept()
        channel = Channel(ws)
        inside.box.join_nowait(channel, "room")
        found.append(inside.box.find(channel.uuid))
        await ws.receive()
        found.append(inside.box.find(channel.uuid))
        found.append(inside.box.size_of("room"))  # but still a member

    wire = await inside.connect(endpoint)
    wire.leave()
    await settle()
    assert found[1:] == [None, 1]


async def test_two_channels_with_one_id_are_refused(inside):
    _, (first, second) = await connect(inside, 2)
    own, second.uuid = second.uuid, first.uuid
    roster = Memberships(MemoryEngine(), 128)
    roster.track(first)
    with pytest.raises(ValueError, match="another channel has the id"):
        roster.join_watched(second, "room")
    roster.forget(second)
    assert roster.find(first.uuid) is first
    second.uuid = own


async def test_expiry_without_a_timers_task(autojump_clock):
    async with house(running=False) as inside:
        _, (channel,) = await connect(inside, expires=5)
        roster = Memberships(MemoryEngine(), 128)
        roster.join_watched(channel, "room")
        await trio.sleep(6)
        assert roster.timers.fire_due(trio.current_time()) == 1
        assert roster.size_of("room") == 0
        assert roster.find(channel.uuid) is channel  # it is connected all the same
        channel.touch()
        roster.join_watched(channel, "room")
        await trio.sleep(6)
        assert roster.timers.fire_due(trio.current_time()) == 1
        assert roster.size_of("room") == 0


def test_ids():
    uuid = uuid4()
    assert as_uuid(uuid) is uuid
    assert as_uuid(str(uuid)) == uuid
    for wrong in ("", "x", None, 7, object()):
        assert as_uuid(wrong) == UUID(int=0)


def test_whom_to_leave_out():
    class Named:
        uuid = uuid4()

    other = uuid4()
    assert excluded_ids([]) == excluded_ids(()) == frozenset()
    assert excluded_ids(Named()) == {Named.uuid}
    assert excluded_ids([Named(), str(other)]) == {Named.uuid, other}
    assert excluded_ids({Named(): 1}) == {Named.uuid}
    for wrong in ("x", 7, [None], ["x"], {"type": "websocket"}):
        with pytest.raises(ValueError, match="exclude takes channels and their ids"):
            excluded_ids(wrong)
