"""A Cluster of the same binary: some primaries, and a replica of each where that is wanted."""

import itertools
import re
import time
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

from nexios_trio.engines.base import Engine
from nexios_trio.engines.redis.engine import RedisEngine
from nexios_trio.engines.redis.keys import PARTS, RedisKeys, slot_of
from tests.engines.redis.sentinels import TAIL_SECONDS, paused, wait_for
from tests.engines.redis.server import RedisProcess, free_port

SLOTS = 16384
NODE_TIMEOUT_MS = 1000


class ClusterSetup:
    """Args:
    primaries: that have slots.
    with_replicas: each has one.
    spare: primaries without slots.
    """

    def __init__(self, binary: str, primaries: int = 3, *, with_replicas: bool = False, spare: int = 0) -> None:
        self._stack = ExitStack()
        self._count = primaries
        self._with_replicas = with_replicas
        count = primaries * (2 if with_replicas else 1) + spare
        self.servers = [self._make(binary) for _ in range(count)]
        self.ids: dict[RedisProcess, str] = {}

    @staticmethod
    def _make(binary: str) -> RedisProcess:
        more = (
            "--cluster-node-timeout",
            str(NODE_TIMEOUT_MS),
            "--cluster-replica-validity-factor",
            "0",
            "--cluster-port",
            str(free_port()),
        )
        cluster = (
            "--cluster-enabled",
            "yes",
            "--cluster-require-full-coverage",
            "no",
            "--repl-diskless-sync-delay",
            "0",
        )
        return RedisProcess(binary, *cluster, *more, has_port=True)

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in self.servers[:2])

    def __enter__(self) -> "ClusterSetup":
        try:
            self._begin()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _begin(self) -> None:
        for server in self.servers:
            self._stack.enter_context(server)
            self.ids[server] = ask(server, "CLUSTER", "MYID").decode()
        each = SLOTS // self._count
        for number, server in enumerate(self.servers[: self._count]):
            end = SLOTS - 1 if number == self._count - 1 else (number + 1) * each - 1
            ask(server, "CLUSTER", "ADDSLOTSRANGE", number * each, end)
            ask(server, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        first = self.servers[0]
        for server in self.servers[1:]:
            bus = next(more for name, more in itertools.pairwise(server._options) if name == "--cluster-port")
            ask(first, "CLUSTER", "MEET", "127.0.0.1", server.port, bus)
        wait_for(lambda: all(self._knows(server) == len(self.servers) for server in self.servers))
        if self._with_replicas:
            for number in range(self._count):
                replica = self.servers[self._count + number]
                ask(replica, "CLUSTER", "REPLICATE", self.ids[self.servers[number]])
            wait_for(lambda: all(self._is_linked(each) for each in self.servers[self._count : 2 * self._count]))
        wait_for(lambda: all(b"cluster_state:ok" in ask(server, "CLUSTER", "INFO") for server in self.servers))

    @staticmethod
    def _knows(server: RedisProcess) -> int:
        found = re.search(rb"cluster_known_nodes:(\d+)", ask(server, "CLUSTER", "INFO"))
        assert found is not None
        return int(found[1])

    @staticmethod
    def _is_linked(server: RedisProcess) -> bool:
        role = ask(server, "ROLE")
        return role[0] == b"slave" and role[3] == b"connected"

    def owner(self, slot: int) -> RedisProcess:
        """The primary of a slot, as most servers say."""
        for begin, end, primary, *_ in ask(self._alive(), "CLUSTER", "SLOTS"):
            if begin <= slot <= end:
                return next(server for server in self.servers if server.port == primary[1])
        raise LookupError(slot)

    def _alive(self) -> RedisProcess:
        return next(server for server in self.servers if server._process is not None)

    # What happens

    def move(self, slot: int, target: RedisProcess) -> None:
        """Move one slot, key by key, as `redis-cli --cluster reshard` does."""
        source = self.begin_move(slot, target)
        self.move_keys(slot, source, target)
        self.end_move(slot, source, target)

    def begin_move(self, slot: int, target: RedisProcess) -> RedisProcess:
        source = self.owner(slot)
        ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", self.ids[source])
        ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", self.ids[target])
        return source

    def move_keys(self, slot: int, source: RedisProcess, target: RedisProcess) -> None:
        while keys := ask(source, "CLUSTER", "GETKEYSINSLOT", slot, 5):
            ask(source, "MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)

    def end_move(self, slot: int, source: RedisProcess, target: RedisProcess) -> None:
        for server in (target, source, *self.servers):
            if server._process is not None and ask(server, "ROLE")[0] == b"master":
                ask(server, "CLUSTER", "SETSLOT", slot, "NODE", self.ids[target])

    def move_at_once(self, slot: int, target: RedisProcess) -> None:
        """Move one slot as a whole, as Valkey does from 9.0 on."""
        ask(self.owner(slot), "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", self.ids[target])
        wait_for(lambda: self.owner(slot) is target)

    def kill_primary(self, slot: int) -> None:
        """kill -9 of the primary of a slot; it is started again when its replica has its place."""
        old = self.owner(slot)
        old.stop(9)
        wait_for(lambda: self.owner(slot) is not old)
        old.start()
        wait_for(lambda: self._is_linked(old))

    def lose_tail(self, slot: int) -> None:
        """The same, with a replica that was cut off: what was done for a moment before is gone."""
        old = self.owner(slot)
        with paused(self._replica_of(old)):
            ask(old, "CLIENT", "KILL", "TYPE", "replica")  # else it reads the rest when it goes on
            time.sleep(TAIL_SECONDS)
            old.stop(9)
        wait_for(lambda: self.owner(slot) is not old)
        old.start()
        wait_for(lambda: self._is_linked(old))

    def restart_primary(self, slot: int) -> None:
        """kill -9 of a primary without a replica, which has kept nothing when it is there again."""
        old = self.owner(slot)
        old.stop(9)
        old.start()
        wait_for(lambda: b"cluster_state:ok" in ask(old, "CLUSTER", "INFO"))

    def cut_links(self, slot: int) -> None:
        for server in self.servers:
            ask(server, "CLIENT", "KILL", "TYPE", "pubsub", "SKIPME", "yes")

    def _replica_of(self, primary: RedisProcess) -> RedisProcess:
        for server in self.servers:
            role = ask(server, "ROLE")
            if role[0] == b"slave" and role[2] == primary.port:
                return server
        raise LookupError(primary.port)

    def plan_failover(self, slot: int) -> None:
        """Have a replica take its primary's place, in agreement with it."""
        old = self.owner(slot)
        ask(self._replica_of(old), "CLUSTER", "FAILOVER")
        wait_for(lambda: self.owner(slot) is not old)
        wait_for(lambda: self._is_linked(old))


def ask(server: RedisProcess, *words: Any) -> Any:
    with server.talk() as talk:
        return talk(*words)


def slots_of(name: str, groups: tuple[str, ...], prefix: str = "nx") -> list[int]:
    """The slots of groups of an engine with this name."""
    keys = RedisKeys(f"{prefix}:{name}", PARTS)
    return [slot_of(keys.channel(group)) for group in groups]


class ClusterFaults:
    """Engines for a schedule, in such a Cluster."""

    def __init__(self, setup: ClusterSetup, name: str, deadline: float = 5.0) -> None:
        self.setup = setup
        self._name = name
        self._deadline = deadline
        self.proxies: dict[Engine, Any] = {}

    @asynccontextmanager
    async def engine(self) -> AsyncGenerator[RedisEngine]:
        engine = RedisEngine(self.setup.url, probe_seconds=0.5)
        engine.name, engine.deadline = self._name, self._deadline
        yield engine
