"""Servers, nodes and clients, each a process; and a proxy of ours before each node's server."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from nexios_trio.core.position import Position
from tests.engines.redis.server import RedisProcess, free_port
from tests.faults.clients import END, WAIT_SECONDS, connected
from tests.faults.count import Came, Member, Result, Sent, count
from tests.faults.proxy import FaultProxy
from tests.server.processes import COMMAND, PROJECT

GROUPS = ("kept.one", "kept.two")
PUBLISHERS = 8
NODES = 2
START_SECONDS = 60.0
RUN_SECONDS = 900.0
PREFIX = b"nx:faults:"


class Node:
    """An application in a process of its own, which talks to its server by a proxy of its own."""

    def __init__(self, proxy: FaultProxy, log: Path, variables: dict[str, str]) -> None:
        self.proxy = proxy
        self.port = free_port()
        self._log = log
        self._variables = variables
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def start(self) -> None:
        """Start it; `serves` tells when it can be used."""
        environment = {
            **os.environ,
            "NEXIOS_ENGINE": f"redis://127.0.0.1:{self.proxy.port}",
            "NO_COLOR": "1",
            **self._variables,
        }
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(COMMAND), "run", "tests.faults.app:app", "-b", f"127.0.0.1:{self.port}", "--no-banner"],
                cwd=PROJECT,
                env=environment,
                stdout=log,
                stderr=log,
            )

    async def serves(self) -> None:
        with trio.fail_after(START_SECONDS):
            while True:
                try:
                    await (await trio.open_tcp_stream("127.0.0.1", self.port)).aclose()
                    return
                except OSError:
                    assert self._process is not None
                    if self._process.poll() is not None:
                        raise RuntimeError(f"a node does not start: {self.log[-2000:]}") from None
                    await trio.sleep(0.02)

    def signal(self, sign: int) -> None:
        assert self._process is not None
        self._process.send_signal(sign)

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Stage:
    """What a row of the table happens to.

    Args:
        binary: of the server.
        options: of its command line.
        variables: of the nodes' environments, each one's.
    """

    def __init__(self, binary: str, options: tuple[str, ...], variables: tuple[dict[str, str], ...] = ()) -> None:
        self._binary = binary
        self._options = options
        self._variables = variables or ({},) * NODES
        self._folder = Path(tempfile.mkdtemp(prefix="nexios-faults-"))
        self._servers: list[RedisProcess] = []
        self.server: RedisProcess  # the one that nodes talk to; the first, where they talk to two
        self.nodes: list[Node] = []
        self.goes_on = False  # there is something to publish
        self.happened = 0  # times that something was done

    @asynccontextmanager
    async def set(self) -> AsyncGenerator["Stage"]:
        async with trio.open_nursery() as nursery:
            try:
                self.server = await self.add_server()
                for number in range(NODES):
                    proxy = FaultProxy(self.server.path)
                    await nursery.start(proxy.run)
                    self.nodes.append(Node(proxy, self._folder / f"node{number}.log", self._variables[number]))
                    self.nodes[-1].start()
                for node in self.nodes:
                    await node.serves()
                yield self
            finally:
                for node in self.nodes:
                    node.end()
                for server in self._servers:
                    server.__exit__()
                nursery.cancel_scope.cancel()

    # Servers

    async def add_server(self, *options: str) -> RedisProcess:
        """Start another server. It is ended with the stage."""
        server = RedisProcess(self._binary, *self._options, *options, has_port=True)
        self._servers.append(server)
        await trio.to_thread.run_sync(server.start)
        return server

    async def add_replica(self) -> RedisProcess:
        """Start a replica of the server, and wait until it has everything."""
        replica = await self.add_server(
            "--replicaof", "127.0.0.1", str(self.server.port), "--repl-diskless-sync-delay", "0"
        )
        with trio.fail_after(START_SECONDS):
            while "master_link_status:up" not in _ask(replica, "INFO", "replication").decode():
                await trio.sleep(0.02)
        return replica

    def promote(self, server: RedisProcess) -> None:
        """Make a replica a server of its own; the nodes do not know of it."""
        _ask(server, "REPLICAOF", "NO", "ONE")

    async def restart(self, sign: int) -> None:
        """End the server, and start it again with what it has kept."""
        await trio.to_thread.run_sync(self.server.stop, sign)
        await trio.to_thread.run_sync(self.server.start)

    async def drop(self, server: RedisProcess) -> None:
        """Kill a server for good."""
        await trio.to_thread.run_sync(server.stop, signal.SIGKILL)

    def ask(self, *words: str | bytes | int) -> Any:
        """Say something to the server, past the proxies."""
        return _ask(self.server, *words)

    def keys(self, kind: str) -> list[bytes]:
        """Return the server's keys of a kind: "m" for metas, "h" for histories."""
        found: list[bytes] = self.ask("KEYS", PREFIX + kind.encode() + b":*")
        return found

    # Clients

    async def run(self, messages: int, happen: Any, least: int, **more: Any) -> tuple[Result, dict[int, int]]:
        """Let members and publishers do their work while it happens. Returns the counts, and close codes by their number.

        Args:
            messages: of all publishers together, or more, until it has happened often enough.
            least: how often that is.
            happen: called with the stage; it ends soon after that does not go on.
            more: what publishers are told besides.
        """
        order = {"ports": [node.port for node in self.nodes], "groups": GROUPS}
        publishers_count = more.get("publishers", PUBLISHERS)
        share = {"publishers": publishers_count, **order, "count": messages // publishers_count, **more}
        self.goes_on = True
        with trio.fail_after(RUN_SECONDS):
            async with client("members", order) as members:
                assert await members.line() == "ready"
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(happen, self)
                    async with client("publishers", share) as publishers:
                        assert await publishers.line() == "enough"
                        while self.happened < least:
                            await trio.sleep(0.05)
                        await publishers.tell("stop")
                        sent = json.loads(await publishers.line())["sent"]
                    self.goes_on = False
                seen = await self._end_groups(members)
        codes: Counter[int] = Counter()
        for each in seen:
            codes.update({int(code): times for code, times in each["closed"].items()})
        return count(_members(seen), _sent(sent)), codes

    async def _end_groups(self, members: "Client") -> list[dict[str, Any]]:
        """Send the last message of each group until all members have had it."""
        seen: list[Any] = []

        async def listen() -> None:
            seen.extend(json.loads(await members.line())["members"])
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            number = 0
            while True:
                for group in GROUPS:
                    number += 1
                    try:
                        async with connected(self.nodes[number % NODES].port, "/publish") as socket:
                            await socket.send_message(json.dumps({"group": group, "data": [END, number]}))
                            await socket.get_message()
                    except Exception:
                        await trio.sleep(WAIT_SECONDS)
                await trio.sleep(0.5)
        return seen


class Client:
    """A process of `clients`."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._said = b""

    async def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        await self._process.stdin.send_all(line.encode() + b"\n")

    async def line(self) -> str:
        while b"\n" not in self._said:
            assert self._process.stdout is not None
            data = await self._process.stdout.receive_some()
            if not data:
                raise RuntimeError("the clients have failed: see above")
            self._said += data
        line, _, self._said = self._said.partition(b"\n")
        return line.decode()


@asynccontextmanager
async def client(kind: str, order: dict[str, Any]) -> AsyncGenerator[Client]:
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "tests.faults.clients", kind], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    try:
        await process.stdin.send_all(json.dumps(order).encode() + b"\n")
        yield Client(process)
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


def _members(seen: list[dict[str, Any]]) -> list[Member]:
    members = []
    for each in seen:
        member = Member(each["name"], each["group"])
        for kind, *rest in each["events"]:
            if kind == "came":
                member.add(Came(rest[0], rest[1], Position.parse(rest[2])))
            elif kind == "return":
                member.add_return(*rest)
            else:
                member.add_gap(*rest)
        members.append(member)
    return members


def _sent(records: list[dict[str, Any]]) -> list[Sent]:
    return [
        Sent(
            publisher=record["publisher"],
            number=record["number"],
            group=record["group"],
            position=None if record["position"] is None else Position.parse(record["position"]),
            tries=record["tries"],
            known_at=record.get("known_at", 0.0),
            is_refused=record["position"] is None and not record["maybe"],
        )
        for record in records
    ]


def _ask(server: RedisProcess, *words: str | bytes | int) -> Any:
    with server.talk() as ask:
        return ask(*words)


@attrs.frozen
class Row:
    """A row of the table.

    Args:
        happen: what happens while it is published.
        may_lose: the server may forget, so there may be notices; otherwise there is none.
        least: how often it must happen.
        options: of the server.
        variables: of the nodes' environments, each one's.
        more: what publishers are told.
    """

    name: str
    happen: Any
    may_lose: bool = False
    least: int = 8
    options: tuple[str, ...] = ()
    variables: tuple[dict[str, str], ...] = ()
    more: dict[str, Any] = attrs.Factory(dict)

    async def run(self, binary: str, messages: int, least: int | None = None) -> tuple[Result, dict[int, int], int]:
        """Returns the counts, close codes by their number, and how often it has happened."""
        async with Stage(binary, self.options, self.variables).set() as stage:
            result, codes = await stage.run(messages, self.happen, self.least if least is None else least, **self.more)
            return result, codes, stage.happened

    def problems(self, result: Result) -> list[str]:
        """Return what must not be."""
        found = [] if result.is_sound else ["unsound"]
        if result.announced and not self.may_lose:
            found.append("announced, though nothing was lost")
        return found
