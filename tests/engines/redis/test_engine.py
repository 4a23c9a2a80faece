"""The engine of a Redis or Valkey server keeps the contract: against real ones."""

import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
import trio

from nexios_trio.core.message import Message, Position
from nexios_trio.engines.base import Engine, EngineState, HistoryLimits
from nexios_trio.engines.redis.engine import RedisEngine
from nexios_trio.exceptions import EngineError, MessageTooBig
from nexios_trio.testing.contracts import check_engine
from tests.engines.redis.faults import RedisFaults

KEPT = HistoryLimits(max_bytes=1_000_000)
SECONDS = 20.0


@pytest.mark.slow
async def test_it_keeps_the_contract(server):
    name = f"test-{uuid4().hex[:8]}"

    def make() -> Engine:
        engine = RedisEngine(server.url)
        engine.name = name
        return engine

    await check_engine(make)


@pytest.mark.slow
async def test_it_keeps_the_contract_whatever_happens(restartable):
    faults = RedisFaults(restartable, "contract")
    await check_engine(faults.engine, faults=faults, notice=10.0)


class Node:
    """An engine, and what it was given."""

    def __init__(self, engine: RedisEngine) -> None:
        self.engine = engine
        self.got: list[Any] = []
        self.gaps: list[tuple[Position | None, Position | None]] = []
        engine.attach(
            lambda group, message: self.got.append(message.payload), lambda group, *gap: self.gaps.append(gap)
        )

    async def publish(self, payload: object, **more: Any) -> Position:
        position = await self.engine.publish("group", Message(payload, 0.0), keep=KEPT, **more)
        assert position is not None
        return position


@asynccontextmanager
async def node_at(url: str, name: str, **more: Any) -> AsyncIterator[Node]:
    engine = RedisEngine(url, **more)
    engine.name = name
    node = Node(engine)
    async with engine.run():
        yield node


async def until(condition: Callable[[], object]) -> None:
    with trio.fail_after(SECONDS):
        while not condition():
            await trio.sleep(0.005)


async def test_a_full_server_refuses_and_nothing_is_done(server):
    async with node_at(server.url, "test-full") as node:
        await node.engine.watch("group")
        first = await node.publish("before")
        with server.talk() as ask:
            try:
                ask("CONFIG", "SET", "maxmemory", "1")
                with pytest.raises(EngineError, match="refuses: OOM") as caught:
                    await node.publish("refused")
            finally:
                ask("CONFIG", "SET", "maxmemory", "0")
        assert not caught.value.maybe_published
        assert (await node.publish("after")).offset == first.offset + 1
        assert node.got == ["before", "after"]


async def test_a_server_that_has_lost_the_scripts_is_taken_for_another_one(server):
    async with node_at(server.url, "test-scripts") as node:
        await node.engine.watch("group")
        await node.publish(1)
        with server.talk() as ask:
            ask("SCRIPT", "FLUSH")
        await node.publish(2)
        assert [message.payload for message in (await node.engine.history("group")).messages] == [1, 2]
        await until(lambda: node.got == [1, 2])
        assert node.gaps == []


async def test_what_a_node_publishes_it_does_not_read_again(server):
    async with node_at(server.url, "test-own") as node, node_at(server.url, "test-own") as other:
        given: list[Message] = []
        node.engine.attach(lambda group, message: given.append(message))
        for each in (node, other):
            await each.engine.watch("group")
        own = Message("own", 0.0)
        position = await node.engine.publish("group", own)
        assert given == [own]
        assert (own.position, node.engine._posts.messages) == (position, {})
        await other.publish("another")
        await until(lambda: len(given) == 2)
        assert given[1].payload == "another"


async def test_sizes_are_bounded_before_anything_is_sent(server):
    async with node_at(server.url, "test-sizes") as node:
        with pytest.raises(MessageTooBig, match="at most 1048576 are carried"):
            node.engine.post("group", Message("x" * 1_048_576, 0.0))
        await node.publish("x" * 1_000_000)


