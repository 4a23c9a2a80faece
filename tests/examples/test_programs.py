"""The three programs that were written from Nexios' documents alone, in memory and with real sockets."""

import json
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest
import trio
import trio_websocket

from nexios_trio.testing import run_app
from nexios_trio.testing.client import connect
from tests.examples.support import load
from tests.server.support import DEADLINE, running, websocket


class OverSocket:
    """`trio_websocket`'s client, with the calls of the in-memory one that are used here."""

    def __init__(self, socket: trio_websocket.WebSocketConnection) -> None:
        self._socket = socket

    async def send_json(self, data: Any) -> None:
        await self._socket.send_message(json.dumps(data))

    async def send_bytes(self, data: bytes) -> None:
        await self._socket.send_message(data)

    async def receive_json(self) -> Any:
        return json.loads(await self._socket.get_message())

    async def receive_bytes(self) -> Any:
        return await self._socket.get_message()

    async def receive_close(self) -> tuple[int, str]:
        with pytest.raises(trio_websocket.ConnectionClosed):
            await self._socket.get_message()
        reason = self._socket.closed
        return int(reason.code), reason.reason or ""


class Site:
    """A running application: `open(path)` connects, `get(path)` asks by HTTP."""

    def __init__(self, connecting: Callable[[str], Any], get: Callable[[str], Any]) -> None:
        self.open = connecting
        self.get = get


@asynccontextmanager
async def in_memory(name: str, **constants: Any) -> AsyncIterator[Site]:
    async with run_app(load(name, **constants).app) as app:

        async def get(path: str) -> Any:
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return (await client.get(path)).json()

        yield Site(lambda path: connect(app, path), get)


@asynccontextmanager
async def over_sockets(name: str, **constants: Any) -> AsyncIterator[Site]:
    with trio.fail_after(3 * DEADLINE):
        async with running(load(name, **constants).app) as server:

            async def get(path: str) -> Any:
                return json.loads((await server.get(path)).partition(b"\r\n\r\n")[2])

            @asynccontextmanager
            async def connecting(path: str) -> AsyncIterator[OverSocket]:
                async with websocket(server.port, path) as socket:
                    yield OverSocket(socket)

            yield Site(connecting, get)


everywhere = pytest.mark.parametrize("site", [in_memory, over_sockets])


@everywhere
async def test_a_hundred_clients_look_at_one_dashboard(site: Any) -> None:
    async with site("dashboard", INTERVAL=0.5) as dashboard, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(dashboard.open("/ws/dashboard")) for _ in range(100)]
        seen = [[await client.receive_json() for _ in range(2)] for client in clients]
        assert await dashboard.get("/api/clients") == {"clients": 100}
        for messages in seen:
            assert [set(message) for message in messages] == [{"load", "timestamp"}] * 2
            assert messages[0]["timestamp"] < messages[1]["timestamp"]
        asked = time.time()
        late = await stack.enter_async_context(dashboard.open("/ws/dashboard"))
        assert (await late.receive_json())["timestamp"] <= asked  # from the history


@everywhere
async def test_rooms_of_the_game_do_not_hear_of_each_other(site: Any) -> None:
    move = {"type": "move"}
    async with site("game") as game:
        async with game.open("/game/red?player=ann") as ann, game.open("/game/blue?player=cy") as cy:
            assert await ann.receive_json() == {"joined": "ann", "players": 1}
            assert await cy.receive_json() == {"joined": "cy", "players": 1}
            async with game.open("/game/red?player=bob") as bob:
                assert await ann.receive_json() == await bob.receive_json() == {"joined": "bob", "players": 2}
                await bob.send_json("what?")
                assert await bob.receive_json() == {"error": 'send {"type": "move"}'}
                for step in (1, 2, 3):
                    await ann.send_json(move)
                    positions = {"positions": {"ann": step, "bob": 0}}
                    assert await ann.receive_json() == await bob.receive_json() == positions
                assert await ann.receive_json() == await bob.receive_json() == {"winner": "ann"}
                await bob.send_json(move)  # the next round
                assert await ann.receive_json() == {"positions": {"ann": 0, "bob": 1}}
            assert await ann.receive_json() == {"left": "bob", "players": 1}
            await cy.send_json(move)
            assert await cy.receive_json() == {"positions": {"cy": 1}}


@everywhere
@pytest.mark.parametrize("path", ["/game/green?player=ann", "/game/red?player=ann"])
async def test_the_game_says_why_it_refuses(site: Any, path: str) -> None:
    async with site("game") as game:
        async with game.open("/game/red?player=ann") as ann:
            async with game.open(path) as other:
                assert await other.receive_close() == (4004, "rooms are red and blue; a name is taken once")
            await ann.send_json({"type": "move"})
            assert await ann.receive_json() == {"joined": "ann", "players": 1}
            assert await ann.receive_json() == {"positions": {"ann": 1}}  # nobody has left


@everywhere
async def test_the_collector_takes_binary_readings_and_watchers_see_them(site: Any) -> None:
    async with site("iot") as collector:
        async with collector.open("/iot/device/pump") as pump:
            await pump.send_bytes(struct.pack(">If", 1, 0.5))
            assert await pump.receive_bytes() == b"\x06"
            async with collector.open("/iot/watch") as watcher:
                await watcher.send_json("hello")
                assert await watcher.receive_json() == {"error": "watchers only listen"}
                await pump.send_bytes(struct.pack(">If", 7, 1.5))
                assert await pump.receive_bytes() == b"\x06"
                reading = await watcher.receive_json()
                assert (reading["device"], reading["seconds"], reading["value"]) == ("pump", 7, 1.5)
            await pump.send_bytes(b"short")
            assert await pump.receive_json() == {"error": "a reading has 8 bytes, not 5"}
            assert [one["seconds"] for one in await collector.get("/api/readings")] == [1, 7]
            await pump.send_json("text")
            assert await pump.receive_close() == (1003, "the message is not bytes")
