"""The guide to several machines as it stands: its nginx in front of two nodes and a Valkey, one killed, one stopped."""

import json
import re
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self

import pytest
import trio

from tests.engines.redis.server import BINARIES, MISSING, SERVERS, RedisProcess
from tests.server.processes import PROJECT, QUICK, Command, command
from tests.server.support import DEADLINE, Raw, frame
from tests.server.test_nginx import browser, connect, folder, proxy

__all__ = ["folder"]

pytestmark = [pytest.mark.slow, pytest.mark.skipif(SERVERS == [None], reason=MISSING)]

GUIDE = (PROJECT / "docs/guides/several-machines.md").read_text()
NODES = ("10.0.0.7:8000", "10.0.0.8:8000")  # in the guide


class Member:
    """A client that keeps the position of what it has seen, and comes back by way of the proxy."""

    def __init__(self, name: str, port: int) -> None:
        self.raw: Raw | None = None
        self.said: list[str] = []
        self._name = name
        self._port = port
        self._position = ""

    async def __aenter__(self) -> Self:
        await self.come()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()

    async def leave(self) -> None:
        if self.raw is not None:
            await trio.aclose_forcefully(self.raw.stream)
            self.raw = None

    async def come(self) -> None:
        """Returns when the room has it, and it has what it missed."""
        with trio.fail_after(DEADLINE):
            while True:
                await self.leave()
                self.raw = await connect(self._port)
                path = f"/ws/chat/tea?username={self._name}&since={self._position}"
                await self.raw.send(browser(self._port, path, f"https://chat.example.com:{self._port}"))
                if (await self.raw.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 "):
                    break
                await trio.sleep(0.01)  # nginx gives nobody to a node that has just refused
        is_back = bool(self._position)
        while (data := await self.take())["type"] != "welcome":
            pass
        assert data["resumed"] is is_back

    async def take(self) -> Any:
        opcode, payload = await self.raw.frame()
        assert opcode == 1, payload
        message = json.loads(payload)
        self._position = message.get("position", self._position)
        if message["data"]["type"] == "message":
            self.said.append(message["data"]["content"])
        return message["data"]

    async def say(self, text: str) -> None:
        await self.raw.send(frame(1, json.dumps({"type": "message", "content": text}).encode()))

    async def until(self, text: str) -> None:
        while text not in self.said:
            await self.take()


async def first_to_end(members: list[Member]) -> Member:
    """Returns the one whose connection ends first, without a close frame."""
    ended: list[Member] = []

    async def wait(member: Member) -> None:
        await member.raw.rest()
        ended.append(member)
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for member in members:
            nursery.start_soon(wait, member)
    return ended[0]


@asynccontextmanager
async def proxied(folder: Path, port: int, nodes: list[Command]) -> AsyncIterator[None]:
    [upstream] = re.findall(r"^```nginx\n(.*?)^```", GUIDE, re.M | re.S)
    for address, each in zip(NODES, nodes, strict=True):
        assert f"server {address} " in upstream
        upstream = upstream.replace(address, f"127.0.0.1:{each.port}")
    assert "`proxy_pass http://chat;`" in GUIDE
    async with proxy(folder, port, "chat", **{"server {": f"{upstream}\nserver {{"}):
        yield


async def test_one_node_is_killed_and_the_other_restarted(folder: Path, unused_port: int, tmp_path: Path) -> None:
    with RedisProcess(BINARIES[SERVERS[0]]) as redis:
        options = ("examples.chat.app:app", *QUICK, "--set", "trusted_proxies=127.0.0.1", "--engine", redis.url)
        async with AsyncExitStack() as stack:
            nodes = [await stack.enter_async_context(command(tmp_path / f"{name}.log", *options)) for name in "ab"]
            await stack.enter_async_context(proxied(folder, unused_port, nodes))
            names = ("ann", "bob")
            members = [await stack.enter_async_context(Member(name, unused_port)) for name in names]

            nodes[0].signal(signal.SIGKILL)
            gone = await first_to_end(members)
            [stays] = [member for member in members if member is not gone]
            await stays.say("while one is away")
            await stays.until("while one is away")
            await gone.come()
            assert gone.said == ["while one is away"]

            bind = f"127.0.0.1:{nodes[0].port}"
            await stack.enter_async_context(command(tmp_path / "c.log", *options, bind=bind))
            nodes[1].signal()
            for member in members:
                assert await member.raw.closed() == 1012
            await stays.come()
            await stays.say("from the node that is back")
            await stays.until("from the node that is back")
            await gone.come()
            assert members[0].said == members[1].said == ["while one is away", "from the node that is back"]
