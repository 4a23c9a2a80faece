"""A box and an engine whose answers take their time: joins wait for the watch, sends for their position."""

from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from nexios_trio.core.message import Position
from nexios_trio.engines.base import Receipt
from nexios_trio.engines.memory import MemoryEngine
from nexios_trio.exceptions import EngineError
from nexios_trio.websockets import Channel, ChannelBox
from tests.wire import house, settle


class Slow(MemoryEngine):
    """Answers when the test says so."""

    is_local = False

    def __init__(self):
        super().__init__()
        self.calls = []
        self.waiting = []
        self.lives = 0

    @asynccontextmanager
    async def run(self):
        self.lives += 1
        assert self.lives == 1
        try:
            yield
        finally:
            self.lives -= 1

    def watch(self, group):
        self.calls.append(f"watch {group}")
        return self.later(super().watch(group).position)

    def unwatch(self, group):
        self.calls.append(f"unwatch {group}")
        super().unwatch(group)

    def post(self, group, message, *, keep=None, key=None):
        done = super().post(group, message, keep=keep, key=key)
        return self.later(done.position, done.is_watched)

    def later(self, *answer):
        receipt = Receipt()
        self.waiting.append((receipt, answer))
        return receipt

    def answer(self):
        waiting, self.waiting = self.waiting, []
        for receipt, answer in waiting:
            receipt.settle(*answer)

    def refuse(self):
        waiting, self.waiting = self.waiting, []
        for receipt, _ in waiting:
            receipt.fail(EngineError("no answer in time", maybe_published=True))


@asynccontextmanager
async def joiners(count, **options):
    """A box, its slow engine, and channels that are in no group yet."""
    engine = Slow()
    channels = []

    async def endpoint(ws):
        await ws.accept()
        channels.append(Channel(ws))
        while True:
            await ws.receive()

    async with house(ChannelBox(engine, **options)) as inside:
        wires = [await inside.connect(endpoint) for _ in range(count)]
        await settle()
        yield inside.box, engine, channels, wires
        engine.answer()


async def test_a_join_is_confirmed_when_the_watch_holds():
    async with joiners(1) as (box, engine, (channel,), _), trio.open_nursery() as nursery:
        nursery.start_soon(box.add_channel_to_group, channel, "room")
        await wait_all_tasks_blocked()
        assert (engine.calls, box.size_of("room")) == (["watch room"], 0)
        engine.answer()
        await wait_all_tasks_blocked()
        assert box.size_of("room") == 1


async def test_one_who_stops_waiting_does_not_end_the_watch_of_others():
    async with joiners(2) as (box, engine, (one, two), _), trio.open_nursery() as nursery:
        impatient = trio.CancelScope()

        async def join_impatiently():
            with impatient:
                await box.add_channel_to_group(one, "room")

        nursery.start_soon(join_impatiently)
        await wait_all_tasks_blocked()
        nursery.start_soon(box.add_channel_to_group, two, "room")
        await wait_all_tasks_blocked()
        impatient.cancel()
        await wait_all_tasks_blocked()
        assert engine.calls == ["watch room"]
        engine.answer()
        await wait_all_tasks_blocked()
        assert list((await box.show_groups())["room"]) == [two]
        box.leave_nowait(two, "room")
        assert engine.calls == ["watch room", "unwatch room"]


async def test_when_the_last_one_stops_waiting_the_watch_ends():
    async with joiners(1) as (box, engine, (channel,), _):
        with trio.move_on_after(0):
            await box.add_channel_to_group(channel, "room")
        assert engine.calls == ["watch room", "unwatch room"]
        assert box.size_of("room") == 0


async def test_a_watch_that_fails_lets_nobody_join_and_is_tried_again():
    async with joiners(1) as (box, engine, (channel,), _), trio.open_nursery() as nursery:

        async def join():
            with pytest.raises(EngineError, match="no answer in time"):
                await box.add_channel_to_group(channel, "room")

        nursery.start_soon(join)
        await wait_all_tasks_blocked()
        engine.refuse()
        await wait_all_tasks_blocked()
        assert box.size_of("room") == 0
        nursery.start_soon(box.add_channel_to_group, channel, "room")
        await wait_all_tasks_blocked()
        engine.answer()
        await wait_all_tasks_blocked()
        assert engine.calls.count("watch room") == 2
        assert box.size_of("room") == 1


async def test_a_leave_while_another_joins_keeps_the_watch():
    async with joiners(2) as (box, engine, (one, two), _), trio.open_nursery() as nursery:
        nursery.start_soon(box.add_channel_to_group, one, "room")
        await wait_all_tasks_blocked()
        engine.answer()
        await wait_all_tasks_blocked()
        with box.engine_client.joining("room"):
            box.leave_nowait(one, "room")
            box.join_nowait(two, "room")
        assert engine.calls == ["watch room"]


async def test_a_refused_joiner_ends_the_watch():
    async with joiners(1, max_groups_per_channel=1) as (box, engine, (channel,), _), trio.open_nursery() as nursery:
        box.join_nowait(channel, "first")

        async def join():
            with pytest.raises(ValueError, match="1 groups"):
                await box.add_channel_to_group(channel, "second")

        nursery.start_soon(join)
        await wait_all_tasks_blocked()
        engine.answer()
        await wait_all_tasks_blocked()
        assert engine.calls == ["watch first", "watch second", "unwatch second"]


