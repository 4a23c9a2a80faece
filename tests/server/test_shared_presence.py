"""Workers of `nexios-trio run` know who is present on all of them: real processes, real sockets."""

import json
import os
import signal
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio

from tests.server.presence_app import GRACE_SECONDS
from tests.server.processes import QUICK, Command, command
from tests.server.support import DEADLINE, Raw

pytestmark = pytest.mark.slow

COUNT = 40


async def opened(server: Command, stack: AsyncExitStack, path: str) -> tuple[Raw, Any]:
    client = await stack.enter_async_context(await server.connect())
    await client.handshake(path)
    return client, json.loads((await client.frame())[1])


async def present(server: Command) -> dict[str, int]:
    return dict(json.loads((await server.get("/present")).rpartition(b"\r\n\r\n")[2]))


async def test_those_of_a_worker_that_is_killed_leave_once_each_after_their_grace(tmp_path):
    arguments = ("tests.server.presence_app:app", *QUICK, "--workers", "2")
    async with command(tmp_path / "log", *arguments) as server, AsyncExitStack() as stack:
        where: dict[str, set[int]] = {}
        for number in range(COUNT):
            _, pid = await opened(server, stack, f"/in/u{number}")
            where[f"u{number}"] = {pid}
        pids = sorted({pid for each in where.values() for pid in each})
        assert len(pids) == 2
        watcher, (pid, users) = await opened(server, stack, "/watch")
        assert set(users) == set(where)
        victim = next(each for each in pids if each != pid)
        for _ in range(4):  # devices of one user, on both
            _, device = await opened(server, stack, "/in/both")
            where.setdefault("both", set()).add(device)
        assert json.loads((await watcher.frame())[1])[:2] == ["joined", "both"]
        assert where["both"] == set(pids)
        assert await present(server) == {**dict.fromkeys(where, 1), "both": 4}

        lost = {user for user, at in where.items() if at == {victim}}
        assert lost
        os.kill(victim, signal.SIGKILL)
        # Theirs leave after the grace, and the info of the one who stays is that of another device, perhaps.
        left, versions, began = [], [], trio.current_time()
        with trio.fail_after(GRACE_SECONDS + DEADLINE):
            while len(left) < len(lost):
                kind, user, version = json.loads((await watcher.frame())[1])
                versions.append(version)
                if kind == "left":
                    left.append(user)
                else:
                    assert (kind, user) == ("updated", "both")
        assert sorted(left) == sorted(lost)
        assert trio.current_time() - began >= GRACE_SECONDS * 0.9
        assert versions == list(range(versions[0], versions[0] + len(versions)))
        assert set(await present(server)) == set(where) - lost
        user = next(iter(lost))
        await opened(server, stack, f"/in/{user}")
        assert json.loads((await watcher.frame())[1])[:2] == ["joined", user]
        server.signal()
        assert await server.status() == 0
