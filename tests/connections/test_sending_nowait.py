"""`send_nowait` and `close_nowait`: they wait for nothing, keep the order, and leave a full outbox to the policy."""

from contextlib import asynccontextmanager

import pytest
import trio

from nexios_trio.core.lifecycle import Cause
from nexios_trio.exceptions import LifecycleError, MessageTooBig
from nexios_trio.websockets import Channel, ChannelBox, WebSocketConsumer, WebSocketDisconnect
from tests.groups.test_engine_client import Slow
from tests.wire import house, settle


@asynccontextmanager
async def member(engine=None, channel_class=Channel, **settings):
    """A consumer's connection in the group "room", and what `on_receive` is told to do."""

    class Doing(WebSocketConsumer):
        encoding = None

        async def on_connect(self, ws):
            await ws.accept()
            self.join_nowait("room")
            consumers.append(self)

        def on_receive(self, ws, data):
            tricks[data](ws, self)

    Doing.channel_class = channel_class
    consumers, tricks = [], {}
    async with house(ChannelBox(engine), **settings) as inside:
        wire = await inside.connect(Doing())
        if engine is not None:
            engine.answer()

        async def do(trick):
            tricks["go"] = trick
            wire.say("go")
            await settle()

        yield inside, wire, consumers[0], do
        if engine is not None:
            engine.answer()


async def test_what_goes_out():
    def everything(ws, consumer):
        ws.send_nowait("text ü")
        ws.send_nowait(b"bytes")
        ws.send_nowait(bytearray(b"array"))
        consumer.channel.send_nowait({"a": 1})

    async with member() as (_, wire, _, do):
        await do(everything)
        assert wire.messages == ["text ü", b"bytes", b"array", '{"a":1}']


@pytest.mark.parametrize(
    ("data", "error", "text"),
    [
        ({"a": 1}, TypeError, "send_nowait takes a str or bytes, not dict"),
        ("\ud800", ValueError, "surrogate"),
        ("x" * 101, MessageTooBig, "accepted: up to outbox_bytes=100"),
    ],
)
async def test_what_cannot_be_sent(data, error, text):
    async with member(outbox_bytes=100) as (_, wire, consumer, _):
        with pytest.raises(error, match=text):
            consumer.websocket.send_nowait(data)
        assert wire.messages == []


async def test_before_accept_and_after_the_end():
    seen = []

    async def endpoint(ws):
        for act in (lambda: ws.send_nowait("x"), lambda: Channel(ws).send_nowait("x")):
            with pytest.raises(LifecycleError, match=r"call accept\(\) before sending"):
                act()
        await ws.accept()
        ws.close_nowait(4000, "bye")
        ws.close_nowait(4001, "again")
        for act in (lambda: ws.send_nowait("x"), lambda: Channel(ws).send_nowait("x")):
            with pytest.raises(WebSocketDisconnect) as caught:
                act()
            assert (caught.value.code, caught.value.reason) == (4000, "bye")
        seen.append(ws)

    async with house() as inside:
        wire = await inside.connect(endpoint)
        assert wire.closes == [(4000, "bye")]
        with pytest.raises(WebSocketDisconnect):  # of a connection that is freed
            seen[0].send_nowait("x")
        seen[0].close_nowait()


async def test_closing_before_accept_refuses():
    async def endpoint(ws):
        ws.close_nowait(4000)
        await trio.lowlevel.checkpoint()

    async with house() as inside:
        wire = await inside.connect(endpoint)
    assert [event["type"] for event in wire.events] == ["websocket.close"]


@pytest.mark.parametrize("policy", ["disconnect", "drop_oldest", "drop_latest"])
async def test_a_full_outbox_is_the_policy_s(policy):
    def send_many(ws, consumer):
        for number in range(100):
            if ws.is_connected():
                ws.send_nowait(str(number))

    async with member(outbox_messages=10, overflow=policy) as (_, wire, consumer, do):
        wire.stall()
        await do(send_many)
        counts = consumer.channel.statistics()
        wire.flow()
        await settle()
        heard = wire.messages
        if policy == "disconnect":
            assert wire.closes == [(1013, "too slow")]
        else:
            assert len(heard) in (10, 11)  # one may be on its way
            assert counts.undelivered == 100 - len(heard)
            assert heard[-1] == ("99" if policy == "drop_oldest" else str(len(heard) - 1))


async def test_what_follows_a_post_waits_until_that_has_come_back():
    def post_and_send(ws, consumer):
        consumer.broadcast_nowait("group", "room")
        consumer.channel.send_nowait("direct 1")
        ws.send_nowait("direct 2")

    class Late(Slow):
        def post(self, group, message, *, keep=None, key=None):
            receipt = self.later()
            self.message = message
            return receipt

        def number(self):
            super_post = Slow.post
            held, self.waiting = self.waiting, []
            super_post(self, "room", self.message)
            self.waiting = held
            self.answer_posts()

        def answer_posts(self):
            waiting, self.waiting = self.waiting, []
            for receipt, _ in waiting:
                receipt.settle(None)

    engine = Late()
    async with member(engine) as (_, wire, _, do):
        await do(post_and_send)
        assert wire.messages == []
        engine.number()
        await settle()
        assert wire.messages == ['"group"', '"direct 1"', "direct 2"]


