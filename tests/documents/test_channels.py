"""Channels, their payloads, their times to live and their events, used as documents 002 and 004 do."""

import json
from typing import Any
from uuid import UUID

import pytest
import trio

from nexios_trio import NexiosApp, get_application
from nexios_trio.testing import run_app
from nexios_trio.testing.client import connect
from nexios_trio.websockets import Channel, ChannelBox, WebSocket
from nexios_trio.websockets.channels import PayloadTypeEnum
from tests.documents.catalogue import covers


@pytest.fixture
def app():
    return NexiosApp()


@covers("002 channels: one around a connection", "004 channels: made with keywords")
async def test_one_around_a_connection():
    app = get_application()

    @app.websocket("/ws/channel")
    async def channel_example(ws: WebSocket):
        await ws.accept()
        channel = Channel(websocket=ws, payload_type=PayloadTypeEnum.JSON.value, expires=1800)
        assert (channel.websocket, channel.payload_type, channel.expires) == (ws, "json", 1800)
        await channel._send({"id": str(channel.uuid), "created": channel.created})
        try:
            while True:
                data = await ws.receive()
                if data.get("type") == "websocket.receive" and "text" in data:
                    await channel._send({"message": data["text"]})
        except Exception as e:
            print(f"Error: {e}")
        finally:
            await ws.close()

    async with run_app(app), connect(app, "/ws/channel") as client:
        told = await client.receive_json()
        assert str(UUID(told["id"])) == told["id"]
        assert told["created"] > 1_700_000_000
        await client.send_bytes(b"passed over")
        await client.send_text("hi")
        assert await client.receive_json() == {"message": "hi"}


@covers("004 channels: a subclass")
async def test_a_subclass(app):
    class MyChannel(Channel):
        def __init__(self, websocket: WebSocket, payload_type: str = "json", expires: int | None = None):
            super().__init__(websocket, payload_type, expires)

    @app.ws_route("/ws")
    async def handler(websocket):
        await websocket.accept()
        await MyChannel(websocket).send({"by": "default"})
        await MyChannel(websocket, "text", 60).send("text")

    async with run_app(app), connect(app, "/ws") as client:
        assert await client.receive_json() == {"by": "default"}
        assert await client.receive_text() == "text"


@covers("002 channels: the three payload types")
async def test_the_three_payload_types(app):
    @app.ws_route("/ws/{kind}")
    async def handler(ws, kind):
        await ws.accept()
        channel = Channel(websocket=ws, payload_type=kind)
        await channel._send({"message": "Hello", "data": [1, 2, 3]})
        await channel._send("Hello")
        await channel._send(b"\x00\x03")

    async def sent(kind):
        async with run_app(app), connect(app, f"/ws/{kind}") as client:
            return [await client.receive() for _ in range(3)]

    as_json = '{"message":"Hello","data":[1,2,3]}'
    assert await sent("json") == [as_json, '"Hello"', b"\x00\x03"]
    assert await sent("text") == [as_json, "Hello", b"\x00\x03"]
    assert await sent("bytes") == [as_json.encode(), b"Hello", b"\x00\x03"]


@covers("004 sending: by payload", "004 sending: JSON", "004 sending: text", "004 sending: bytes")
async def test_sending(app):
    @app.ws_route("/ws")
    async def handler(websocket):
        await websocket.accept()
        channel = Channel(websocket=websocket, payload_type="json", expires=3600)
        await channel.send({"message": "Hi"})
        await channel.send("Hi")
        await channel.send(b"Hi")
        await channel.send_json({"type": "message", "content": "Hi", "timestamp": 1.5})
        await channel.send_text("Hi")
        await channel.send_bytes(b"Hi")

    async with run_app(app), connect(app, "/ws") as client:
        assert [await client.receive() for _ in range(3)] == ['{"message":"Hi"}', '"Hi"', b"Hi"]
        assert await client.receive_json() == {"type": "message", "content": "Hi", "timestamp": 1.5}
        assert [await client.receive() for _ in range(2)] == ["Hi", b"Hi"]


