"""Workers of `nexios-trio run` know who is present on all of them: real processes, real sockets."""

import json
import os
import signal
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio

from tests.server.presence_app import GRACE_SECONDS
from tests.server.processes import QUICK, Command, command
from tests.server.support import DEADLINE, Raw

pytestmark = pytest.mark.slow

MEMBERS = 300  # of each worker


async def opened(server: Command, stack: AsyncExitStack, path: str) -> tuple[Raw, Any]:
    client = await stack.enter_async_context(await server.connect())
    await client.handshake(path)
    return client, json.loads((await client.frame())[1])


async def present(server: Command) -> dict[str, int]:
    return dict(json.loads((await server.get("/present")).rpartition(b"\r\n\r\n")[2]))


async def fill(server: Command, stack: AsyncExitStack) -> dict[str, set[int]]:
    """Let users come until each of two workers has so many; by user, at which of them it is."""
    where: dict[str, set[int]] = {}
    members: Counter[int] = Counter()
    while len(members) < 2 or min(members.values()) < MEMBERS:
        user = f"u{len(where)}"
        _, pid = await opened(server, stack, f"/in/{user}")
        where[user] = {pid}
        members[pid] += 1
    return where


class Changes:
    """What a watcher is told, until some have left."""

    def __init__(self) -> None:
        self.left: list[str] = []
        self.others: list[tuple[str, str]] = []
        self.versions: list[int] = []

    async def until_left(self, watcher: Raw, count: int) -> None:
        while len(self.left) < count:
            kind, user, version = json.loads((await watcher.frame())[1])
            self.versions.append(version)
            if kind == "left":
                self.left.append(user)
            else:
                self.others.append((kind, user))


async def test_those_of_a_worker_that_is_killed_leave_once_each_after_their_grace(tmp_path):
    arguments = ("tests.server.presence_app:app", *QUICK, "--workers", "2")
    async with command(tmp_path / "log", *arguments) as server, AsyncExitStack() as stack:
        where = await fill(server, stack)
        pids = sorted({pid for each in where.values() for pid in each})
        watcher, (pid, users) = await opened(server, stack, "/watch")
        assert set(users) == set(where)
        victim = next(each for each in pids if each != pid)
        devices = 0
        while where.setdefault("both", set()) != set(pids):  # devices of one user, on both
            _, device = await opened(server, stack, "/in/both")
            where["both"].add(device)
            devices += 1
        assert json.loads((await watcher.frame())[1])[:2] == ["joined", "both"]
        assert await present(server) == {**dict.fromkeys(where, 1), "both": devices}

        lost = {user for user, at in where.items() if at == {victim}}
        assert len(lost) >= MEMBERS
        killed = trio.current_time()
        os.kill(victim, signal.SIGKILL)
        back = sorted(lost)[:10]
        for user in back:
            await opened(server, stack, f"/in/{user}")
        if trio.current_time() - killed < GRACE_SECONDS:
            lost -= set(back)  # nobody sees that they were away
        # The others leave after the grace, and the info of the one who stays is that of another device, perhaps.
        changes = Changes()
        with trio.fail_after(GRACE_SECONDS + DEADLINE):
            await changes.until_left(watcher, len(lost))
        assert sorted(changes.left) == sorted(lost)
        assert trio.current_time() - killed >= GRACE_SECONDS * 0.9
        versions = changes.versions
        assert versions == list(range(versions[0], versions[0] + len(versions)))
        assert set(changes.others) <= {("updated", "both"), *(("joined", user) for user in lost & set(back))}
        assert set(await present(server)) == set(where) - lost | set(back)
        user = next(iter(lost - set(back)))
        await opened(server, stack, f"/in/{user}")
        assert json.loads((await watcher.frame())[1])[:2] == ["joined", user]
        server.signal()
        assert await server.status() == 0
