"""Handles on groups, and registries of one's own."""

from uuid import UUID

import pytest
from trio.testing import assert_checkpoints

from nexios_trio.groups.current_box import use_box
from nexios_trio.websockets import (
    Channel,
    ChannelAddStatusEnum,
    ChannelBox,
    ChannelGroup,
    ChannelRegistry,
    ChannelRemoveStatusEnum,
    GroupSendStatusEnum,
    WebSocketDisconnect,
)
from tests.wire import house, settle


@pytest.fixture
async def inside():
    async with house() as inside:
        with use_box(inside.box):
            yield inside


async def connect(inside, kind="json", registry=None):
    kept = []

    async def endpoint(ws):
        await ws.accept()
        kept.append(Channel(ws, kind))
        if registry is not None:
            await registry.add(kept[0])
        await ws.receive()

    wire = await inside.connect(endpoint)
    return wire, kept[0]


# ---------------------------------------------------------------- groups


async def test_a_group_is_a_handle_two_of_one_name_share_members(inside):
    _, channel = await connect(inside)
    one, two = ChannelGroup("chat"), ChannelGroup("chat")
    with assert_checkpoints():
        assert await one.add(channel) is ChannelAddStatusEnum.CHANNEL_ADDED
    assert (len(one), len(two), len(ChannelGroup("other"))) == (1, 1, 0)
    with assert_checkpoints():
        assert await two.channels() == [channel]
    assert await ChannelBox.show_groups().get("chat") == {channel: channel.uuid}
    with assert_checkpoints():
        assert await two.remove(channel) is ChannelRemoveStatusEnum.GROUP_REMOVED
    assert len(one) == 0
    assert await one.channels() == []
    assert repr(one) == "<ChannelGroup chat>"


async def test_a_group_sends_in_every_way(inside):
    wire, channel = await connect(inside, "text")
    group = ChannelGroup("chat")
    with assert_checkpoints():
        assert await group.send({"a": 1}) is GroupSendStatusEnum.NO_SUCH_GROUP
    await group.add(channel)
    assert await group.send({"a": 1}, save_history=True) is GroupSendStatusEnum.GROUP_SEND
    await group.send("nobody", exclude=channel)
    await group.send_json({"b": [2]})
    await group.send_text("hi")
    await group.send_bytes(b"\xff")
    await settle()
    assert wire.messages == ['{"a":1}', '{"b":[2]}', "hi", b"\xff"]
    assert [message.payload for message in await ChannelBox.show_history("chat")] == [{"a": 1}]


@pytest.mark.parametrize(
    ("method", "wrong"), [("send_text", b"x"), ("send_text", {}), ("send_bytes", "x"), ("send_json", b"x")]
)
async def test_a_group_is_told_what_it_sends(method, wrong):
    with pytest.raises(TypeError, match=method):
        await getattr(ChannelGroup("chat"), method)(wrong)


@pytest.mark.parametrize("name", ["", "no spaces", None])
def test_a_group_has_a_name(name):
    with pytest.raises(ValueError, match="group name"):
        ChannelGroup(name)


# ---------------------------------------------------------------- registries


async def test_a_registry_knows_channels_by_id(inside):
    _, first = await connect(inside)
    _, second = await connect(inside)
    registry, other = ChannelRegistry(), ChannelRegistry()
    for channel in (first, second, first):
        with assert_checkpoints():
            await registry.add(channel)
    with assert_checkpoints():
        assert await registry.get(first.uuid) is first
    assert await registry.get(str(second.uuid)) is second
    with assert_checkpoints():
        assert await registry.get_all() == [first, second]
    assert len(registry) == 2
    assert await other.get_all() == []  # independent
    with assert_checkpoints():
        await registry.remove(first)
    await registry.remove(first)
    assert await registry.get(first.uuid) is None
    assert await registry.get_all() == [second]


@pytest.mark.parametrize("unknown", [UUID(int=7), str(UUID(int=7)), "nonsense", "", None, 7])
async def test_an_unknown_id_is_none(unknown):
    assert await ChannelRegistry().get(unknown) is None


async def test_a_registry_holds_channels():
    with pytest.raises(TypeError, match="holds Channel objects, not str"):
        await ChannelRegistry().add("channel")


async def test_a_channel_leaves_its_registries_when_its_connection_ends(inside):
    registries = [ChannelRegistry(), ChannelRegistry()]
    wire, channel = await connect(inside, registry=registries[0])
    await registries[1].add(channel)
    await registries[1].remove(channel)
    await registries[1].add(channel)
    wire.leave()
    await settle()
    assert [len(registry) for registry in registries] == [0, 0]
    assert channel._releases == ()


async def test_a_channel_that_is_over_is_not_taken(inside):
    wire, channel = await connect(inside)
    wire.leave()
    await settle()
    registry = ChannelRegistry()
    with pytest.raises(WebSocketDisconnect):
        await registry.add(channel)
    assert len(registry) == 0
