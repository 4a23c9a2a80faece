"""What the access log counts, with a real server and real sockets."""

import logging
import re
from collections.abc import Callable
from typing import Any

import pytest

from nexios_trio import NexiosApp
from nexios_trio.middleware import AuthenticationMiddleware, token_in_cookie
from nexios_trio.websockets import Channel, ChannelBox, open_channel
from tests.server.support import config, eventually, frame, running, settings, upgrade

LOGGER = logging.getLogger("test.access")


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.INFO, LOGGER.name)

    def found() -> list[str]:
        """The lines, but not how long things took."""
        texts = [record.getMessage() for record in caplog.records if record.name == LOGGER.name]
        return [re.sub(r" [\d.]+ m?s\b", "", text) for text in texts]

    return found


def make_app() -> NexiosApp:
    app = NexiosApp(settings=settings())

    @app.ws_route("/room", middleware=[AuthenticationMiddleware(token_in_cookie("who", lambda name: name))])
    async def room(ws: Any) -> None:
        async with open_channel(ws) as channel, channel.member("room"):
            await channel.send("welcome")
            async for message in ws.iter_text():
                if message == "all":
                    await ChannelBox.group_send("room", "to all")
                elif message == "others":
                    await ChannelBox.group_send("room", "to others", exclude=channel)
                elif message == "alone":
                    await ChannelBox.send_to(channel.uuid, "to you")

    @app.ws_route("/late")
    async def late(ws: Any) -> None:
        await ws.accept()
        channel = Channel(ws)
        await ChannelBox.add_channel_to_group(channel, "room")
        await ws.receive_text()

    return app


async def test_messages_in_both_directions(lines):
    async with running(make_app(), config(accesslog=LOGGER)) as server:
        async with await server.connect() as client, await server.connect() as other:
            await client.handshake("/room?token=secret", "Cookie: who=ann")
            assert await client.frame() == (1, b'"welcome"')
            await other.handshake("/late")
            for message in (b"all", b"others", b"alone", b"all"):
                await client.send(frame(1, message))
            assert [await client.frame() for _ in range(3)] == [(1, b'"to all"'), (1, b'"to you"'), (1, b'"to all"')]
            assert [await other.frame() for _ in range(3)] == [(1, b'"to all"'), (1, b'"to others"'), (1, b'"to all"')]
            await client.send(frame(8, b"\x03\xe8"))
            assert await client.closed() == 1000
            await other.send(frame(1, b"bye"))
            assert await other.closed() == 1000
        await eventually(lambda: len(lines()) == 4)
    assert lines() == [
        "connect /room 127.0.0.1 ann",
        "connect /late 127.0.0.1 -",
        "end /room 127.0.0.1 ann 1000 ↑4 ↓4",
        "end /late 127.0.0.1 - 1000 ↑1 ↓3",
    ]


async def test_refusals(lines):
    async with running(make_app(), config(accesslog=LOGGER)) as server:
        await server.request(upgrade("/nowhere"))
        await server.request(upgrade("/late", "Origin: https://a.example"))
        await server.get("/nowhere?token=secret")
    assert lines() == [
        "refuse /nowhere 127.0.0.1 - 404",
        "refuse /late 127.0.0.1 - 403",
        "GET /nowhere HTTP/1.1 127.0.0.1 - 404 34 B",
    ]


async def test_an_application_that_is_not_ours(lines):
    async def echo(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] != "lifespan"
        await receive()
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x" * 5000})
            return
        if scope["path"] == "/no":
            await send({"type": "websocket.close"})
            return
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": event["text"]})

    async with running(echo, config(accesslog=LOGGER)) as server:
        async with await server.connect() as client:
            await client.handshake("/echo")
            await client.send(frame(1, b"a") + frame(1, b"b"))
            assert [await client.frame() for _ in range(2)] == [(1, b"a"), (1, b"b")]
            await client.send(frame(8, b"\x0f\xa0"))
            assert await client.closed() == 4000
        await server.request(upgrade("/no"))
        await server.get("/")
        await eventually(lambda: len(lines()) == 4)
    assert sorted(lines()) == [
        "GET / HTTP/1.1 127.0.0.1 - 200 5000 B",
        "connect /echo 127.0.0.1 -",
        "end /echo 127.0.0.1 - 4000 ↑2 ↓2",
        "refuse /no 127.0.0.1 - 403",
    ]


async def test_what_a_slow_peer_was_not_given_is_not_counted(lines):
    """Its outbox is full of messages, and is thrown away when it is dropped."""
    app = NexiosApp(settings=settings(outbox_messages=4, write_timeout=30))

    @app.ws_route("/room")
    async def room(ws: Any) -> None:
        async with open_channel(ws) as channel, channel.member("room"):
            async for _ in ws.iter_text():
                pass

    @app.ws_route("/flood")
    async def flood(ws: Any) -> None:
        await ws.accept()
        while app.box.size_of("room"):
            await ChannelBox.group_send("room", "x" * 60_000)

    async with running(app, config(accesslog=LOGGER), app.settings) as server:
        async with await server.connect() as slow, await server.connect() as publisher:
            await slow.handshake("/room")
            await publisher.handshake("/flood")
            await eventually(lambda: any("end /room" in line for line in lines()))
    [line] = [line for line in lines() if "end /room" in line]
    delivered = int(line.partition("↓")[2])
    assert line.startswith("end /room 127.0.0.1 - 1013 ↑0 ")
    assert 0 < delivered < 1000
