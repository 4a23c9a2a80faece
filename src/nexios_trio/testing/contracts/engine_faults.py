"""What `check_engine` checks when links are lost, stall, or lie, and when the server has forgotten something."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from functools import partial
from typing import Any, Protocol

import trio

from ...core.message import Message
from ...engines.base import Engine, EngineState
from ...exceptions import EngineError
from .engine_nodes import LIMITS, Setting, new_group, watched_group
from .rules import until

__all__ = ["RULES", "EngineFaults"]

Block = AbstractContextManager[None] | AbstractAsyncContextManager[None]

MANY_POSTS = 40_000
LARGE_BYTES = 65_536


class EngineFaults(Protocol):
    """What can be done to the links between an engine and what it shares with others.

    A rule is tried where there is what it needs: leave out what cannot be arranged. `Broker` has all of it.
    """

    def cut_off(self, engine: Engine) -> Block:
        """In the block its links are lost, and it finds nobody."""
        ...

    def stalled(self, engine: Engine) -> Block:
        """In the block nothing passes over the links that it had, and nobody is told. New ones work."""
        ...

    def losing_answers(self, engine: Engine) -> Block:
        """In the block what it asks for is done, and the answers are lost; then its links are lost too."""
        ...

    def deaf(self, engine: Engine) -> Block:
        """In the block messages to it are lost, and nobody is told."""
        ...

    def restart(self, *, loses: int) -> Any:
        """Lose all links, and of each group the last so many messages. Async or not."""


@asynccontextmanager
async def _during(block: Block) -> AsyncGenerator[None]:
    if isinstance(block, AbstractAsyncContextManager):
        async with block:
            yield
    else:
        with block:
            yield


async def _expect(s: Setting, index: int, group: str, expected: list[Any], timeout: float | None = None) -> None:
    """A node was given exactly this, and no gap."""
    node = s.nodes[index]
    await node.wait_for(len(expected), group, s.timeout if timeout is None else timeout)
    await trio.sleep(0.05)  # for what comes twice
    got = node.payloads(group)
    s.hold(got == expected, f"{expected} was published, and node {index} was given {got}")
    s.hold(node.gaps == [], f"node {index} was told of gaps: {node.gaps}")


async def _comes_back(s: Setting) -> None:
    group = await watched_group(s)
    await s.first.publish(group, 0)
    await s.last.wait_for(1, group, s.timeout)
    async with _during(s.faults.cut_off(s.last.engine)):
        for number in range(1, 6):
            await s.first.publish(group, number)
    await _expect(s, -1, group, list(range(6)))
    await s.first.publish(group, 6)
    await _expect(s, -1, group, list(range(7)))


async def _comes_and_goes(s: Setting) -> None:
    """A publisher that hardly pauses, and a node that is cut off again and again, also while it catches up."""
    group, count = await watched_group(s), 0
    is_over = False

    async def publish() -> None:
        nonlocal count
        while not is_over:
            await s.first.publish(group, count)
            count += 1
            await trio.sleep(0.003)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(publish)
        for number in range(4):
            await trio.sleep(0.05)
            async with _during(s.faults.cut_off(s.last.engine)):
                await trio.sleep(0.05)
            if number % 2:
                await trio.sleep(0.3)
        await until(lambda: s.last.engine.state is EngineState.UP, s.timeout)
        await trio.sleep(0.1)
        is_over = True
    await _expect(s, -1, group, list(range(count)))


async def _lost_answer(s: Setting) -> None:
    group, errors = await watched_group(s), list[EngineError]()
    async with _during(s.faults.losing_answers(s.last.engine)):
        with_key = s.last.engine.post(group, Message("with a key", 0.0), keep=LIMITS, key="key")
        without = s.last.engine.post(group, Message("without", 0.0), keep=LIMITS)
        await s.first.wait_for(2, group, s.timeout)
    position = await with_key
    try:
        await without
    except EngineError as error:
        errors.append(error)
    s.hold(position is not None, "a publish with a key has no position")
    s.hold(all(error.maybe_published for error in errors), "it was published, and the error says that it was not")
    kept, _ = await s.first.kept(group)
    s.hold(kept == ["with a key", "without"], f"the history is {kept}")
    for index in range(len(s.nodes)):
        await _expect(s, index, group, kept)


async def _deadline(s: Setting) -> None:
    group, other = await watched_group(s), new_group()
    engine = s.last.engine
    async with _during(s.faults.cut_off(engine)):
        await until(lambda: engine.state is EngineState.DOWN, s.timeout)
        s.hold(engine.state is EngineState.DOWN, f"a node that finds nobody is {engine.state}")
        for what, receipt in (("post()", _posted(engine, group)), ("watch()", engine.watch(other))):
            if receipt is None:
                continue  # it was refused at once
            with trio.move_on_after(engine.deadline + s.timeout):
                try:
                    await receipt
                except EngineError:
                    continue
            s.hold(False, f"{engine.deadline + s.timeout:g} s after {what} its receipt has no error")
    await until(lambda: engine.state is EngineState.UP, s.timeout)
    s.hold(engine.state is EngineState.UP, f"a node that may find somebody again is {engine.state}")
    await s.last.publish(group, "after")
    await s.last.watch(other)
    got = s.last.payloads(group)
    s.hold(got in (["after"], ["perhaps", "after"]), f"the node was given {got}")


def _posted(engine: Engine, group: str) -> Any:
    try:
        return engine.post(group, Message("perhaps", 0.0))
    except EngineError:
        return None


async def _bound(s: Setting) -> None:
    group, message = new_group(), Message("x" * LARGE_BYTES, 0.0)
    error: EngineError | None = None
    async with _during(s.faults.stalled(s.last.engine)):
        for _ in range(MANY_POSTS):
            try:
                s.last.engine.post(group, message)
            except EngineError as caught:
                error = caught
                break
    s.hold(error is not None, f"{MANY_POSTS} posts of {LARGE_BYTES} bytes were taken while nothing went out")
    s.hold(error is None or not error.maybe_published, "a post that was refused says that it may have been published")


async def _deaf(s: Setting) -> None:
    group = await watched_group(s)
    await s.first.publish(group, 1)
    await s.last.wait_for(1, group, s.timeout)
    async with _during(s.faults.deaf(s.last.engine)):
        await s.first.publish(group, "the last for now")
        await trio.sleep(0.1)
    await _expect(s, -1, group, [1, "the last for now"], s.notice)


async def _dead(s: Setting) -> None:
    group = await watched_group(s)
    await s.first.publish(group, 1)
    await s.last.wait_for(1, group, s.timeout)
    async with _during(s.faults.stalled(s.last.engine)):
        await s.first.publish(group, 2)
        await _expect(s, -1, group, [1, 2], s.notice)


async def _forgotten(s: Setting) -> None:
    group = await watched_group(s)
    positions = [await s.first.publish(group, number) for number in range(4)]
    for node in s.nodes:
        await node.wait_for(4, group, s.timeout)
    result = s.faults.restart(loses=2)
    if hasattr(result, "__await__"):
        await result
    for index, node in enumerate(s.nodes):
        await until(partial(node.gaps_of, group), s.notice)
        told = [after for after, _ in node.gaps_of(group)]
        s.hold(told, f"the last two messages are gone, and node {index} was told of no gap")
        s.hold(told[0] == positions[-1], f"node {index} has all to {positions[-1]}, and its gap is after {told[0]}")
    after = await s.first.publish(group, "new")
    s.hold(after.epoch != positions[0].epoch, "numbers are used again, and the epoch is the same")
    for index, node in enumerate(s.nodes):
        await node.wait_for(5, group, s.timeout)
        got = node.payloads(group)
        s.hold(got == [0, 1, 2, 3, "new"], f"node {index} was given {got}")
    _, complete = await s.last.kept(group, since=positions[-1])
    s.hold(not complete, "a position of before is taken for one of now")


async def _not_its_own(s: Setting) -> None:
    """The second node's watch begins after some, or all, of what survives."""
    for survivors in (3, 1):
        group = new_group()
        await s.first.watch(group)
        positions = [await s.first.publish(group, number) for number in range(2)]
        before = await s.last.watch(group)
        positions += [await s.first.publish(group, number) for number in range(2, 4)]
        for node, count in ((s.first, 4), (s.last, len(positions) - positions.index(before) - 1)):
            await node.wait_for(count, group, s.timeout)
        given = [node.payloads(group) for node in s.nodes]
        result = s.faults.restart(loses=len(positions) - survivors)
        if hasattr(result, "__await__"):
            await result
        for index, node in enumerate(s.nodes):
            await until(partial(node.gaps_of, group), s.notice)
            s.hold(node.gaps_of(group), f"messages are gone, and node {index} was told of no gap")
        await s.first.publish(group, "new")
        for index, node in enumerate(s.nodes):
            expected = [*given[index], "new"]
            await node.wait_for(len(expected), group, s.timeout)
            await trio.sleep(0.05)  # for what comes although it must not
            got = node.payloads(group)
            s.hold(got == expected, f"of 4 messages {survivors} survived, and node {index} was given {got}")


# (what it needs, rule, sentence)
RULES = (
    ("cut_off", _comes_back, "A node that comes back has what was kept meanwhile, once and in order, without a gap."),
    ("cut_off", _comes_and_goes, "Catching up and going on are one sequence, whatever comes in between."),
    (
        "losing_answers",
        _lost_answer,
        "A publish with a key is finished over another link; one without tells what is known.",
    ),
    ("cut_off", _deadline, "Without a link a receipt fails within the engine's deadline, and the engine comes back."),
    ("stalled", _bound, "post() is bounded."),
    ("deaf", _deaf, "A message that was lost without a hole behind it is noticed."),
    ("stalled", _dead, "A link over which nothing comes any more is noticed, and replaced."),
    ("restart", _forgotten, "When messages are gone for good, members are told, get what is new, and nothing twice."),
    (
        "restart",
        _not_its_own,
        "In a new epoch a node gets nothing that survived from before its watch: others have that.",
    ),
)
