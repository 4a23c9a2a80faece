"""Mistakes that readers of the documents make, and what they are told."""

from collections.abc import Callable

import pytest

from nexios_trio import NexiosApp
from nexios_trio.testing import run_app
from nexios_trio.testing.client import connect
from nexios_trio.websockets import Channel, ChannelBox, ChannelGroup


async def told(mistake):
    """What the exception says that the mistake raises in a handler."""
    app = NexiosApp()

    @app.ws_route("/ws")
    async def handler(ws):
        await ws.accept()
        with pytest.raises(TypeError) as caught:
            await mistake(ws)
        await ws.send_text(str(caught.value))

    async with run_app(app), connect(app, "/ws") as client:
        return await client.receive_text()


@pytest.mark.parametrize(
    "look",
    [
        lambda groups: groups["room"],
        list,
        lambda groups: "room" in groups,
        len,
        bool,
    ],
)
async def test_looking_into_groups_without_await(look: Callable[[object], object]):
    async def mistake(ws):
        look(ChannelBox.show_groups())

    assert await told(mistake) == "show_groups() is awaited before it is looked into: (await show_groups())[name]"


@pytest.mark.parametrize("join", [lambda ws: ChannelBox.add_channel_to_group(ws, "room"), ChannelGroup("room").add])
async def test_a_connection_in_place_of_its_channel(join):
    assert await told(join) == "only a Channel joins a group, as in Channel(websocket), not WebSocket"


async def test_a_message_in_place_of_an_event():
    assert "see send_text, send_bytes and send_json" in await told(lambda ws: ws.send("hello"))


async def test_what_a_channel_is_made_of():
    async def mistake(ws):
        Channel(ws, expires="60")

    assert await told(mistake) == "expires must be a number of seconds, or None, not str"
