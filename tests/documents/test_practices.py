"""The practices at the end of document 004, written as it does."""

from typing import Any

import pytest
import trio
from pydantic import BaseModel, ValidationError

from nexios_trio import NexiosApp
from nexios_trio.testing import run_app
from nexios_trio.testing.client import connect
from nexios_trio.websockets import Channel, ChannelGroup, WebSocket, WebSocketDisconnect
from tests.documents.catalogue import covers


@pytest.fixture
def app():
    return NexiosApp()


@covers("004 practices: handling errors")
@pytest.mark.parametrize("leaves", [True, False])
async def test_handling_errors(app, leaves):
    seen = []

    @app.ws_route("/ws")
    async def handler(websocket):
        channel = Channel(websocket)
        await channel.accept()

        async def process_message(message):
            await channel.send({"inverse": 1 / message["n"]})

        async def handle_disconnect(channel):
            seen.append("disconnect")

        async def handle_error(channel, e):
            seen.append(type(e))
            await channel.send_json({"error": str(e)})

        try:
            while True:
                message = await channel.receive()
                await process_message(message)
        except WebSocketDisconnect:
            await handle_disconnect(channel)
        except Exception as e:
            await handle_error(channel, e)

    async with run_app(app), connect(app, "/ws") as client:
        await client.send_json({"n": 4})
        assert await client.receive_json() == {"inverse": 0.25}
        if not leaves:
            await client.send_json({"n": 0})
            assert await client.receive_json() == {"error": "division by zero"}
            assert await client.receive_close() == (1000, "")
    assert seen == ["disconnect"] if leaves else [ZeroDivisionError]


@covers("004 practices: managing a connection")
async def test_managing_a_connection(app):
    seen = []

    async def handle_connect(channel):
        await channel.send("welcome")

    async def process_message(channel, message):
        await channel.send([message])

    async def handle_disconnect(channel):
        seen.append(("disconnect", channel.connected))

    async def cleanup(channel):
        seen.append("cleanup")

    @app.ws_route("/ws")
    async def handle_websocket(websocket: WebSocket):
        channel = Channel(websocket)
        try:
            await channel.accept()
            await handle_connect(channel)
            while True:
                message = await channel.receive()
                await process_message(channel, message)
        except WebSocketDisconnect:
            await handle_disconnect(channel)
        finally:
            await cleanup(channel)

    async with run_app(app), connect(app, "/ws") as client:
        assert await client.receive_json() == "welcome"
        await client.send_json({"a": 1})
        assert await client.receive_json() == [{"a": 1}]
    assert seen == [("disconnect", False), "cleanup"]


@covers("004 practices: validating messages")
async def test_validating_messages(app):
    class Message(BaseModel):
        type: str
        content: str
        timestamp: float

    async def handle_validated_message(channel, message):
        await channel.send_json({"got": message.content})

    async def process_message(channel: Channel, message: Any):
        try:
            validated_message = Message(**message)
            await handle_validated_message(channel, validated_message)
        except ValidationError as e:
            await channel.send_json({"error": "Invalid message format", "details": str(e)})

    @app.ws_route("/ws")
    async def handler(websocket):
        await websocket.accept()
        channel = Channel(websocket)
        async for message in channel:
            await process_message(channel, message)

    async with run_app(app), connect(app, "/ws") as client:
        await client.send_json({"type": "chat", "content": "hi"})
        answer = await client.receive_json()
        assert answer["error"] == "Invalid message format"
        assert "timestamp" in answer["details"]
        await client.send_json({"type": "chat", "content": "hi", "timestamp": 1})
        assert await client.receive_json() == {"got": "hi"}


class RateLimitExceeded(Exception):
    pass


class RateLimitedChannel(Channel):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.message_count = 0
        self.last_reset = trio.current_time()

    async def receive(self) -> Any:
        now = trio.current_time()
        if now - self.last_reset >= 60:
            self.message_count = 0
            self.last_reset = now
        if self.message_count >= 100:
            raise RateLimitExceeded()
        self.message_count += 1
        return await super().receive()


