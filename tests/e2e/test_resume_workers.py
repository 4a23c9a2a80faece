"""Connections that break while a group is talking, with two workers: nothing is missed, and nothing comes twice."""

import json
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.e2e.resume_app import ROOM
from tests.server.processes import QUICK, Command, command
from tests.server.support import Raw, frame

pytestmark = pytest.mark.slow

RECONNECTS = 20
MEMBERS = 4
NEWCOMERS = 60
PATIENCE = 120.0  # seconds, on a machine that does much else besides
OUTBOX_BYTES = 262_144
MESSAGE_BYTES = 4000


class Member:
    """A client that keeps what it gets, and the position of the last of it."""

    def __init__(self, server: Command) -> None:
        self.server = server
        self.numbers: list[int] = []
        self.position = ""
        self.pids: list[int] = []  # of the workers that it came to
        self.was_told = False
        self.raw: Raw | None = None

    async def connect(self) -> tuple[Raw, int]:
        raw = await self.server.connect()
        assert b" 101 " in await raw.handshake(f"/chat?since={self.position}" if self.position else "/chat")
        [_, data] = await raw.frame()
        return raw, json.loads(data)["data"]["pid"]

    async def come(self, *, to_another: bool) -> None:
        """Reset the connection, and come back: to the same worker, or to another."""
        refused = []
        while True:
            raw, pid = await self.connect()
            if not self.pids or (pid != self.pids[-1]) is to_another:
                break
            refused.append(raw)  # it stays for so long, so that the other worker has less to do
        for other in [*refused, *([] if self.raw is None else [self.raw])]:
            other.reset()
        self.raw = raw
        self.pids.append(pid)

    async def take(self) -> bool:
        """Take a message; False when the server closes."""
        assert self.raw is not None
        opcode, data = await self.raw.frame()
        if opcode == 8:
            return False
        message = json.loads(data)
        if message["data"] == {"gone": True}:
            self.was_told = True
        else:
            assert message["group"] == ROOM
            self.position = message["position"]
            self.numbers.append(message["data"][0])
        return True

    async def take_until(self, last: int) -> None:
        while not self.numbers or self.numbers[-1] < last:
            assert await self.take()

    def assert_all(self, last: int) -> None:
        assert not self.was_told
        assert self.numbers == list(range(1, last + 1))


@asynccontextmanager
async def serving(log: Path, *arguments: str) -> AsyncIterator[Command]:
    with trio.fail_after(PATIENCE):
        async with command(log, "tests.e2e.resume_app:app", *QUICK, "--workers", "2", *arguments) as server:
            yield server


class Flood:
    """A client at whose wish a worker sends and sends."""

    def __init__(self, raw: Raw) -> None:
        self.raw = raw

    async def stop(self) -> int:
        """Returns the last number."""
        await self.raw.send(frame(1, b"stop"))
        _, data = await self.raw.frame()
        last: int = json.loads(data)
        return last


@asynccontextmanager
async def flood(server: Command, size: int) -> AsyncIterator[Flood]:
    async with await server.connect() as raw:
        assert b" 101 " in await raw.handshake(f"/flood?size={size}")
        yield Flood(raw)


