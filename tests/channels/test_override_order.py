"""Group messages that go through an override of `send`, and direct sends: in the order in which they were sent."""

from contextlib import asynccontextmanager

import pytest
import trio

from nexios_trio.channels.channel import Channel
from nexios_trio.groups.box import ChannelBox
from tests.wire import house, settle


class Plain(Channel):
    async def send(self, payload):
        await super().send(payload)


class Inner(Channel):
    async def _send(self, payload):
        await super()._send(payload)


class Both(Plain, Inner):
    async def send(self, payload):
        await trio.lowlevel.checkpoint()
        await super().send(payload)


class Mixin:
    async def send(self, payload):
        await super().send(payload)


class Mixed(Mixin, Channel):
    pass


class Slow(Channel):
    async def send(self, payload):
        await trio.sleep(0.01)
        await super().send(payload)


class Locked(Channel):
    """One lock for all that it sends; a direct send must not wait inside it for those who wait for it."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.lock = trio.Lock()

    async def send(self, payload):
        async with self.lock:
            await trio.sleep(0.01)
            await self.send_json(payload)


class Helped(Channel):
    """Sends from a task of its own."""

    async def send(self, payload):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(super().send, payload)


CLASSES = [Plain, Inner, Both, Mixed, Slow, Locked, Helped]


@asynccontextmanager
async def member(cls, **settings):
    kept = []

    async def endpoint(ws):
        await ws.accept()
        kept.append(cls(ws))
        await ChannelBox.add_channel_to_group(kept[0], "room")
        await ws.receive()

    async with house(**settings) as inside:
        wire = await inside.connect(endpoint)
        yield inside, wire, kept[0]


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("way", ["send", "send_json", "websocket", "send_to"])
async def test_one_task_sends_to_the_group_and_directly(cls, way, autojump_clock):
    async with member(cls) as (inside, wire, channel):
        expected = []
        for number in range(12):
            if number % 3:
                await inside.box.group_send("room", number)
            elif way == "send_to":
                await inside.box.send_to(channel.uuid, number)
            else:
                await (channel.websocket.send_json if way == "websocket" else getattr(channel, way))(number)
            expected.append(number)
        await trio.sleep(1)
        assert wire.json == expected


@pytest.mark.parametrize("cls", CLASSES)
async def test_many_tasks_at_a_time_lose_nothing_and_wait_for_no_deadline(cls, autojump_clock):
    async with member(cls, write_timeout=10) as (inside, wire, channel):
        begin = trio.current_time()
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(inside.box.group_send, "room", number)
                nursery.start_soon(channel.send, 100 + number)
        await settle()
        assert trio.current_time() - begin < 5
        await trio.sleep(1)
        assert sorted(wire.json) == [*range(20), *range(100, 120)]


async def test_two_overrides_that_send_to_each_other_do_not_wait_for_each_other(autojump_clock):
    channels = []

    class Echoing(Channel):
        async def send(self, payload):
            await super().send(payload)
            if payload < 10:
                others = [channel for channel in channels if channel is not self]
                await others[0].send(payload + 10)

    async def endpoint(ws):
        await ws.accept()
        channels.append(Echoing(ws))
        await ChannelBox.add_channel_to_group(channels[-1], "room")
        await ws.receive()

    async with house(write_timeout=10) as inside:
        wires = [await inside.connect(endpoint) for _ in range(2)]
        begin = trio.current_time()
        for number in range(3):
            await inside.box.group_send("room", number)
        await settle()
        assert trio.current_time() - begin < 5
        for wire in wires:
            assert sorted(wire.json) == [0, 1, 2, 10, 11, 12]


async def test_a_direct_send_waits_for_an_override_that_hangs_no_longer_than_a_write_may_take(autojump_clock):
    class Hanging(Channel):
        async def send(self, payload):
            if payload == "hang":
                await trio.sleep_forever()
            await super().send(payload)

    async with member(Hanging, write_timeout=3) as (inside, wire, channel):
        await inside.box.group_send("room", "hang")
        await settle()
        begin = trio.current_time()
        await channel.send("direct")
        assert trio.current_time() - begin == pytest.approx(3)
        await settle()
        assert wire.json == ["direct"]


async def test_a_direct_send_that_waits_can_be_cancelled_and_sends_nothing(autojump_clock):
    async with member(Slow) as (inside, wire, channel):
        await inside.box.group_send("room", 1)
        with trio.move_on_after(0.001) as scope:
            await channel.send_json(2)
        assert scope.cancelled_caught
        await trio.sleep(1)
        assert wire.json == [1]
