"""The rows of the table: what happens to links, servers and nodes while messages are published.

A row is a function with `@row`: it is given the stage, and does its mischief again and again while that `goes_on`, which is
until all is published. At its end everything works again.
"""

import signal
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from tests.faults.stage import Row, Stage

KEEPING = ("--appendonly", "yes", "--appendfsync", "always")
QUICK = ({"FAULTS_DEADLINE": "2", "FAULTS_PROBE": "0.5"},) * 2  # seconds, so that waits end in a schedule
ROWS: list[Row] = []

Happen = Callable[[Stage], Awaitable[None]]


def row(name: str, **more: Any) -> Callable[[Happen], Happen]:
    def add(happen: Happen) -> Happen:
        ROWS.append(Row(name, happen, **more))
        return happen

    return add


@row("normal", least=0)
async def nothing(stage: Stage) -> None:
    pass


# Links


@row("link cut: CLIENT KILL every 70 ms", more={"publishers": 40})
async def kill_links(stage: Stage) -> None:
    while stage.goes_on:
        await trio.sleep(0.07)
        stage.happened += stage.ask("CLIENT", "KILL", "TYPE", "pubsub", "SKIPME", "yes")


@row("replies lost")
async def lose_replies(stage: Stage) -> None:
    while stage.goes_on:
        for node in stage.nodes:
            await trio.sleep(0.1)
            node.proxy.lose_answers()
            await trio.sleep(0.05)
            node.proxy.cut()
            stage.happened += 1


@row("link down past the deadline", variables=QUICK)
async def cut_for_long(stage: Stage) -> None:
    while stage.goes_on:
        for node in stage.nodes:
            await trio.sleep(1)
            node.proxy.refuse(True)
            await trio.sleep(3)
            node.proxy.refuse(False)
            stage.happened += 1


@row("link stalled past the deadline", variables=QUICK)
async def stall_for_long(stage: Stage) -> None:
    while stage.goes_on:
        for node in stage.nodes:
            await trio.sleep(1)
            node.proxy.stall()
            await trio.sleep(3.5)
            node.proxy.go_on()
            stage.happened += 1


@row(
    "subscriber over its buffer: stalled down",
    variables=QUICK,
    options=("--client-output-buffer-limit", "pubsub 1mb 512kb 1"),
    more={"size": 2000},
)
async def stall_down(stage: Stage) -> None:
    while stage.goes_on:
        for node in stage.nodes:
            await trio.sleep(0.7)
            node.proxy.stall(up=False)
            await trio.sleep(0.7)
            node.proxy.go_on()
            stage.happened += 1


# A server that is started again


def restarting(sign: int, seconds: float) -> Happen:
    async def happen(stage: Stage) -> None:
        while stage.goes_on:
            await trio.sleep(seconds)
            await stage.restart(sign)
            stage.happened += 1

    return happen


row("restart, all kept: AOF, kill -9", options=KEEPING)(restarting(signal.SIGKILL, 1.0))
row("restart, all kept: AOF, TERM", options=KEEPING)(restarting(signal.SIGTERM, 1.0))
row("restart without persistence: kill -9", may_lose=True)(restarting(signal.SIGKILL, 0.6))


@row("restart, tail lost: RDB, kill -9", may_lose=True)
async def lose_what_was_not_saved(stage: Stage) -> None:
    while stage.goes_on:
        await trio.sleep(0.5)
        stage.ask("SAVE")
        await trio.sleep(0.3)
        await stage.restart(signal.SIGKILL)
        stage.happened += 1


# Another server


async def promoted(stage: Stage, seconds: float) -> Any:
    """A replica that has become a server of its own, so many seconds before the nodes hear of it."""
    replica = await stage.add_replica()
    await trio.sleep(0.3)
    stage.promote(replica)
    await trio.sleep(seconds)
    return replica


@row("fail-over, tail lost: a replica is promoted", may_lose=True)
async def fail_over(stage: Stage) -> None:
    while stage.goes_on:
        await trio.sleep(0.5)
        old, new = stage.server, await promoted(stage, 0.05)
        for node in stage.nodes:
            node.proxy.refuse(True)
        await stage.drop(old)
        stage.server = new
        for node in stage.nodes:
            node.proxy.target = new.path
            node.proxy.refuse(False)
        stage.happened += 1


