"""Three devices of one user: each gets each message once, also what came while it was away, and all end together."""

import json
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio

from nexios_trio.testing import World
from tests.e2e.users_app import make
from tests.server.processes import QUICK, Command, command
from tests.server.support import DEADLINE, Raw, frame

AWAY = 20


class Device:
    """A client that keeps the position of the last message that it has."""

    def __init__(self, server: Command) -> None:
        self.server = server
        self.position = ""
        self.pid = 0
        self.texts: list[str] = []

    async def come(self, *, other_than: int = 0) -> None:
        """Connect, to another worker than one."""
        refused: list[Raw] = []
        while True:
            self.raw = await self.server.connect()
            since = f"&since={self.position}" if self.position else ""
            assert b" 101 " in await self.raw.handshake(f"/device?user=ann{since}")
            missed: list[Any] = []
            while "pid" not in (message := await self.take())["data"]:
                missed.append(message)
            self.pid = message["data"]["pid"]
            if self.pid != other_than:
                break
            refused.append(self.raw)
        for raw in refused:
            raw.reset()
        assert message["data"]["recovered"]
        for message in missed:
            self.keep(message)

    async def take(self) -> Any:
        return json.loads((await self.raw.frame())[1])

    def keep(self, message: Any) -> None:
        self.position = message["position"]
        self.texts.append(message["data"])

    async def hear(self, count: int) -> None:
        for _ in range(count):
            self.keep(await self.take())


@pytest.mark.slow
async def test_three_devices_on_two_workers(tmp_path):
    async with command(tmp_path / "log", "tests.e2e.users_app:app", *QUICK, "--workers", "2") as server:
        devices = [Device(server) for _ in range(3)]
        for each in devices[:2]:
            await each.come()
        await devices[2].come(other_than=devices[0].pid)
        assert len({each.pid for each in devices}) == 2
        async with await server.connect() as desk_raw:
            assert b" 101 " in await desk_raw.handshake("/desk?user=bob")

            async def say(text: str) -> Any:
                await desk_raw.send(frame(1, json.dumps(["ann", text]).encode()))
                return json.loads((await desk_raw.frame())[1])

            assert await say("0") is True
            for each in devices:
                await each.hear(1)
            away = devices[2]
            away.raw.reset()
            for number in range(1, AWAY + 1):
                assert await say(str(number)) is True
            await away.come(other_than=away.pid)
            for each in devices[:2]:
                await each.hear(AWAY)
            assert await say("last") is True
            for each in devices:
                await each.hear(1)
                assert each.texts == [*map(str, range(AWAY + 1)), "last"]
            assert await say("!") == 3
            for each in devices:
                assert await each.raw.frame() == (8, (4003).to_bytes(2, "big") + b"signed out")
            with trio.fail_after(DEADLINE):
                while await say("nobody there") is not False:
                    pass  # a worker has sent the close frames, and the hub has not heard of it yet
        for each in devices:
            each.raw.reset()


async def until_told(client: Any) -> list[Any]:
    """What was missed, up to where the device is told so."""
    missed = []
    while "pid" not in (message := await client.receive_json())["data"]:
        missed.append(message)
    assert message["data"]["recovered"]
    return missed


async def test_three_devices_on_three_nodes(autojump_clock):
    async with World(make=make, nodes=3, seed=7) as world, AsyncExitStack() as stack:

        async def come(node: int, path: str = "/device", **query: str) -> Any:
            return await stack.enter_async_context(world.connect(path, node=node, query=query))

        desk = await come(1, "/desk", user="bob")

        async def say(text: str) -> Any:
            await desk.send_json(["ann", text])
            return await desk.receive_json()

        devices = [await come(node, user="ann") for node in range(3)]
        for each in devices:
            assert await until_told(each) == []
        assert await say("first") is True
        firsts = [await each.receive_json() for each in devices]
        assert [first["data"] for first in firsts] == ["first"] * 3
        await devices[2].close()
        texts = list(map(str, range(AWAY)))
        for text in texts:
            assert await say(text) is True
        devices[2] = await come(0, user="ann", since=firsts[2]["position"])
        assert [message["data"] for message in await until_told(devices[2])] == texts
        for each in devices[:2]:
            assert [(await each.receive_json())["data"] for _ in texts] == texts
        assert await say("last") is True
        for each in devices:
            assert (await each.receive_json())["data"] == "last"
        assert await say("!") == 3
        for each in devices:
            assert await each.receive_close() == (4003, "signed out")
        assert await say("!") == 0
