"""Cancel everywhere over our own operations: every step of every scenario leaves nothing behind."""

from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from nexios_trio.application import NexiosApp
from nexios_trio.core.messages import Message
from nexios_trio.engines.base import HistoryLimits
from nexios_trio.engines.memory import MemoryEngine
from nexios_trio.testing import connect, run_app
from nexios_trio.testing.cancel import cancel_everywhere
from nexios_trio.websockets import Channel, ChannelRegistry, WebSocket, WebSocketConsumer, open_channel

SERVERS = ["hypercorn", "direct"]


class Room:
    """An application whose handlers wait, and their channels."""

    def __init__(self) -> None:
        self.app = NexiosApp()
        self.channels: list[Channel] = []
        self.box = self.app.box

        @self.app.ws_route("/")
        async def handler(ws: WebSocket):
            async with open_channel(ws) as channel:
                self.channels.append(channel)
                async for _ in ws:
                    pass

    def is_empty(self) -> bool:
        statistics = self.box.statistics()
        return (statistics.channels, statistics.groups, self.box.channels()) == (0, 0, [])


@asynccontextmanager
async def one_member(server="hypercorn"):
    room = Room()
    async with run_app(room.app):
        async with connect(room.app, server=server) as ws:
            await trio.testing.wait_all_tasks_blocked()
            yield room, room.channels[0], ws
        assert room.is_empty()


async def join():
    async with one_member() as (room, channel, ws):
        yield lambda: room.box.add_channel_to_group(channel, "room")
        was_in = room.box.size_of("room")
        await room.box.group_send("room", "news")
        assert await room.box.remove_channel_from_group(channel, "room")
        assert [await ws.receive_json() for _ in range(was_in)] == ["news"] * was_in
        assert ws.unread() == []


async def leave():
    async with one_member() as (room, channel, _):
        await room.box.add_channel_to_group(channel, "room")
        yield lambda: room.box.remove_channel_from_group(channel, "room")
        assert room.box.size_of("room") == 0


async def member_block():
    async with one_member() as (room, channel, _):

        async def operation():
            async with room.box.member(channel, "room"), room.box.member(channel, "other"):
                await room.box.group_send("room", "x")
                await trio.sleep(1)

        yield operation
        assert (await room.box.show_groups()) == {}


async def send():
    async with one_member() as (_, channel, ws):
        yield lambda: channel.send("one")
        await channel.send("two")
        first = await ws.receive_json()
        assert first == "two" or (first, await ws.receive_json()) == ("one", "two")


async def send_to_a_stalled_peer():
    async with one_member() as (_, channel, ws):
        ws.stall()

        async def operation():
            with trio.move_on_after(3):
                for index in range(300):
                    await channel.send(index)

        yield operation
        ws.resume()
        await trio.testing.wait_all_tasks_blocked()
        unread = ws.unread()
        assert unread == [str(index) for index in range(len(unread))]  # in order, nothing torn out


async def group_send():
    async with one_member() as (room, _, ws), connect(room.app) as other:
        await trio.testing.wait_all_tasks_blocked()
        for each in room.channels:
            await room.box.add_channel_to_group(each, "room")
        yield lambda: room.box.group_send("room", "news", save_history=True)
        kept = len(await room.box.show_history("room"))
        await trio.testing.wait_all_tasks_blocked()
        assert ws.unread() == other.unread() == ['"news"'] * kept  # all of them, or nobody


async def close():
    async with one_member() as (room, channel, ws):
        await room.box.add_channel_to_group(channel, "room")
        await channel.send("last")
        yield lambda: channel.close(4000, "over")
        await ws.close()
        assert ws.end is not None
        assert ws.end.code in (4000, 1000, 1006)


async def close_all():
    async with one_member() as (room, _, ws), connect(room.app) as other:
        await trio.testing.wait_all_tasks_blocked()
        other.stall()
        await room.channels[1].send("held up")
        yield lambda: room.box.close_all_connections(1001)
        other.resume()
        ws.lose()


class Counting(WebSocketConsumer):
    """Joins, and counts how often its methods began."""

    encoding = "json"
    expires = 5
    began = ended = 0

    async def on_connect(self, websocket):
        type(self).began += 1
        await websocket.accept()
        await self.join_group("room")
        await self.broadcast({"count": len(await self.group("room"))}, "room", save_history=True)

    async def on_receive(self, websocket, data):
        await self.broadcast(data, "room")
        await websocket.send_json({"got": data})

    async def on_disconnect(self, websocket, close_code):
        await trio.sleep(0.1)
        await self.broadcast({"count": len(await self.group("room")) - 1}, "room")
        type(self).ended += 1


