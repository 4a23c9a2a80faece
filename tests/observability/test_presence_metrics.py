"""What Prometheus reads of presence."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from nexios_trio import NexiosApp, WebSocket, open_channel
from nexios_trio.observability.census import take_census
from nexios_trio.testing import World, connect, run_app
from tests.asgi import request

LEASE = 9.0


def make_app() -> NexiosApp:
    app = NexiosApp()
    app.mount_metrics(authorize=lambda request: True)
    app.box.keep_presence("room.*", grace=1, lease=LEASE)
    app.box.keep_presence("hall")

    @app.ws_route("/{group}")
    async def serve(ws: WebSocket, group: str) -> None:
        ws.user = "ann"
        async with open_channel(ws) as channel, channel.member(group):
            async for text in channel:
                app.box.update_presence(channel, group, text)

    return app


async def shown(app: NexiosApp) -> list[str]:
    text = (await request(app, "/metrics")).body.decode()
    return [line for line in text.splitlines() if line.startswith("nexios_presence")]


def numbers(rooms: int, halls: int) -> list[str]:
    return [
        f'nexios_presences{{pattern="room.*",worker="0"}} {rooms:.1f}',
        f'nexios_presences{{pattern="hall",worker="0"}} {halls:.1f}',
        'nexios_presence_leases_lost_total{worker="0"} 0.0',
    ]


async def test_presences_by_pattern() -> None:
    app = make_app()

    @asynccontextmanager
    async def member(group: str) -> AsyncIterator[Any]:
        async with connect(app, f"/{group}") as client:
            await client.send_json("busy")
            await wait_all_tasks_blocked()
            yield client

    async with run_app(app):
        assert await shown(app) == numbers(0, 0)
        async with member("room.1"), member("room.1"), member("room.2"), member("hall"), member("elsewhere"):
            assert await shown(app) == numbers(3, 1)
        assert await shown(app) == numbers(0, 0)


async def test_without_presence_there_is_none() -> None:
    app = NexiosApp()
    app.mount_metrics(authorize=lambda request: True)
    async with run_app(app):
        assert await shown(app) == []


def test_leases_that_were_lost() -> None:
    async def scene() -> None:
        async with World(make=make_app, nodes=2, clock=None, check=False) as world:
            async with world.connect("/room.1", node=0), world.connect("/elsewhere", node=1):
                await trio.sleep(2 * LEASE)
                world.cut_engine(0, 3 * LEASE)
                world.cut_engine(1, 3 * LEASE)
                await trio.sleep(4 * LEASE)
                found = [await take_census(node.app.runtime) for node in world.nodes]
                assert [census.lost_leases for census in found] == [1, 0]
                assert [census.presences["room.*"] for census in found] == [1, 0]

    trio.run(scene, clock=MockClock(autojump_threshold=0))
