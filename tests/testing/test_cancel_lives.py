"""Cancel everywhere over whole lives: of connections, consumers, applications, engines. As in test_cancel_own.py."""

from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from nexios_trio.application import NexiosApp
from nexios_trio.core.message import Message
from nexios_trio.engines.base import HistoryLimits
from nexios_trio.engines.memory import MemoryEngine
from nexios_trio.middleware import AuthenticationMiddleware, token_in_first_message
from nexios_trio.testing import Broker, World, run_app
from nexios_trio.testing.client import connect
from nexios_trio.websockets import ChannelBox, ChannelRegistry, WebSocket, WebSocketConsumer, open_channel

pytestmark = pytest.mark.cancel_everywhere(seeds=(0, 1))


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


class Synchronous(Counting):
    """The same, with a plain `on_receive`."""

    def on_receive(self, websocket, data):
        self.broadcast_nowait(data, "room")
        self.channel.send_nowait({"got": data})
        if data == "task":
            websocket.start_soon(trio.sleep, 0.1)


@pytest.mark.parametrize("end", ["close", "lose", "close_as_tab"])
@pytest.mark.parametrize("server", ["hypercorn", "direct"])
@pytest.mark.parametrize("consumer", [Counting, Synchronous], ids=["async", "sync"])
async def test_consumer_life(server, end, consumer):
    app = NexiosApp()
    app.add_ws_route("/", consumer)
    registry = ChannelRegistry()
    Counting = consumer  # noqa: N806  # counted by class
    Counting.began = Counting.ended = 0

    async def operation():
        async with connect(app, server=server) as ws:
            await ws.receive_json()
            for channel in app.box.channels():
                await registry.add(channel)
            await ws.send_json(1)
            await ws.receive_json()
            if end == "close":
                await ws.close()
            elif end == "lose":
                ws.lose()

    async with run_app(app):
        yield operation
        assert Counting.began == Counting.ended
        assert app.box.statistics().channels == 0
        assert (await app.box.show_groups()) == {}
        assert len(registry) == 0


async def test_handler_fails():
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


async def test_expiry():
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


async def test_authentication():
    async def verify(token):
        await trio.sleep(0.1)
        return token

    app = NexiosApp(middleware=[AuthenticationMiddleware(token_in_first_message(verify))])
    users = []

    @app.ws_route("/")
    async def handler(ws: WebSocket):
        async with open_channel(ws) as channel, channel.member("room"):
            users.append(ws.user)
            await channel.send("in")

    async def operation():
        async with connect(app) as ws:
            await ws.send_json({"token": "ann"})
            assert await ws.receive_json() == "in"

    async with run_app(app):
        yield operation
        assert users in ([], ["ann"])
        assert app.box.statistics().channels == 0


async def test_accept_and_refuse():
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


async def test_lifespan():
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
    assert not app.runtime.is_started


async def test_an_application_that_serves_while_it_stops():
    app = NexiosApp()

    @app.ws_route("/")
    async def handler(ws: WebSocket):
        async with open_channel(ws) as channel, channel.member("room"):
            app.start_soon(app.box.group_send, "room", "hello")
            async for _ in channel:
                pass

    async def operation():
        async with World(app, clock=None, check=False) as w, w.connect("/") as ws:
            await ws.receive_json()
            await w.restart()
            assert await ws.receive_close() == (1012, "")

    yield operation
    assert app.box.statistics().channels == 0
    assert not app.runtime.is_started


async def test_publishing_to_several_nodes():
    broker = Broker()
    boxes = [ChannelBox(broker.engine()) for _ in range(2)]
    delivered = [[], []]
    for box, messages in zip(boxes, delivered, strict=True):
        box.engine.attach(lambda group, message, messages=messages: messages.append(message.payload))
    async with boxes[0].engine.run(), boxes[1].engine.run():
        for box in boxes:
            await box.engine.watch("room")
        yield lambda: boxes[0].group_send("room", "x", save_history=True)
        kept = [message.payload for message in await boxes[1].show_history("room")]
        assert delivered == [kept, kept]  # everywhere, or nowhere


async def test_engine_publish():
    engine = MemoryEngine()
    delivered: list[Message] = []
    engine.attach(lambda group, message: delivered.append(message))
    limits = HistoryLimits(1000)
    yield lambda: engine.publish("room", Message("x", 0.0), keep=limits)
    page = await engine.history("room")
    assert [each.payload for each in page.messages] == [each.payload for each in delivered]
    position = await engine.publish("room", Message("y", 0.0), keep=limits)
    assert position.offset == len(delivered)
