"""Two nodes that publish while something happens again and again: what was sent, and what came of it.

In one process, and short. `make faults` does it with processes, clients, and everything that can happen.
"""

import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import attrs
import trio

from nexios_trio.core.message import Message, Position
from nexios_trio.engines.base import EngineState, HistoryLimits
from nexios_trio.engines.redis.engine import RedisEngine
from nexios_trio.exceptions import EngineError
from tests.engines.redis.faults import RedisFaults
from tests.engines.redis.server import RedisProcess

KEPT = HistoryLimits(max_bytes=2**28, overflow="trim")
GROUPS = ("one", "two", "three")
PUBLISHERS = 4  # on each node
DEADLINE_SECONDS = 120.0


@attrs.define
class Node:
    """What one node was given, by group: (who published, its number), and the gaps."""

    engine: RedisEngine
    got: dict[str, list[tuple[int, int]]] = attrs.Factory(lambda: {group: [] for group in GROUPS})
    epochs: dict[str, set[str]] = attrs.Factory(lambda: {group: set() for group in GROUPS})  # of what was given
    gaps: list[tuple[str, Position | None, Position | None]] = attrs.Factory(list)

    def __attrs_post_init__(self) -> None:
        self.engine.attach(self._deliver, lambda *gap: self.gaps.append(gap))

    def _deliver(self, group: str, message: Message) -> None:
        self.got[group].append(tuple(message.payload))
        assert message.position is not None
        self.epochs[group].add(message.position.epoch)

    def was_told(self, group: str, position: Position) -> bool:
        """Whether a gap covers that position: it ends or begins in that epoch, or all of the epoch is in it."""
        return any(
            name == group
            and (
                (after is not None and after.epoch == position.epoch and position > after)
                or (upto is not None and upto.epoch == position.epoch and position <= upto)
                or position.epoch not in self.epochs[group]
            )
            for name, after, upto in self.gaps
        )


@attrs.frozen
class Result:
    """Counts, of all nodes and groups together."""

    sent: int
    received: int
    doubled: int
    misordered: int
    announced: int
    silent: int
    faults: int
    links: int

    def __str__(self) -> str:
        return " ".join(f"{name} {value}" for name, value in attrs.asdict(self).items())


async def run_schedule(
    faults: RedisFaults, count: int, happen: Callable[[list[Node]], Awaitable[None]], keys: bool = True
) -> Result:
    """Let every publisher publish so many messages, each with a key until it is known to be there.

    Args:
        happen: what happens once; it is called again and again.
    """
    times = 0
    sent: dict[tuple[int, int], tuple[str, Position]] = {}
    async with AsyncExitStack() as stack:
        nodes = []
        for _ in range(2):
            node = Node(await stack.enter_async_context(faults.engine()))
            await stack.enter_async_context(node.engine.run())
            nodes.append(node)
            for group in GROUPS:
                await node.engine.watch(group)
        with trio.fail_after(DEADLINE_SECONDS):
            async with trio.open_nursery() as faulty:

                async def go_on() -> None:
                    nonlocal times
                    while True:
                        await happen(nodes)
                        times += 1

                faulty.start_soon(go_on)
                async with trio.open_nursery() as nursery:
                    for number in range(PUBLISHERS * len(nodes)):
                        nursery.start_soon(_publish, nodes[number % len(nodes)].engine, number, count, sent)
                faulty.cancel_scope.cancel()
            total = PUBLISHERS * len(nodes) * count
            await _settle(nodes, total)
        return _count(nodes, sent, times, sum(proxy.opened for proxy in faults.proxies.values()))


async def _publish(engine: RedisEngine, publisher: int, count: int, sent: Any) -> None:
    for number in range(count):
        group = GROUPS[number % len(GROUPS)]
        message = Message([publisher, number], 0.0)
        while True:
            try:
                position = await engine.publish(group, message, keep=KEPT, key=f"{publisher}-{number}")
                sent[publisher, number] = group, position
                break
            except EngineError:
                await trio.sleep(0.01)


async def _settle(nodes: list[Node], total: int) -> None:
    """Wait until everything has come, or nothing more comes."""
    quiet, before = 0, -1
    while quiet < 30:
        received = [sum(map(len, node.got.values())) for node in nodes]
        if all(each >= total for each in received):
            await trio.sleep(0.3)  # for what comes twice
            return
        is_up = all(node.engine.state is EngineState.UP for node in nodes)
        quiet = quiet + 1 if is_up and sum(received) == before else 0
        before = sum(received)
        await trio.sleep(0.1)


def _count(nodes: list[Node], sent: dict[tuple[int, int], tuple[str, Position]], times: int, links: int) -> Result:
    doubled = misordered = silent = 0
    for node in nodes:
        for got in node.got.values():
            doubled += sum(number - 1 for number in Counter(got).values())
            last: dict[int, int] = {}
            for publisher, number in got:
                misordered += number < last.get(publisher, -1)
                last[publisher] = number
        if not node.gaps and not nodes[0].gaps:
            misordered += sum(node.got[group] != nodes[0].got[group] for group in GROUPS)
        had = {each for got in node.got.values() for each in got}
        silent += sum(not node.was_told(*where) for each, where in sent.items() if each not in had)
    received = sum(len(got) for node in nodes for got in node.got.values())
    announced = sum(len(node.gaps) for node in nodes)
    return Result(len(sent), received, doubled, misordered, announced, silent, times, links)


# What happens


def kill_clients(server: RedisProcess) -> Callable[[list[Node]], Awaitable[None]]:
    async def happen(nodes: list[Node]) -> None:
        await trio.sleep(0.07)
        with server.talk() as ask:
            ask("CLIENT", "KILL", "TYPE", "pubsub", "SKIPME", "yes")

    return happen


def lose_answers(faults: RedisFaults) -> Callable[[list[Node]], Awaitable[None]]:
    async def happen(nodes: list[Node]) -> None:
        for node in nodes:
            await trio.sleep(0.05)
            with faults.losing_answers(node.engine):
                await trio.sleep(0.03)

    return happen


def start_again(server: RedisProcess, sign: int, seconds: float) -> Callable[[list[Node]], Awaitable[None]]:
    async def happen(nodes: list[Node]) -> None:
        await trio.sleep(seconds)
        server.stop(sign)
        server.start()

    return happen


def flush_everything(server: RedisProcess) -> Callable[[list[Node]], Awaitable[None]]:
    async def happen(nodes: list[Node]) -> None:
        await trio.sleep(0.1)
        with server.talk() as ask:
            ask("FLUSHALL")

    return happen


Schedule = tuple[str, tuple[str, ...], Callable[[RedisProcess, RedisFaults], Callable[[list[Node]], Awaitable[None]]]]
KEEPING = ("--appendonly", "yes", "--appendfsync", "always")
ANNOUNCING = ("kill -9, nothing kept", "FLUSHALL")
SCHEDULES: tuple[Schedule, ...] = (
    ("CLIENT KILL every 70 ms", (), lambda server, faults: kill_clients(server)),
    ("answers lost", (), lambda server, faults: lose_answers(faults)),
    ("kill -9, all kept", KEEPING, lambda server, faults: start_again(server, signal.SIGKILL, 0.5)),
    ("SIGTERM, all kept", KEEPING, lambda server, faults: start_again(server, signal.SIGTERM, 0.5)),
    ("kill -9, nothing kept", (), lambda server, faults: start_again(server, signal.SIGKILL, 0.2)),
    ("FLUSHALL", (), lambda server, faults: flush_everything(server)),
)