@covers("004 practices: a channel that limits messages")
async def test_a_channel_that_limits_messages(app, autojump_clock):
    @app.ws_route("/ws")
    async def handler(websocket):
        await websocket.accept()
        channel = RateLimitedChannel(websocket)
        for _ in range(100):
            await channel.receive()
        await channel.send("100 in a minute")
        await trio.sleep(60)
        for _ in range(100):
            await channel.receive()
        await channel.send("200 in two minutes")
        try:
            await channel.receive()
        except RateLimitExceeded:
            await channel.close(1008, "too fast")

    async with run_app(app), connect(app, "/ws", timeout=100) as client:
        for number in range(100):
            await client.send_json(number)
        assert await client.receive_json() == "100 in a minute"
        await trio.sleep(60)
        for number in range(101):
            await client.send_json(number)
        assert await client.receive_json() == "200 in two minutes"
        assert await client.receive_close() == (1008, "too fast")


class HeartbeatChannel(Channel):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.last_heartbeat = trio.current_time()

    async def send_heartbeat(self):
        await self.send_json({"type": "heartbeat"})
        self.last_heartbeat = trio.current_time()

    async def check_heartbeat(self):
        if trio.current_time() - self.last_heartbeat > 30:
            await self.close(code=4000)


@covers("004 practices: a channel with a heartbeat")
async def test_a_channel_with_a_heartbeat(app, autojump_clock):
    @app.ws_route("/ws")
    async def handler(websocket):
        await websocket.accept()
        channel = HeartbeatChannel(websocket)
        for pause in (20, 31):
            await channel.send_heartbeat()
            await trio.sleep(pause)
            await channel.check_heartbeat()

    async with run_app(app), connect(app, "/ws", timeout=100) as client:
        assert [await client.receive_json() for _ in range(2)] == [{"type": "heartbeat"}] * 2
        assert await client.receive_close() == (4000, "")


class QueuedChannel(Channel):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.message_queue = []

    async def send(self, message: Any):
        if not self.connected:
            self.message_queue.append(message)
        else:
            await super().send(message)

    async def process_queue(self):
        while self.message_queue and self.connected:
            message = self.message_queue.pop(0)
            await super().send(message)


@covers("004 practices: a channel with a queue")
async def test_a_channel_with_a_queue(app):
    group = ChannelGroup("news")

    @app.ws_route("/ws")
    async def handler(websocket):
        channel = QueuedChannel(websocket)
        await channel.send("before it was there")
        await channel.send("and again")
        await channel.accept()
        await channel.process_queue()
        await group.add(channel)
        await group.send("to the group")
        await websocket.receive()

    async with run_app(app), connect(app, "/ws") as client:
        assert [await client.receive_json() for _ in range(3)] == ["before it was there", "and again", "to the group"]


class AuthenticationError(Exception):
    pass


async def verify_token(token):
    await trio.lowlevel.checkpoint()
    return token == "right"


class SecureChannel(Channel):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.authenticated = False

    async def authenticate(self, token: str):
        if not await verify_token(token):
            raise AuthenticationError()
        self.authenticated = True

    async def send(self, message: Any):
        if not self.authenticated:
            raise AuthenticationError()
        await super().send(message)


@covers("004 practices: a channel that is secure")
async def test_a_channel_that_is_secure(app):
    group = ChannelGroup("secrets")
    refused = trio.Event()

    @app.ws_route("/ws")
    async def handler(websocket):
        await websocket.accept()
        channel = SecureChannel(websocket)

        @channel.on_error
        async def handle_error(channel, error):
            assert isinstance(error, AuthenticationError)
            refused.set()

        await group.add(channel)
        await group.send("for nobody yet")
        await refused.wait()
        with pytest.raises(AuthenticationError):
            await channel.send("nor this")
        with pytest.raises(AuthenticationError):
            await channel.authenticate("wrong")
        await channel.authenticate("right")
        await group.send("for you")
        await websocket.receive()

    async with run_app(app), connect(app, "/ws") as client:
        assert await client.receive_json() == "for you"
