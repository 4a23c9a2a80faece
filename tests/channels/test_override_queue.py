"""Group messages through an override of `send`: all of them, in order, in a task of the channel's own connection."""

import logging

import pytest
import trio

from nexios_trio.core.lifecycle import Cause
from nexios_trio.websockets import Channel, ChannelBox
from tests.wire import house, settle


class Shouting(Channel):
    async def send(self, payload):
        await super().send(f"{payload}!")


class Quiet(Channel):
    """Overrides the inner one."""

    async def _send(self, payload):
        await super()._send(f"({payload})")


class Failing(Channel):
    async def send(self, payload):
        if payload == "bad":
            raise ZeroDivisionError
        await super().send(payload)


class Gated(Channel):
    """Sends when it is told to."""

    gate: trio.Event

    async def send(self, payload):
        await self.gate.wait()
        await super().send(payload)


def member(cls, kept=None, after=None):
    async def endpoint(ws):
        await ws.accept()
        channel = cls(ws)
        if kept is not None:
            kept.append(channel)
        await ChannelBox.add_channel_to_group(channel, "room")
        if after is not None:
            await after(channel)
        await ws.receive()

    return endpoint


@pytest.mark.parametrize(("cls", "expected"), [(Shouting, "hi!"), (Quiet, "(hi)"), (Channel, "hi")])
async def test_groups_send_through_the_override(cls, expected):
    kept = []
    async with house() as inside:
        wire = await inside.connect(member(cls, kept))
        await inside.box.group_send("room", "hi")
        await inside.box.send_to(kept[0].uuid, "hi")
        await settle()
        assert wire.json == [expected] * 2


async def test_messages_stay_in_order_in_groups_of_any_size():
    async with house() as inside:
        wires = [await inside.connect(member(Shouting if number % 2 else Channel)) for number in range(40)]
        for number in range(20):
            await inside.box.group_send("room", number)
        await settle()
        for number, wire in enumerate(wires):
            assert wire.json == ([f"{n}!" for n in range(20)] if number % 2 else list(range(20)))


async def test_the_sender_does_not_wait_for_a_slow_override():
    Gated.gate = trio.Event()
    async with house() as inside:
        slow = await inside.connect(member(Gated))
        fast = await inside.connect(member(Channel))
        for number in range(5):
            await inside.box.group_send("room", number)
        await settle()
        assert (slow.json, fast.json) == ([], list(range(5)))
        Gated.gate.set()
        await settle()
        assert slow.json == list(range(5))


@pytest.mark.parametrize("limits", [{"outbox_messages": 3}, {"outbox_bytes": 10}])
async def test_an_override_that_is_too_slow_is_disconnected(limits):
    Gated.gate = trio.Event()
    kept = []
    async with house(overflow="drop_oldest", **limits) as inside:
        slow = await inside.connect(member(Gated, kept))
        fast = await inside.connect(member(Channel))
        for number in range(6):
            await inside.box.group_send("room", f"{number:03}")
            await settle()
        assert kept[0].websocket.end.cause is Cause.OVERFLOW
        assert slow.closes == [(1013, "too slow")]
        assert inside.box.size_of("room") == 1
        assert len(fast.json) == 6
        assert inside.box.statistics().undelivered >= 3
        Gated.gate.set()


async def test_a_failing_override_is_reported_and_goes_on(caplog):
    errors = []

    async def listen(channel):
        @channel.on_error
        async def note(channel, error):
            errors.append(type(error))

    async with house() as inside:
        wire = await inside.connect(member(Failing, after=listen))
        for payload in ("1", "bad", "2"):
            await inside.box.group_send("room", payload)
        await settle()
        assert wire.json == ["1", "2"]
    assert errors == [ZeroDivisionError]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert inside.box.statistics().undelivered == 1


async def test_the_override_runs_in_the_connection_of_its_channel(nursery):
    tasks = []

    class Noting(Channel):
        async def send(self, payload):
            tasks.append(trio.lowlevel.current_task())
            await super().send(payload)

    async with house() as inside:
        await inside.connect(member(Noting))
        await inside.box.group_send("room", 1)
        await inside.box.group_send("room", 2)
        await settle()
    assert tasks[0] is tasks[1]
    assert tasks[0] is not trio.lowlevel.current_task()


async def test_no_task_runs_until_a_group_message_comes():
    async with house() as inside:
        await inside.connect(member(Channel))
        plain = trio.lowlevel.current_statistics().tasks_living
        await inside.connect(member(Shouting))
        assert trio.lowlevel.current_statistics().tasks_living == plain + 3  # connection, reader, writer


async def test_messages_from_before_accept_reach_the_override_at_once():
    """QueuedChannel of document 004 keeps what is sent while the client is not connected."""

    class Queued(Channel):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.message_queue = []

        async def send(self, message):
            if not self.connected:
                self.message_queue.append(message)
            else:
                await super().send(message)

        async def process_queue(self):
            while self.message_queue and self.connected:
                await super().send(self.message_queue.pop(0))

    opened = trio.Event()

    async def endpoint(ws):
        channel = Queued(ws)
        await ChannelBox.add_channel_to_group(channel, "room")
        await opened.wait()
        await channel.accept()
        await channel.process_queue()
        await ws.receive()

    async with house() as inside:
        wire = await inside.connect(endpoint)
        for number in range(3):
            await inside.box.group_send("room", number)
        await settle()
        opened.set()
        await settle()
        await inside.box.group_send("room", 3)
        await settle()
        assert wire.json == [0, 1, 2, 3]


# ---------------------------------------------------------------- ending


@pytest.mark.parametrize("way", ["close", "return"])
async def test_what_groups_sent_goes_out_before_the_close_frame(way):
    async def endpoint(ws):
        await ws.accept()
        channel = Shouting(ws)
        async with channel.member("room"):
            for number in range(5):
                await ChannelBox.group_send("room", number)
        if way == "close":
            await ws.close(4000)
            await ws.receive()

    async with house() as inside:
        wire = await inside.connect(endpoint)
        assert wire.json == [f"{number}!" for number in range(5)]
        assert wire.events[-1]["type"] == "websocket.close"


async def test_waiting_for_the_override_at_the_end_is_bounded(autojump_clock):
    Gated.gate = trio.Event()

    async def endpoint(ws):
        await ws.accept()
        async with Gated(ws).member("room"):
            await ChannelBox.group_send("room", 1)
            await ChannelBox.group_send("room", 2)

    async with house(write_timeout=5) as inside:
        start = trio.current_time()
        wire = inside.begin(endpoint)
        await wire.done.wait()
        assert trio.current_time() - start == 5
    assert wire.json == []
    assert inside.box.statistics().undelivered == 2


async def test_an_override_may_close_the_connection(autojump_clock):
    class Closing(Channel):
        async def send(self, payload):
            await self.close(4003, "not for you")

    async with house() as inside:
        wire = await inside.connect(member(Closing))
        start = trio.current_time()
        await inside.box.group_send("room", 1)
        await settle()
        assert wire.closes == [(4003, "not for you")]
        assert trio.current_time() == start


async def test_messages_after_the_end_are_counted_as_lost():
    async def endpoint(ws):
        await ws.accept()
        await ChannelBox.add_channel_to_group(Shouting(ws), "room")
        await ws.receive()
        await ChannelBox.group_send("room", 1)  # the peer has left, the handler has not

    async with house() as inside:
        wire = await inside.connect(endpoint)
        wire.leave()
        await settle()
        assert inside.box.statistics().undelivered == 1
    assert wire.json == []
