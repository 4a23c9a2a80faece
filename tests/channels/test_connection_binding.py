"""A channel's tie to its connection and its boxes."""

import pytest
import trio
from trio.testing import assert_no_checkpoints

from nexios_trio.exceptions import MessageTooBig
from nexios_trio.websockets import Channel, ChannelBox, WebSocketDisconnect, open_channel
from tests.wire import house, settle


async def connect(inside, cls=Channel):
    kept = []

    async def endpoint(ws):
        await ws.accept()
        kept.append(cls(ws))
        await ws.receive()

    wire = await inside.connect(endpoint)
    return wire, kept[0]


async def test_what_no_outbox_holds_is_refused_before_it_is_pushed():
    async with house(outbox_bytes=100) as inside:
        wire, channel = await connect(inside)
        with assert_no_checkpoints(), pytest.raises(MessageTooBig, match="an outbox holds 100"):
            channel.push("x" * 99)  # with its quotes one byte too many
        channel.push("x" * 98)
        await settle()
        assert len(wire.messages) == 1
        assert wire.closes == []


async def test_release_is_synchronous_final_and_may_be_repeated():
    told = []
    async with house() as inside:
        _, channel = await connect(inside)
        for _ in range(2):
            channel.on_release(told.append)
        inside.box.join_nowait(channel, "room")
        with assert_no_checkpoints():
            channel.release()
            channel.release()
        assert told == [channel]
        assert channel.is_over
        assert channel.connected  # the connection itself goes on
        assert inside.box.statistics().channels == 0
        with pytest.raises(WebSocketDisconnect):
            channel.check_joinable()


async def test_a_callback_that_fails_at_the_release_leaves_nobody_behind(caplog):
    told = []

    def fail(channel):
        raise ZeroDivisionError

    async with house() as inside:
        wire, channel = await connect(inside)
        second = Channel(channel.websocket)
        for one in (channel, second):
            one.on_release(fail)
            one.on_release(told.append)
            inside.box.join_nowait(one, "room")
        wire.leave()
        await wire.done.wait()
        assert told == [channel, second]
        assert inside.box.statistics().groups == 0
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError] * 2


async def test_leaving_all_groups_does_not_forbid_to_join_again():
    async with house() as inside:
        _, channel = await connect(inside)
        inside.box.join_nowait(channel, "room")
        with assert_no_checkpoints():
            channel.leave_groups()
        assert inside.box.size_of("room") == 0
        channel.check_joinable()
        inside.box.join_nowait(channel, "room")


async def test_one_whose_peer_has_left_may_still_join_until_its_handler_has_run_out():
    """It is a member until on_disconnect is over; nothing is left behind."""
    joined = []

    async def endpoint(ws):
        await ws.accept()
        channel = Channel(ws)
        await ws.receive()
        joined.append(await ChannelBox.add_channel_to_group(channel, "room"))

    async with house() as inside:
        wire = await inside.connect(endpoint)
        wire.leave()
        await settle()
        assert inside.box.statistics().groups == 0
    assert len(joined) == 1


async def test_shut_ends_the_connection_whatever_close_does(autojump_clock):
    class Hanging(Channel):
        async def close(self, code=1000, reason=None):
            await trio.sleep_forever()

    async with house(write_timeout=5, close_timeout=3) as inside:
        wire, channel = await connect(inside, Hanging)
        start = trio.current_time()
        await channel.shut(4000, "bye")
        assert trio.current_time() - start == 8
        assert not channel.connected
        assert channel.websocket.end.code == 4000
        assert wire.closes == []  # it was killed


async def test_a_channel_made_during_accept_is_wired_to_what_accept_brought():
    async def endpoint(ws):
        channel = Channel(ws)
        await ChannelBox.add_channel_to_group(channel, "room")
        await ChannelBox.group_send("room", "before")
        async with open_channel(ws):
            await ChannelBox.group_send("room", "after")

    async with house() as inside:
        wire = await inside.connect(endpoint)
    assert wire.json == ["before", "after"]
