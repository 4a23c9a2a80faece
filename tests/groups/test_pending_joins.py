"""`join_nowait` where the engine has to be asked: pending, until the group is watched."""

import pytest

from nexios_trio.exceptions import NotAuthorized
from nexios_trio.websockets import Channel, ChannelAddStatusEnum, ChannelBox, ChannelRemoveStatusEnum, SecureChannel
from tests.groups.test_engine_client import joiners
from tests.wire import house, settle

ADDED, EXIST = ChannelAddStatusEnum.CHANNEL_ADDED, ChannelAddStatusEnum.CHANNEL_EXIST
PENDING = ChannelAddStatusEnum.CHANNEL_PENDING


async def test_delivery_begins_when_the_watch_is_acknowledged():
    async with joiners(2) as (box, engine, (one, two), wires):
        assert box.join_nowait(one, "room") is PENDING
        assert box.join_nowait(one, "room") is PENDING  # twice is once
        assert not box.is_member(one, "room")
        box.post("room", "too early")
        engine.answer()
        assert box.is_member(one, "room")
        assert box.join_nowait(one, "room") is EXIST
        assert box.join_nowait(two, "room") is EXIST  # it is watched
        box.post("room", "now")
        await settle()
        assert [wire.json for wire in wires] == [["now"], ["now"]]
        assert engine.calls == ["watch room"]


async def test_with_one_process_it_is_there_at_once():
    channels = []

    async def endpoint(ws):
        await ws.accept()
        channels.append(Channel(ws))
        await ws.receive()

    async with house() as inside:
        await inside.connect(endpoint)
        with inside.runtime.activate():
            assert ChannelBox.join_nowait(channels[0], "room") is ADDED
            assert ChannelBox.join_nowait(channels[0], "room") is EXIST
            assert ChannelBox.leave_nowait(channels[0], "room") is ChannelRemoveStatusEnum.GROUP_REMOVED


async def test_a_failure_ends_the_connection():
    async with joiners(2) as (box, engine, (one, _), (wire, other)):
        assert box.join_nowait(one, "room") is PENDING
        engine.refuse()
        await settle()
        assert wire.closes == [(1013, "a group cannot be joined now")]
        assert other.closes == []
        assert box.size_of("room") == 0


async def test_leaving_while_it_is_pending():
    async with joiners(1) as (box, engine, (channel,), _):
        assert box.join_nowait(channel, "room") is PENDING
        assert box.leave_nowait(channel, "room") is ChannelRemoveStatusEnum.CHANNEL_REMOVED
        assert engine.calls == ["watch room", "unwatch room"]
        engine.answer()
        assert not box.is_member(channel, "room")
        assert box.join_nowait(channel, "room") is PENDING
        engine.answer()
        assert box.is_member(channel, "room")


@pytest.mark.parametrize("how", ["leaves", "flush"])
async def test_one_who_is_gone_joins_nothing(how):
    async with joiners(1) as (box, engine, (channel,), (wire,)):
        assert box.join_nowait(channel, "room") is PENDING
        if how == "leaves":
            wire.leave()
            await settle()
        else:
            await box.flush_groups()
        assert engine.calls == ["watch room", "unwatch room"]
        engine.answer()
        assert box.size_of("room") == 0


async def test_what_is_pending_counts():
    async with joiners(1, max_groups_per_channel=2) as (box, engine, (channel,), _):
        box.join_nowait(channel, "a")
        engine.answer()
        box.join_nowait(channel, "b")
        for _ in range(2):
            with pytest.raises(ValueError, match="may be in 2 groups"):
                box.join_nowait(channel, "c")
            engine.answer()


async def test_somebody_else_joins_nothing_of_the_former_user_s():
    class Locked(SecureChannel):
        async def verify_token(self, token):
            return token

    async with joiners(1) as (box, engine, (plain,), _):
        channel = Locked(plain.websocket)
        await channel.authenticate("ann")
        assert box.join_nowait(channel, "room") is PENDING
        await channel.authenticate("bob")
        engine.answer()
        assert not box.is_member(channel, "room")


@pytest.mark.parametrize("wrong", ["", None, 7])
async def test_bad_names(wrong):
    async with joiners(1) as (box, _, (channel,), _):
        with pytest.raises(ValueError, match="group name"):
            box.join_nowait(channel, wrong)
        with pytest.raises(TypeError, match="only a Channel joins a group"):
            box.join_nowait(object(), "room")


@pytest.mark.parametrize(("answer", "error"), [(True, None), (False, NotAuthorized), (1, NotAuthorized)])
async def test_who_may_join_is_asked(answer, error):
    asked, seen = [], []

    def authorize(channel, group, action):
        asked.append((group, action))
        return answer

    async def endpoint(ws):
        await ws.accept()
        channel = Channel(ws)
        try:
            seen.append(ChannelBox.join_nowait(channel, "room"))
        except Exception as problem:
            seen.append(type(problem))

    async with house(ChannelBox(authorize=authorize)) as inside:
        await inside.connect(endpoint)
    assert (asked, seen) == ([("room", "join")], [error or ADDED])


async def test_an_answer_that_has_to_be_awaited_is_none():
    seen = []

    async def authorize(channel, group, action):
        return True

    async def endpoint(ws):
        await ws.accept()
        with pytest.raises(TypeError, match="join_nowait cannot ask it: await add_channel_to_group instead"):
            ChannelBox.join_nowait(Channel(ws), "room")
        seen.append("refused")

    async with house(ChannelBox(authorize=authorize)) as inside:
        await inside.connect(endpoint)
    assert seen == ["refused"]