async def test_a_send_returns_when_its_position_is_known():
    async with joiners(1) as (box, engine, (channel,), (wire,)), trio.open_nursery() as nursery:
        box.join_nowait(channel, "room")
        engine.answer()
        answers = []

        async def send():
            answers.append(await box.group_send("room", 1))

        nursery.start_soon(send)
        await settle()
        assert (wire.json, answers) == ([1], [])
        engine.answer()
        await wait_all_tasks_blocked()
        assert [each.value for each in answers] == ["group_send"]


async def test_a_send_whose_fate_is_unknown_says_so():
    async with joiners(0) as (box, engine, _, _), trio.open_nursery() as nursery:

        async def send():
            with pytest.raises(EngineError, match="perhaps it was published") as caught:
                await box.group_send("room", 1)
            assert caught.value.maybe_published

        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        engine.refuse()


async def test_the_engine_lives_in_one_of_several_lifespans():
    engine = Slow()
    box = ChannelBox(engine)
    async with house(box):
        async with house(box):
            assert engine.lives == 1
        assert engine.lives == 1
    assert engine.lives == 0


async def test_members_that_have_missed_messages_are_out_and_sent_away_within_two_seconds(autojump_clock: MockClock):
    async with joiners(4) as (box, engine, channels, wires):
        for channel in channels:
            box.join_nowait(channel, "room")
        engine.answer()
        box._gap("room", Position(3, "e"), None)
        box._gap("nobody there", None, None)
        await settle()
        assert box.size_of("room") == 0
        closed = [len(wire.closes) for wire in wires]
        await trio.sleep(2)
        assert closed == [1, 0, 0, 0]  # not all of them connect anew at the same time
        assert [wire.closes for wire in wires] == [[(1012, "messages were missed")]] * 4


async def test_a_member_with_a_handler_for_gaps_is_told_and_goes_on():
    told = []
    async with joiners(1) as (box, engine, [channel], [wire]):
        channel.on_gap(lambda channel, *gap: told.append(gap))
        box.join_nowait(channel, "room")
        engine.answer()
        box._gap("room", Position(3, "e"), Position(7, "e"))
        await settle()
        assert told == [("room", Position(3, "e"), Position(7, "e"))]
        assert box.size_of("room") == 1
        assert wire.closes == []


# ---------------------------------------------------------------- posts, and what is sent directly after them


class Distant(Slow):
    """Delivers when it answers, as an engine of several processes does."""

    def post(self, group, message, *, keep=None, key=None):
        receipt = Receipt()
        done = (super(Slow, self).post, (group, message), {"keep": keep, "key": key})
        self.waiting.append((receipt, done))
        return receipt

    def answer(self):
        waiting, self.waiting = self.waiting, []
        for receipt, (post, args, options) in waiting:
            receipt.settle(post(*args, **options).position)

    def watch(self, group):
        return super(Slow, self).watch(group)


@asynccontextmanager
async def talking(handler, cls=Channel):
    """A connection in "room" whose handler runs, and an engine that has not answered it."""
    engine = Distant()

    async def endpoint(ws):
        await ws.accept()
        channel = cls(ws)
        await ChannelBox.add_channel_to_group(channel, "room")
        await handler(channel)
        while True:
            await ws.receive()

    async with house(ChannelBox(engine)) as inside:
        wire = await inside.connect(endpoint)
        await settle()
        yield inside, engine, wire
        engine.answer()


class Overriding(Channel):
    async def send(self, payload):
        await super().send(payload)


@pytest.mark.parametrize("cls", [Channel, Overriding])
async def test_a_direct_send_comes_after_what_its_task_has_posted(cls):
    async def handler(channel):
        ChannelBox.post("room", "first")
        ChannelBox.post("room", "second")
        await channel.send("third")

    async with talking(handler, cls) as (_, engine, wire):
        assert wire.json == []
        engine.answer()
        await settle()
        assert wire.json == ["first", "second", "third"]


async def test_so_do_a_close_and_a_send_to():
    async def handler(channel):
        ChannelBox.post("room", "first")
        await ChannelBox.send_to(channel.uuid, "second")
        ChannelBox.post("room", "third")
        await channel.close()

    async with talking(handler) as (_, engine, wire):
        for _ in range(2):
            engine.answer()
            await settle()
        assert (wire.json, wire.closes) == (["first", "second", "third"], [(1000, "")])


async def test_other_tasks_and_other_groups_are_not_waited_for():
    async def handler(channel):
        ChannelBox.post("other", "nobody")
        await channel.send("direct")

    async with talking(handler) as (inside, _, wire):
        assert wire.json == ["direct"]
        inside.box.post("room", "this task's")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(inside.box.send_to, inside.box.channels()[0].uuid, "another task's")
        await settle()
        assert wire.json == ["another task's"]


async def test_a_post_that_fails_holds_nobody_up_for_ever():
    async def handler(channel):
        ChannelBox.post("room", "lost")
        await channel.send("direct")

    async with talking(handler) as (inside, engine, wire):
        assert inside.box.engine_client.unsettled
        engine.refuse()
        await settle()
        assert wire.json == ["direct"]
        assert not inside.box.engine_client.unsettled
