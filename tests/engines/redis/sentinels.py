"""A primary, a replica and three Sentinels of the same binary, for tests of fail-overs."""

import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import hiredis

from nexios_trio.engines.base import Engine
from nexios_trio.engines.redis.engine import RedisEngine
from tests.engines.redis.server import START_SECONDS, RedisProcess, free_port

MASTER = "main"
DOWN_AFTER_MS = 500
FAILOVER_SECONDS = 30.0
TAIL_SECONDS = 0.3  # for which a replica stands still


@contextmanager
def paused(server: RedisProcess) -> Iterator[None]:
    server.pause()
    try:
        yield
    finally:
        server.resume()


class SentinelProcess:
    """One Sentinel, with a configuration of its own, which it writes to."""

    def __init__(self, binary: str, primary_port: int, password: str = "") -> None:
        self._binary = binary
        self.port = free_port()
        self._directory = Path(tempfile.mkdtemp(prefix="nexios-sentinel-"))
        self._config = self._directory / "sentinel.conf"
        lines = [
            f"port {self.port}",
            f"dir {self._directory}",
            f"sentinel monitor {MASTER} 127.0.0.1 {primary_port} 2",
            f"sentinel down-after-milliseconds {MASTER} {DOWN_AFTER_MS}",
            f"sentinel failover-timeout {MASTER} 3000",
        ]
        if password:
            lines += [f"requirepass {password}", f"sentinel sentinel-pass {password}"]
        self._config.write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen([self._binary, str(self._config), "--sentinel"], stdout=log, stderr=log)
        wait_for(lambda: can_connect(self.port))

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(START_SECONDS)
            self._process = None


class SentinelSetup:
    """Two servers, of which one is the primary, and three Sentinels.

    Args:
        password: that the Sentinels ask for.
    """

    def __init__(self, binary: str, password: str = "", *options: str) -> None:
        self._stack = ExitStack()
        self.password = password
        first = RedisProcess(binary, *options, has_port=True)
        second = RedisProcess(binary, *options, "--replicaof", "127.0.0.1", str(first.port), has_port=True)
        self.servers = [first, second]
        self.sentinels = [SentinelProcess(binary, first.port, password) for _ in range(3)]

    def __enter__(self) -> "SentinelSetup":
        try:
            for server in self.servers:
                self._stack.enter_context(server)
            self.wait_for_replica()
            for sentinel in self.sentinels:
                self._stack.callback(sentinel.stop)
                sentinel.start()
            wait_for(lambda: all(self._sees_all(sentinel) for sentinel in self.sentinels))
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _sees_all(self, sentinel: SentinelProcess) -> bool:
        with self.talk(sentinel) as ask:
            facts = ask("SENTINEL", "MASTER", MASTER)
            found = dict(zip(facts[::2], facts[1::2], strict=True))
            return (found[b"num-slaves"], found[b"num-other-sentinels"]) == (b"1", b"2")

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        more = f"?sentinel_password={self.password}" if self.password else ""
        return f"redis+sentinel://{hosts}/{MASTER}{more}"

    @contextmanager
    def talk(self, sentinel: SentinelProcess) -> Iterator[Any]:
        with talk_to(sentinel.port) as ask:
            if self.password:
                ask("AUTH", self.password)
            yield ask

    def primary(self) -> RedisProcess:
        """The one that most Sentinels name."""
        ports = []
        for sentinel in self.sentinels:
            with self.talk(sentinel) as ask:
                ports.append(int(ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)[1]))
        port = max(set(ports), key=ports.count)
        return next(server for server in self.servers if server.port == port)

    def replica(self) -> RedisProcess:
        primary = self.primary()
        return next(server for server in self.servers if server is not primary)

    def wait_for_replica(self) -> None:
        """Until some server has a replica that is linked."""
        wait_for(lambda: any(_has_replica(server) for server in self.servers))

    def kill_primary(self) -> None:
        """kill -9, and start it again when the other one has its place."""
        old = self.primary()
        old.stop(9)
        wait_for(lambda: self.primary() is not old)
        old.start()
        self.wait_for_replica()

    def lose_tail(self) -> None:
        """The same, with a replica that was cut off: what was done for a moment before is gone."""
        old = self.primary()
        with paused(self.replica()):
            with old.talk() as ask:
                ask("CLIENT", "KILL", "TYPE", "replica")  # else it reads the rest when it goes on
            time.sleep(TAIL_SECONDS)
            old.stop(9)
        wait_for(lambda: self.primary() is not old)
        old.start()
        self.wait_for_replica()

    def plan_failover(self) -> None:
        old = self.primary()

        def begin() -> bool:
            with self.talk(self.sentinels[0]) as ask:
                try:
                    ask("SENTINEL", "FAILOVER", MASTER)
                except hiredis.ReplyError:  # one is on its way, or no replica is good enough yet
                    return False
            return True

        wait_for(begin)
        wait_for(lambda: self.primary() is not old)
        self.wait_for_replica()


class SentinelFaults:
    """Engines for a schedule, on such servers."""

    def __init__(self, setup: SentinelSetup, name: str, deadline: float = 5.0) -> None:
        self.setup = setup
        self._name = name
        self._deadline = deadline
        self.proxies: dict[Engine, Any] = {}

    @asynccontextmanager
    async def engine(self) -> AsyncGenerator[RedisEngine]:
        engine = RedisEngine(self.setup.url, probe_seconds=0.5)
        engine.name, engine.deadline = self._name, self._deadline
        yield engine


def _has_replica(server: RedisProcess) -> bool:
    try:
        with server.talk() as ask:
            role = ask("ROLE")
            return role[0] == b"slave" and role[3] == b"connected"
    except OSError:
        return False


def can_connect(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + FAILOVER_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("it did not happen in time")
        time.sleep(0.02)


@contextmanager
def talk_to(port: int) -> Iterator[Any]:
    reader = hiredis.Reader(notEnoughData=Ellipsis)
    with socket.create_connection(("127.0.0.1", port)) as sock:

        def ask(*words: str | bytes | int) -> Any:
            sock.sendall(hiredis.pack_command(words))
            while (answer := reader.gets()) is Ellipsis:
                data = sock.recv(65_536)
                if not data:
                    raise OSError("closed")
                reader.feed(data)
            if isinstance(answer, Exception):
                raise answer
            return answer

        yield ask
