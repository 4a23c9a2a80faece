"""Handles on groups, and registries, used as document 004 does."""

import pytest

from nexios_trio import NexiosApp
from nexios_trio.testing import ConnectionOver
from nexios_trio.websockets import Channel, ChannelGroup, ChannelRegistry
from tests.documents.catalogue import covers
from tests.documents.support import clients


@covers("004 groups: a handle", "004 groups: add", "004 groups: remove", "004 groups: send", "004 groups: send JSON")
async def test_a_handle_on_a_group():
    app = NexiosApp()
    group = ChannelGroup("chat")

    @app.ws_route("/ws")
    async def handler(websocket):
        await websocket.accept()
        channel = Channel(websocket)
        await group.add(channel)
        await websocket.receive()
        await group.send({"message": "everyone"})
        await group.send_json({"type": "broadcast", "content": "everyone", "timestamp": 1.0})
        await group.remove(channel)
        await group.send({"message": "everyone else"})
        await channel.send("left")

    async with clients(app, "/ws", "/ws") as (ada, bob):
        await ada.send_text("go")
        for client in (ada, bob):
            assert await client.receive_json() == {"message": "everyone"}
            assert await client.receive_json() == {"type": "broadcast", "content": "everyone", "timestamp": 1.0}
        assert await ada.receive_json() == "left"
        assert await bob.receive_json() == {"message": "everyone else"}
        with pytest.raises(ConnectionOver):
            await ada.receive()


@covers(
    "004 registry: a new one",
    "004 registry: add",
    "004 registry: remove",
    "004 registry: get by id",
    "004 registry: get all",
)
async def test_a_registry():
    app = NexiosApp()
    registry = ChannelRegistry()

    @app.ws_route("/ws")
    async def handler(websocket):
        await websocket.accept()
        channel = Channel(websocket)
        await registry.add(channel)
        channel_id = str(channel.uuid)
        assert await registry.get(channel_id) is channel
        channels = await registry.get_all()
        await channel.send(len(channels))
        await websocket.receive()
        await registry.remove(channel)
        assert await registry.get(channel_id) is None
        await channel.send(len(await registry.get_all()))
        await registry.add(channel)

    async with clients(app, "/ws", "/ws") as (ada, bob):
        assert [await ada.receive_json(), await bob.receive_json()] == [1, 2]
        await ada.send_text("remove me")
        assert await ada.receive_json() == 1
        await ada.app_finished()
        await bob.send_text("me too")
        assert await bob.receive_json() == 0  # ada, who was added again, left with her connection
