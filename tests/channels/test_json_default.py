"""An encoder hook of the application: for direct sends, group sends, messages to one channel and offline queues."""

from decimal import Decimal

import pytest
import trio

from nexios_trio.channels.channel import Channel
from nexios_trio.channels.offline import OfflineQueue
from nexios_trio.exceptions import PayloadError
from nexios_trio.groups.box import ChannelBox
from tests.wire import house, settle

PRICE = {"price": Decimal("1.10")}


@pytest.fixture
async def member():
    async with house(json_default=str) as inside:
        kept = []

        async def endpoint(ws):
            await ws.accept()
            kept.append(Channel(ws))
            await inside.box.add_channel_to_group(kept[0], "room")
            await ws.receive()

        wire = await inside.connect(endpoint)
        yield inside.box, wire, kept[0]


async def test_everything_that_is_sent_goes_through_the_hook(member):
    box, wire, channel = member
    queue = OfflineQueue()
    await channel.send(PRICE)
    await channel.websocket.send_json(PRICE)
    await box.group_send("room", PRICE, save_history=True)
    await box.send_to(channel.uuid, PRICE)
    async with queue.connected("ann", channel):
        await queue.send("ann", PRICE)
        await settle()
    assert wire.json == [{"price": "1.10"}] * 5
    assert [message.payload for message in await box.show_history("room")] == [{"price": "1.10"}]


async def test_a_box_may_have_a_hook_of_its_own():
    box = ChannelBox(json_default=float)
    await box.group_send("room", PRICE, save_history=True)
    assert [message.payload for message in await box.show_history("room")] == [{"price": 1.1}]


async def test_without_a_hook_nothing_is_sent():
    box = ChannelBox()
    with pytest.raises(PayloadError, match="Decimal; see json_default"):
        await box.group_send("room", PRICE, save_history=True)
    await trio.lowlevel.checkpoint()
    assert await box.show_history("room") == []
