"""A peer that leaves at any moment, the first ones included, is nobody's failure: nothing in the log but its end."""

import logging
from typing import Any

import pytest
import trio

from nexios_trio import NexiosApp
from nexios_trio.websockets import ChannelBox, WebSocket, WebSocketConsumer, open_channel
from nexios_trio.websockets.middleware import (
    AuthenticationMiddleware,
    token_in_cookie,
    token_in_first_message,
    wrap_asgi,
)
from tests.server.support import running, upgrade
from tests.wire import Wire, house, settle

LEAVERS = 12  # of each kind, at once


async def greet(ws: WebSocket) -> None:
    await ws.accept()
    await ws.send_text("hello")
    await trio.lowlevel.checkpoint()
    await ws.send_json("again")
    await ws.receive_text()


async def late(ws: WebSocket) -> None:
    for _ in range(20):
        await trio.lowlevel.checkpoint()
    await greet(ws)
    await ws.close()


async def group(ws: WebSocket) -> None:
    async with open_channel(ws) as channel, channel.member("room"):

        @channel.on_connect
        async def welcome(channel: Any) -> None:
            await channel.send("x" * 1000)

        @channel.on_disconnect
        async def farewell(channel: Any) -> None:
            await channel.send("gone")

        await ChannelBox.group_send("room", "x" * 1000)
        await channel.receive()


class Consumer(WebSocketConsumer):
    async def on_connect(self, websocket: WebSocket) -> None:
        await trio.lowlevel.checkpoint()
        await websocket.accept()
        await websocket.send_text("hello")

    async def on_disconnect(self, websocket: WebSocket, close_code: int) -> None:
        await websocket.send_text("gone")


class Wrapping:
    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def our_receive() -> Any:
            return await receive()

        async def our_send(event: Any) -> None:
            await send(event)

        await self._app(scope, our_receive, our_send)


async def verify(token: str) -> str:
    await trio.lowlevel.checkpoint()
    return token


def application() -> NexiosApp:
    app = NexiosApp()
    app.add_ws_route("/greet", greet)
    app.add_ws_route("/late", late)
    app.add_ws_route("/group", group)
    app.add_ws_route(Consumer.as_route("/consumer"))
    app.add_ws_route("/first-message", greet, middleware=[AuthenticationMiddleware(token_in_first_message(verify))])
    app.add_ws_route("/nobody", greet, middleware=[AuthenticationMiddleware(token_in_cookie("x", verify))])
    app.add_ws_route("/asgi", late, middleware=[wrap_asgi(Wrapping)])
    return app


PATHS = ["greet", "late", "group", "consumer", "first-message", "nobody", "asgi"]


async def leave(server: Any, path: str, patience: int, *, reset: bool) -> None:
    client = await server.connect()
    await client.send(upgrade(f"/{path}"))
    for _ in range(patience):
        await trio.lowlevel.checkpoint()
    if reset:
        client.reset()
    else:
        await client.stream.aclose()


@pytest.mark.parametrize("wrap", [lambda app: app, Wrapping], ids=["ours", "wrapped"])
@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("path", PATHS)
async def test_nothing_is_logged(caplog: Any, path: str, reset: bool, wrap: Any) -> None:
    caplog.set_level(logging.INFO)
    async with running(wrap(application())) as server:
        async with trio.open_nursery() as nursery:
            for patience in range(LEAVERS):
                nursery.start_soon(lambda patience=patience: leave(server, path, 4 * patience, reset=reset))
    assert [record.getMessage() for record in caplog.records if record.levelno > logging.INFO] == []


@pytest.mark.parametrize("fault", [OSError("gone"), trio.BrokenResourceError()])
@pytest.mark.parametrize("handler", [greet, late, group, Consumer()])
async def test_a_server_that_says_so_by_an_error(caplog: Any, handler: Any, fault: Exception) -> None:
    async with house() as inside:
        wires = []
        for good in range(3):
            wire = inside.begin(handler)
            wires.append(wire)
            fail_after(wire, good, fault)
        await settle()
    assert caplog.records == []
    assert all(wire.error is None for wire in wires)


def fail_after(wire: Wire, events: int, fault: Exception) -> None:
    """Let the server's `send` raise, but for the first `events`."""
    send = wire.send

    async def failing(event: Any) -> None:
        if len(wire.events) >= events:
            wire.fault = fault
        await send(event)

    wire.send = failing  # type: ignore[method-assign]