@covers(
    "004 receiving: by payload type",
    "004 receiving: JSON",
    "004 receiving: text",
    "004 receiving: bytes",
)
async def test_receiving(app):
    @app.ws_route("/ws")
    async def handler(websocket):
        await websocket.accept()
        channel = Channel(websocket, "json")
        message = await channel.receive()
        data = await channel.receive_json()
        text = await channel.receive_text()
        raw = await channel.receive_bytes()
        await channel.send([message, data, text, raw.hex()])

    async with run_app(app), connect(app, "/ws") as client:
        await client.send_json({"a": 1})
        await client.send_bytes(b'{"b": 2}')  # JSON may come in either kind of message
        await client.send_text("three")
        await client.send_bytes(b"\x04")
        assert await client.receive_json() == [{"a": 1}, {"b": 2}, "three", "04"]


@covers("004 receiving: by payload type")
@pytest.mark.parametrize(("kind", "message"), [("text", "[]"), ("bytes", b"[]")])
async def test_receiving_what_the_payload_type_says(app, kind, message):
    received = []

    @app.ws_route("/ws")
    async def handler(websocket):
        await websocket.accept()
        received.append(await Channel(websocket, kind).receive())

    async with run_app(app), connect(app, "/ws") as client:
        await (client.send_text(message) if kind == "text" else client.send_bytes(message))
        await client.receive_close()
    assert received == [message]


@covers("002 expiry: a channel with a time to live", "002 expiry: asking whether it is over")
async def test_a_time_to_live(app, autojump_clock):
    @app.ws_route("/ws")
    async def handler(ws):
        await ws.accept()
        channel = Channel(websocket=ws, payload_type="json", expires=300)
        await ChannelBox.add_channel_to_group(channel, group_name="notifications")
        for seconds in (299, 2):
            await trio.sleep(seconds)
            is_expired = await channel._is_expired()
            rooms = await ChannelBox.show_groups()
            await channel.send({"expired": is_expired, "rooms": list(rooms)})

    async with run_app(app), connect(app, "/ws", timeout=400) as client:
        assert await client.receive_json() == {"expired": False, "rooms": ["notifications"]}
        assert await client.receive_json() == {"expired": True, "rooms": []}
        assert await client.receive_close() == (1000, "")


@covers("004 events: connect and disconnect")
@pytest.mark.parametrize("accepted", ["before", "after"])
async def test_connect_and_disconnect(app, accepted):
    seen = []

    @app.ws_route("/ws")
    async def handler(websocket):
        if accepted == "before":
            await websocket.accept()
        channel = Channel(websocket)

        @channel.on_connect
        async def handle_connect(channel: Channel):
            seen.append("connect")
            await channel.send(f"hello {channel.uuid}")

        @channel.on_disconnect
        async def handle_disconnect(channel: Channel):
            seen.append("disconnect")

        assert callable(handle_connect)  # it is returned, so it can also be called
        assert callable(handle_disconnect)
        if accepted == "after":
            await channel.accept()
        await channel.receive()

    async with run_app(app), connect(app, "/ws") as client:
        assert (await client.receive_json()).startswith("hello ")
        assert seen == ["connect"]
        await client.close()
        await client.app_finished()
    assert seen == ["connect", "disconnect"]


@covers("004 events: message")
async def test_each_message_is_an_event(app):
    seen = []

    @app.ws_route("/ws")
    async def handler(websocket):
        await websocket.accept()
        channel = Channel(websocket)

        @channel.on_message
        async def handle_message(channel: Channel, message: Any):
            seen.append(message)

        await channel.send([await channel.receive(), await channel.receive()])

    async with run_app(app), connect(app, "/ws") as client:
        await client.send_json("a")
        await client.send_json({"b": 1})
        assert await client.receive_json() == ["a", {"b": 1}]
    assert seen == ["a", {"b": 1}]


@covers("004 events: error")
async def test_an_error_is_an_event(app):
    seen = []

    @app.ws_route("/ws")
    async def handler(websocket):
        await websocket.accept()
        channel = Channel(websocket)

        @channel.on_error
        async def handle_error(channel: Channel, error: Exception):
            seen.append(error)
            await channel.send_json({"error": "not JSON"})

        while True:
            try:
                await channel.send(await channel.receive())
            except ValueError:
                continue

    async with run_app(app), connect(app, "/ws") as client:
        await client.send_text("{")
        assert await client.receive_json() == {"error": "not JSON"}
        await client.send_text("[1]")
        assert await client.receive_json() == [1]
    [error] = seen
    assert isinstance(error, json.JSONDecodeError)