@asynccontextmanager
async def consumer_life(server="hypercorn", going=lambda ws: ws.close()):
    app = NexiosApp()
    app.add_ws_route("/", Counting)
    registry = ChannelRegistry()
    Counting.began = Counting.ended = 0

    async def operation():
        async with connect(app, server=server) as ws:
            await ws.receive_json()
            for channel in app.box.channels():
                await registry.add(channel)
            await ws.send_json(1)
            await ws.receive_json()
            going_now = going(ws)
            if going_now is not None:
                await going_now

    async with run_app(app):
        yield operation
        assert Counting.began == Counting.ended
        assert app.box.statistics().channels == 0
        assert (await app.box.show_groups()) == {}
        assert len(registry) == 0


async def handler_fails():
    app = NexiosApp()

    @app.ws_route("/")
    async def handler(ws: WebSocket):
        async with open_channel(ws) as channel, channel.member("room"):
            ws.start_soon(trio.sleep_forever)
            await channel.send(1)
            raise trio.TooSlowError("planted")

    async def operation():
        async with connect(app) as ws:
            await ws.receive_json()
            assert (await ws.receive_close())[0] == 1011

    async with run_app(app):
        yield operation
        assert app.box.statistics().channels == 0


async def expiry():
    app = NexiosApp()

    @app.ws_route("/")
    async def handler(ws: WebSocket):
        async with open_channel(ws, expires=2, close_on_expire=True) as channel, channel.member("room"):
            await channel.send("in")
            async for _ in channel:
                pass

    async def operation():
        async with connect(app) as ws:
            await ws.receive_json()
            assert (await ws.receive_close())[0] == 1001

    async with run_app(app):
        yield operation
        assert app.box.statistics().channels == 0


async def accept_and_refuse():
    app = NexiosApp()

    @app.ws_route("/")
    async def handler(ws: WebSocket):
        await ws.accept("b", {"x-a": "1"})
        await ws.reject(4001, "no")

    async def operation():
        async with connect(app, subprotocols=["a", "b"]) as ws:
            assert ws.accepted_subprotocol == "b"
            assert await ws.receive_close() == (4001, "no")

    yield operation
    assert app.box.statistics().channels == 0


async def lifespan():
    log: list[str] = []

    @asynccontextmanager
    async def context(app):
        log.append("enter")
        try:
            yield {"a": 1}
        finally:
            log.append("leave")

    app = NexiosApp(lifespan=context)
    app.on_startup(lambda: app.start_soon(trio.sleep_forever))

    async def operation():
        async with run_app(app):
            await trio.sleep(1)

    yield operation
    assert log in ([], ["enter", "leave"])
    assert not app.runtime.running_now


async def engine_publish():
    engine = MemoryEngine()
    delivered: list[Message] = []
    engine.attach(lambda group, message: delivered.append(message))
    limits = HistoryLimits(1000)
    yield lambda: engine.publish("room", Message("x", 0.0), history=limits)
    page = await engine.history("room")
    assert list(page.messages) == delivered
    position = await engine.publish("room", Message("y", 0.0), history=limits)
    assert position.offset == len(delivered)


def lose(ws):
    ws.lose()


SCENARIOS = {
    "join": join,
    "leave": leave,
    "member block": member_block,
    "send": send,
    "send to a stalled peer": send_to_a_stalled_peer,
    "group send": group_send,
    "close": close,
    "close all": close_all,
    "accept, reject": accept_and_refuse,
    "consumer, hypercorn, close": consumer_life,
    "consumer, hypercorn, loss": lambda: consumer_life("hypercorn", lose),
    "consumer, direct, close": lambda: consumer_life("direct"),
    "consumer, direct, loss": lambda: consumer_life("direct", lose),
    "consumer, hypercorn, left by the block": lambda: consumer_life("hypercorn", lambda ws: None),
    "a handler that fails": handler_fails,
    "expiry": expiry,
    "lifespan": lifespan,
    "engine publish": engine_publish,
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_step_is_clean(name, record_property, caplog):
    for seed in range(2):
        report = cancel_everywhere(SCENARIOS[name], seed=seed, name=name)
        record_property(f"cancelled steps, seed {seed}", report.steps)
        print(report)
        assert report.runs == report.steps