async def test_a_close_behind_a_post():
    seen = []

    def post_and_close(ws, consumer):
        consumer.broadcast_nowait("group", "room")
        ws.send_nowait("direct")
        ws.close_nowait(4000, "bye")
        ws.close_nowait(4001)
        seen.append(ws.end)
        with pytest.raises(WebSocketDisconnect):
            ws.send_nowait("too late")

    engine = Slow()
    async with member(engine) as (_, wire, _, do):
        await do(post_and_close)
        assert wire.messages == ['"group"']  # the slow engine delivers at once, and says so late
        assert wire.closes == []
        wire.say("go")  # is not handled
        await settle()
        engine.answer()
        await settle()
        assert (wire.messages, wire.closes) == (["direct"], [(4000, "bye")])
    assert [(end.code, end.cause) for end in seen] == [(4000, Cause.LOCAL_CLOSE)]


async def test_what_is_held_goes_out_at_the_engine_s_deadline(autojump_clock):
    def post_and_send(ws, consumer):
        consumer.broadcast_nowait("group", "room")
        ws.send_nowait("direct")

    engine = Slow()
    async with member(engine) as (_, wire, _, do):
        await do(post_and_send)
        assert wire.messages == ['"group"']
        await trio.sleep(engine.deadline - 0.1)
        assert wire.messages == []
        await trio.sleep(0.2)
        assert wire.messages == ["direct"]


async def test_what_is_held_is_bounded_by_the_policy():
    def post_and_send(ws, consumer):
        consumer.broadcast_nowait("group", "room")
        for number in range(100):
            if ws.is_connected():
                ws.send_nowait(str(number))

    engine = Slow()
    async with member(engine, outbox_messages=10) as (_, wire, _, do):
        await do(post_and_send)
        assert wire.closes == [(1013, "too slow")]


async def test_a_task_of_the_connection_sends_behind_what_is_held():
    async def send(ws):
        await ws.send_text("from a task")

    def post_and_send(ws, consumer):
        consumer.broadcast_nowait("group", "room")
        ws.send_nowait("direct")
        ws.start_soon(send, ws)

    engine = Slow()
    async with member(engine) as (_, wire, _, do):
        await do(post_and_send)
        assert wire.messages == ['"group"']
        engine.answer()
        await settle()
        assert wire.messages == ["direct", "from a task"]


async def test_what_is_held_when_the_peer_leaves_counts_as_lost():
    def post_and_send(ws, consumer):
        consumer.broadcast_nowait("group", "room")
        ws.send_nowait("direct")

    engine = Slow()
    async with member(engine) as (inside, wire, consumer, do):
        await do(post_and_send)
        wire.leave()
        await settle()
        engine.answer()
        assert inside.box.statistics().undelivered == 1
        assert consumer.channel.statistics().lost == 1


async def test_the_posts_of_one_connection_hold_nobody_else_up():
    engine = Slow()

    def post(ws, consumer):
        consumer.broadcast_nowait("group", "room")

    async with member(engine) as (inside, wire, consumer, do):
        other = await inside.connect(type(consumer)())
        engine.answer()
        await do(post)
        assert (wire.messages, other.messages) == (['"group"'], ['"group"'])
        consumer.websocket.send_nowait("from a stranger")  # this task
        await settle()
        assert wire.messages == ["from a stranger"]


async def test_behind_group_messages_that_an_override_of_send_has_not_sent():
    go_on = trio.Event()

    class Careful(Channel):
        async def send(self, payload):
            await go_on.wait()
            await self._send(payload)

    def send_all(ws, consumer):
        consumer.broadcast_nowait("group", "room")
        ws.send_nowait("direct")
        consumer.channel.send_nowait("through the override")

    async with member(channel_class=Careful) as (_, wire, _, do):
        await do(send_all)
        assert wire.messages == []
        go_on.set()
        await settle()
        heard = wire.messages
        assert heard.index('"group"') < heard.index("direct")
        assert heard.index('"group"') < heard.index('"through the override"')


async def test_group_messages_on_their_way_come_first():
    async with member() as (inside, wire, consumer, do):
        others = [await inside.connect(type(consumer)()) for _ in range(140)]  # a large group has a flusher

        def post_and_send(ws, consumer):
            consumer.broadcast_nowait("group", "room")
            ws.send_nowait("direct")

        await do(post_and_send)
        assert wire.messages == ['"group"', "direct"]
        assert others[-1].messages == ['"group"']
