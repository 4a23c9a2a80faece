"""`authorize`: who may join which group, and send to it."""

import logging

import pytest
import trio

from nexios_trio import Channel, ChannelBox, NexiosApp, NotAuthorized, Settings
from nexios_trio.connections.runtime import Runtime
from nexios_trio.websockets import open_channel
from tests.wire import house, settle


def asking(answer):
    """A box that writes down what it asks."""
    asked = []

    def authorize(channel, group, action):
        asked.append((channel, group, action))
        return answer(channel, group, action) if callable(answer) else answer

    return ChannelBox(authorize=authorize), asked


async def test_joins_and_sends_are_asked_about():
    box, asked = asking(True)
    channels = []

    async def handler(ws):
        async with open_channel(ws) as channel, channel.member("a"):
            channels.append(channel)
            await ChannelBox.group_send("a", "hello")

    async with house(box) as here:
        wire = await here.connect(handler)
    assert asked == [(channels[0], "a", "join"), (channels[0], "a", "send")]
    assert wire.json == ["hello"]


@pytest.mark.parametrize("refused", ["join", "send"])
async def test_no_closes_with_1008_and_is_logged_with_its_fields(refused, caplog):
    box, _ = asking(lambda channel, group, action: action != refused)

    async def handler(ws):
        async with open_channel(ws) as channel, channel.member("a"):
            await ChannelBox.group_send("a", "hello")

    async with house(box) as here:
        with caplog.at_level(logging.INFO):
            wire = await here.connect(handler, path="/secret")
        assert box.statistics().groups == 0
    assert wire.closes == [(1008, f"not allowed to {refused}")]  # names of groups are for the log
    assert wire.messages == []
    [record] = [one for one in caplog.records if one.name == "nexios_trio.box"]
    assert (record.action, record.group, record.path, record.client) == (refused, "a", "/secret", "192.0.2.7")
    assert record.connection


async def test_it_may_be_caught_and_only_true_is_yes():
    box, _ = asking(lambda channel, group, action: {"yes": True, "maybe": 1, "none": None}[group])
    refused = []

    async def handler(ws):
        async with open_channel(ws) as channel:
            for group in ("yes", "maybe", "none"):
                try:
                    await box.add_channel_to_group(channel, group)
                except NotAuthorized as error:
                    refused.append((error.action, error.group))

    async with house(box) as here:
        await here.connect(handler)
    assert refused == [("join", "maybe"), ("join", "none")]


async def test_it_may_be_async_and_its_errors_let_nobody_in():
    async def authorize(channel, group, action):
        await trio.lowlevel.checkpoint()
        return channel.nonsense

    box = ChannelBox(authorize=authorize)

    async def handler(ws):
        async with open_channel(ws) as channel:
            await box.add_channel_to_group(channel, "a")

    async with house(box) as here:
        wire = await here.connect(handler)
    assert [code for code, _ in wire.closes] == [1011]


async def test_tasks_of_a_connection_act_for_it_and_tasks_of_the_application_for_nobody():
    box, asked = asking(False)
    runtimes = []

    async def send():
        try:
            await ChannelBox.group_send("a", 1)
        except NotAuthorized:
            return

    async def handler(ws):
        await ws.accept()
        ws.start_soon(send)
        runtimes[0].start_soon(send)
        await ws.receive()

    async with house(box) as here:
        runtimes.append(here.runtime)
        await here.connect(handler)
    assert asked == [(None, "a", "send")]


def test_where_it_can_be_given():
    assert NexiosApp(authorize=lambda channel, group, action: True).box._authorize is not None
    with pytest.raises(TypeError, match="authorize belongs to the box"):
        NexiosApp(box=ChannelBox(), authorize=lambda channel, group, action: True)
    for wrong in (1, lambda: True, lambda channel: True):
        with pytest.raises(TypeError, match="authorize is a function"):
            ChannelBox(authorize=wrong)


async def test_a_message_that_fits_in_no_outbox_is_refused_before_anybody_is_asked_or_sent_to():
    box, asked = asking(True)
    Runtime(Settings(outbox_bytes=100), box)
    with pytest.raises(ValueError, match="a group message of 200 bytes: outboxes hold 100"):
        await box.group_send("a", "x" * 198)
    assert asked == []
    Runtime(Settings(), box)  # another application on the same box: the lowest bound holds
    with pytest.raises(ValueError, match="100"):
        await box.group_send("a", "x" * 198)


async def test_send_to_refuses_it_too():
    channels: list[Channel] = []

    async def handler(ws):
        async with open_channel(ws) as channel:
            channels.append(channel)
            await ws.receive()

    async with house(outbox_bytes=100) as here:
        wire = await here.connect(handler)
        with pytest.raises(ValueError, match="a message of 200 bytes"):
            await here.box.send_to(channels[0].uuid, "x" * 198)
        assert await here.box.send_to(channels[0].uuid, "y")
        await settle()
        assert wire.json == ["y"]
        assert wire.closes == []