async def test_twenty_reset_connections_half_of_which_come_back_to_the_other_worker(tmp_path: Path) -> None:
    async def come_and_go(member: Member, step: int) -> None:
        for number in range(RECONNECTS):
            for _ in range(step):
                await member.take()
            await member.come(to_another=bool(number % 2))

    async with serving(tmp_path / "log") as server:
        members = [Member(server) for _ in range(MEMBERS)]
        for member in members:
            await member.come(to_another=True)
        async with flood(server, 10) as flooding:
            async with trio.open_nursery() as nursery:
                for number, member in enumerate(members):
                    nursery.start_soon(come_and_go, member, 17 + number)
            last = await flooding.stop()
        for member in members:
            await member.take_until(last)
            member.raw.reset()
    for member in members:
        changes = [one != other for one, other in zip(member.pids, member.pids[1:], strict=False)]
        assert changes == [False, True] * (RECONNECTS // 2)
        member.assert_all(last)


async def test_newcomers_beside_a_talker_who_never_pauses(tmp_path: Path) -> None:
    said = 0

    async def talk(server: Command) -> None:
        nonlocal said
        async with await server.connect() as raw:
            assert b" 101 " in await raw.handshake("/say")
            while True:
                await raw.send(frame(1, str(said + 1).encode()))
                said = json.loads((await raw.frame())[1])

    pids = set()
    async with serving(tmp_path / "log") as server, trio.open_nursery() as nursery:
        nursery.start_soon(talk, server)
        before = await server.connect()  # each stays until the next is there, which therefore comes to the other worker
        for _ in range(NEWCOMERS):
            member = Member(server)
            member.raw, pid = await member.connect()
            pids.add(pid)
            await member.take_until(said + 20)
            assert not member.was_told
            assert member.numbers == list(range(1, member.numbers[-1] + 1))
            before.reset()
            before = member.raw
        before.reset()
        nursery.cancel_scope.cancel()
    assert len(pids) == 2


async def test_a_member_that_was_too_slow_comes_back_for_megabytes(tmp_path: Path) -> None:
    report = tmp_path / "report"
    limits = ("--set", f"outbox_bytes={OUTBOX_BYTES}", "--set", "outbox_messages=256")
    async with serving(tmp_path / "log", *limits, "--set", f"write_timeout={PATIENCE}") as server:
        member = Member(server)
        sock = trio.socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await sock.connect(("127.0.0.1", server.port))
        async with Raw(trio.SocketStream(sock)) as stuck, flood(server, MESSAGE_BYTES) as flooding:
            assert b" 101 " in await stuck.handshake(f"/chat?report={report}")
            await stuck.frame()
            member.raw = stuck
            assert await member.take()
            while not report.exists() or not report.read_text():
                await trio.sleep(0.01)
            evicted_at = len(member.numbers)
            await member.come(to_another=True)
            await member.take_until(evicted_at + 2 * 1_048_576 // MESSAGE_BYTES)
            last = await flooding.stop()
            await member.take_until(last)
            member.raw.reset()
    ended: dict[str, Any] = json.loads(report.read_text())
    assert ended["code"] == 1013
    assert ended["most"] <= OUTBOX_BYTES + MESSAGE_BYTES + 200  # and the message that is being written
    member.assert_all(last)


async def test_a_worker_that_is_killed_and_a_rolling_restart_cost_nobody_a_message(tmp_path: Path) -> None:
    last = 0

    async def stay(member: Member) -> None:
        """Come back whenever the connection breaks, as a browser does."""
        while True:
            try:
                member.raw, pid = await member.connect()
                member.pids.append(pid)
                async with member.raw:
                    while await member.take():
                        pass
            except (OSError, AssertionError, trio.BrokenResourceError):  # the server is not there, or has just gone
                await trio.sleep(0.01)

    async def talk(server: Command, members: list[Member]) -> None:
        """Until the workers have been replaced, and a little more, which only their successors can deliver."""
        nonlocal last
        said = 0
        while not last or said < last:
            try:
                async with await server.connect() as raw:
                    assert b" 101 " in await raw.handshake("/say")
                    while not last or said < last:
                        await raw.send(frame(1, str(said + 1).encode()))
                        opcode, data = await raw.frame()
                        if opcode == 8:
                            break
                        said = json.loads(data)
                        if said == 200:
                            os.kill(members[0].pids[-1], signal.SIGKILL)
                        if said == 400:
                            server.signal(signal.SIGHUP)
                        if said > 400 and not last and "all workers are replaced" in server.log:
                            last = said + 20
            except (OSError, AssertionError, trio.BrokenResourceError):
                await trio.sleep(0.01)

    async with serving(tmp_path / "log") as server:
        members = [Member(server) for _ in range(MEMBERS)]
        async with trio.open_nursery() as nursery:
            for member in members:
                nursery.start_soon(stay, member)
            while not all(member.pids for member in members):
                await trio.sleep(0.01)
            before = {pid for member in members for pid in member.pids}
            await talk(server, members)
            while any(member.numbers[-1:] != [last] for member in members):
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
        for member in members:
            member.assert_all(last)
        assert before < {pid for member in members for pid in member.pids}
        server.signal()
        assert await server.status() == 0