@row("fail-over unseen: a proxy swaps the servers", may_lose=True, variables=QUICK)
async def swap_servers(stage: Stage) -> None:
    while stage.goes_on:
        await trio.sleep(0.5)
        old, new = stage.server, await promoted(stage, 0.05)
        stage.server = new
        for node in stage.nodes:
            node.proxy.swap(new.path)
        await trio.sleep(0.2)
        await stage.drop(old)
        stage.happened += 1


@row("split brain", may_lose=True, variables=QUICK)
async def split(stage: Stage) -> None:
    """One node goes on with the old server while the other has the new one; then the old one is dropped."""
    while stage.goes_on:
        await trio.sleep(0.5)
        old, new = stage.server, await promoted(stage, 0)
        stage.server = new
        first, second = stage.nodes
        second.proxy.target = new.path
        second.proxy.cut()
        await trio.sleep(0.8)
        first.proxy.target = new.path
        first.proxy.cut()
        await stage.drop(old)
        stage.happened += 1


# What a server keeps


def deleting(kind: str) -> Happen:
    async def happen(stage: Stage) -> None:
        while stage.goes_on:
            await trio.sleep(0.2)
            for key in stage.keys(kind):
                stage.ask("DEL", key)
            stage.happened += 1

    return happen


row("histories deleted", may_lose=True)(deleting("h"))
row("metas deleted", may_lose=True)(deleting("m"))


@row("FLUSHALL", may_lose=True)
async def flush(stage: Stage) -> None:
    while stage.goes_on:
        await trio.sleep(0.2)
        stage.ask("FLUSHALL")
        stage.happened += 1


def evicting(policy: str) -> Happen:
    async def happen(stage: Stage) -> None:
        """Bound the memory again and again to less than is used, so that keys have to go."""
        stage.ask("CONFIG", "SET", "maxmemory-policy", policy)
        while stage.goes_on:
            await trio.sleep(0.3)
            used = int(
                dict(line.split(":") for line in stage.ask("INFO", "memory").decode().split("\r\n") if ":" in line)[
                    "used_memory"
                ]
            )
            stage.ask("CONFIG", "SET", "maxmemory", max(1_000_000, used - 50_000))
            await trio.sleep(0.05)
            stage.ask("CONFIG", "SET", "maxmemory", 0)
            stage.happened += 1

    return happen


row("evicted: volatile-lru", may_lose=True, more={"size": 1000})(evicting("volatile-lru"))
row("evicted: allkeys-lru", may_lose=True, more={"size": 1000})(evicting("allkeys-lru"))


@row("out of memory: noeviction, maxmemory 1")
async def fill(stage: Stage) -> None:
    while stage.goes_on:
        await trio.sleep(0.3)
        stage.ask("CONFIG", "SET", "maxmemory", 1)
        await trio.sleep(0.1)
        stage.ask("CONFIG", "SET", "maxmemory", 0)
        stage.happened += 1


row("too large", least=0, more={"too_big": True})(nothing)


# Nodes


@row("node stalled: SIGSTOP", options=("--client-output-buffer-limit", "pubsub 1mb 512kb 1"), more={"size": 500})
async def stop_nodes(stage: Stage) -> None:
    while stage.goes_on:
        for node in stage.nodes:
            await trio.sleep(1)
            node.signal(signal.SIGSTOP)
            await trio.sleep(3)
            node.signal(signal.SIGCONT)
            stage.happened += 1


@row("node killed: kill -9")
async def kill_nodes(stage: Stage) -> None:
    while stage.goes_on:
        for node in stage.nodes:
            await trio.sleep(1)
            node.end()
            node.start()
            await node.serves()
            stage.happened += 1


row("clocks of the nodes an hour apart", least=0, variables=({"FAULTS_SKEW": "-1800"}, {"FAULTS_SKEW": "1800"}))(
    nothing
)
