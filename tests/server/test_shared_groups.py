"""Workers of `nexios-trio run` share their groups: real processes, real sockets."""

import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import trio

from nexios_trio.engines.hub.frames import HUB_VERSION
from tests.server.processes import QUICK, Command, command
from tests.server.support import DEADLINE, Raw, frame

pytestmark = pytest.mark.slow


class Member:
    """A client in the room, and where it is."""

    def __init__(self, client: Raw, pid: int, channel: str) -> None:
        self.client = client
        self.pid = pid
        self.channel = channel

    async def say(self, text: str) -> None:
        await self.client.send(frame(1, text.encode()))

    async def hear(self, count: int) -> list[str]:
        return [(await self.client.frame())[1].decode() for _ in range(count)]


async def join(server: Command, stack: AsyncExitStack) -> Member:
    client = await stack.enter_async_context(await server.connect())
    await client.handshake("/room/1")
    return Member(client, *json.loads((await client.frame())[1]))


async def until_logged(server: Command, text: str) -> None:
    with trio.fail_after(DEADLINE):
        while text not in server.log:
            await trio.sleep(0.01)  # for another process, which has no condition to wait for


async def ask(server: Command, path: str) -> Any:
    return json.loads((await server.get(path)).rpartition(b"\r\n\r\n")[2])


@asynccontextmanager
async def room(log: Any, workers: int, count: int) -> AsyncIterator[tuple[Command, list[Member]]]:
    """Members in all of the workers."""
    arguments = ("tests.server.apps:app", *QUICK, "--workers", str(workers))
    async with command(log, *arguments) as server, AsyncExitStack() as stack:
        members = [await join(server, stack) for _ in range(count)]
        assert len({member.pid for member in members}) == workers
        yield server, members


async def test_workers_are_one_application(tmp_path):
    async with room(tmp_path / "log", 2, 12) as (server, members):
        first = members[0]
        other = next(member for member in members if member.pid != first.pid)
        here, everywhere, health, name = await ask(server, "/size/1")
        assert here < everywhere == 12
        assert (health, name) == ("up", "tests.server.apps:app")
        for number in range(20):
            await first.say(f"{number} of first")
            await other.say(f"{number} of other")
        heard = [await member.hear(40) for member in members]
        assert all(one == heard[0] for one in heard)
        for who in ("first", "other"):
            assert [text for text in heard[0] if text.endswith(who)] == [f"{number} of {who}" for number in range(20)]
        for member in (first, other):
            assert await ask(server, f"/tell/{member.channel}") is True
            assert await member.hear(1) == ["hello, you"]
        assert await ask(server, f"/tell/{server.process.pid}") is False
        await server.get("/close")
        assert {await member.client.closed() for member in members} == {4000}
        server.signal()
        assert await server.status() == 0
    assert "every worker has its own groups" not in server.log


async def test_a_worker_that_is_killed_costs_the_members_of_others_nothing(tmp_path):
    async with room(tmp_path / "log", 2, 12) as (server, members):
        speaker = members[0]
        victim = next(member.pid for member in members if member.pid != speaker.pid)
        others = [member for member in members if member.pid != victim]
        for number in range(300):
            if number == 100:
                os.kill(victim, signal.SIGKILL)
            await speaker.say(str(number))
        for member in others:
            assert await member.hear(300) == [str(number) for number in range(300)]
        async with AsyncExitStack() as stack:
            with trio.fail_after(DEADLINE):
                while (back := await join(server, stack)).pid in (speaker.pid, victim):
                    pass
            await speaker.say("welcome back")
            assert await back.hear(1) == ["welcome back"]
        server.signal()
        assert await server.status() == 0


async def test_a_worker_that_stands_still_holds_up_nobody_and_misses_nothing(tmp_path):
    async with room(tmp_path / "log", 2, 12) as (_, members):
        speaker = members[0]
        still = next(member.pid for member in members if member.pid != speaker.pid)
        os.kill(still, signal.SIGSTOP)
        for number in range(100):
            await speaker.say(str(number))
        for member in members:
            if member.pid != still:
                assert await member.hear(100) == [str(number) for number in range(100)]
        os.kill(still, signal.SIGCONT)
        for member in members:
            if member.pid == still:
                assert await member.hear(100) == [str(number) for number in range(100)]


async def test_a_worker_that_garbles_its_line_to_the_hub_is_replaced(tmp_path):
    async with room(tmp_path / "log", 2, 12) as (server, members):
        victim = await ask(server, "/garble")
        left = [member for member in members if member.pid != victim]
        for member in members:
            if member.pid == victim:
                assert await member.client.closed() == 1012
        async with AsyncExitStack() as stack:
            with trio.fail_after(DEADLINE):
                while (back := await join(server, stack)).pid in (victim, left[0].pid):
                    pass
            await left[0].say("welcome back")
            for member in (back, *left):
                assert await member.hear(1) == ["welcome back"]
        server.signal()
        assert await server.status() == 0
    assert "carries no frame" in server.log
    assert f"process {victim}) ended with status 0" in server.log


APP = """
from pathlib import Path

from nexios_trio import NexiosApp
from nexios_trio.engines.hub import link as hub_link

if Path("newer").exists():
    hub_link.HUB_VERSION += 1

app = NexiosApp()
"""


async def test_workers_of_a_release_that_the_hub_does_not_understand_replace_nobody(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    log = tmp_path / "log"
    async with command(log, "app:app", *QUICK, "--workers", "2", folder=tmp_path) as server:
        (tmp_path / "newer").touch()
        server.signal(signal.SIGHUP)
        await until_logged(server, "no worker is replaced any more")
        versions = f"its hub speaks version {HUB_VERSION}, and this worker version {HUB_VERSION + 1}."
        assert f"{versions} Stop the server and start it again" in server.log
        (tmp_path / "newer").unlink()
        server.signal(signal.SIGHUP)
        await until_logged(server, "all workers are replaced")
        server.signal()
        assert await server.status() == 0