async def test_prefixes_and_names_part_what_is_on_one_server(server):
    urls = (f"{server.url}?prefix=one", f"{server.url}?prefix=two", server.url)
    async with node_at(urls[0], "app") as one, node_at(urls[1], "app") as two, node_at(urls[2], "app") as three:
        for node in (one, two, three):
            await node.engine.watch("group")
        await one.publish("for one")
        for node in (two, three):
            assert (await node.engine.history("group")).messages == ()
            await node.publish("own")
            assert node.got == ["own"]
        assert one.got == ["for one"]
        with server.talk() as ask:
            assert ask("EXISTS", "one:app:h:group") == 1


async def test_an_engine_that_does_not_run_says_so():
    engine = RedisEngine("redis://host")
    with pytest.raises(EngineError, match="the application does not run"):
        engine.post("group", Message(1, 0.0))
    with pytest.raises(EngineError, match="the application does not run"):
        await engine.watch("group")
    engine.unwatch("group")


async def test_an_engine_may_run_again_and_watches_what_it_watched(server):
    engine = RedisEngine(server.url)
    engine.name = "test-again"
    node = Node(engine)
    async with engine.run():
        await engine.watch("group")
        await node.publish(1)
    async with node_at(server.url, "test-again") as other:
        await other.publish(2)
        async with engine.run():
            await other.publish(3)
            await until(lambda: node.got == [1, 2, 3])
    assert node.gaps == []


async def test_many_watches_hold_again_over_a_new_link(server):
    groups = [f"group-{number}" for number in range(1000)]
    async with node_at(server.url, "test-many") as node, node_at(server.url, "test-many") as other:
        for receipt in [node.engine.watch(group) for group in groups]:
            await receipt
        with server.talk() as ask:
            ask("CLIENT", "KILL", "TYPE", "pubsub")
        for receipt in [other.engine.post(group, Message(group, 0.0), keep=KEPT, key="1") for group in groups]:
            await receipt
        await until(lambda: len(node.got) == len(groups))
        assert (sorted(node.got), node.gaps) == (sorted(groups), [])


async def test_a_position_goes_on_over_starts_that_keep_everything(restartable):
    async with node_at(restartable.url, "app") as node:
        await node.engine.watch("group")
        positions = [await node.publish(number) for number in range(3)]
        for number in range(3, 5):
            restartable.stop(signal.SIGKILL)
            restartable.start()
            await until(lambda: node.engine.state is EngineState.UP)
            positions.append(await node.publish(number, key=f"{number}"))
        assert len({position.epoch for position in positions}) == 3
        for seen, position in enumerate(positions, 1):
            page = await node.engine.history("group", position)
            assert ([message.payload for message in page.messages], page.complete) == (list(range(seen, 5)), True)
        assert (node.got, node.gaps) == ([0, 1, 2, 3, 4], [])


async def test_who_seems_to_miss_nothing_is_told_by_who_knows(restartable):
    """One node has two messages more than the server after its start; the other has none of them."""
    faults = RedisFaults(restartable, "app")
    async with faults.engine() as first, faults.engine() as second:
        more, less = Node(first), Node(second)
        async with first.run(), second.run():
            for node in (more, less):
                await node.engine.watch("group")
            positions = [await more.publish(number) for number in range(2)]
            await until(lambda: less.got == [0, 1])
            with faults.cut_off(second):
                positions += [await more.publish(number) for number in range(2, 4)]
                with faults.cut_off(first):
                    await faults.restart(loses=2)
                    faults.proxies[second].is_refusing = False
                    await until(lambda: second.state is EngineState.UP)
                    assert (less.got, less.gaps) == ([0, 1], [])
                    assert (await second.history("group", positions[1])).complete
            await until(lambda: more.gaps and less.gaps)
            assert more.gaps[0][0] == positions[3]
            await more.publish("new")
            await until(lambda: less.got[-1] == "new")
            assert not (await second.history("group", positions[1])).complete
            assert (more.got, less.got) == ([0, 1, 2, 3, "new"], [0, 1, "new"])
            assert (len(more.gaps), len(less.gaps)) == (1, 1)
