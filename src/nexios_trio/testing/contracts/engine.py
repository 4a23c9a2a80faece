"""`check_engine`: the contract of engines, on any engine."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import uuid4

import attrs
import trio

from ...core.message import Message, Position
from ...engines.base import Engine, HistoryLimits, HistoryPage
from .rules import checkpointing, hold, rule, until

__all__ = ["MakeEngine", "check_engine"]

MakeEngine = Callable[[], Engine | AbstractAsyncContextManager[Engine]]

LIMITS = HistoryLimits(max_bytes=100_000)
MAX_AGE_SECONDS = 0.25  # seconds: where the engine's clock is a real one, this is waited for


@attrs.define
class _Node:
    """An engine, and what it delivered to this node."""

    engine: Engine
    delivered: list[tuple[str, Message]] = attrs.Factory(list)

    def __attrs_post_init__(self) -> None:
        self.engine.attach(lambda group, message: self.delivered.append((group, message)))

    async def publish(self, group: str, payload: Any, history: HistoryLimits | None = LIMITS) -> Position:
        message = Message(payload, 0.0)
        position = await checkpointing("publish()", self.engine.publish, group, message, keep=history)
        hold(
            message.position == position,
            "publish() returns the position of the message, and the message has it.",
            f"it returned {position}, and the message has {message.position}",
        )
        assert position is not None
        return position

    async def watch(self, group: str) -> Position:
        position = await self.engine.watch(group)
        hold(position, "The receipt of a watch has the position after which everything is delivered.", f"{position}")
        assert position is not None
        return position

    async def history(self, group: str, since: Position | None = None, limit: int | None = None) -> HistoryPage:
        return await checkpointing("history()", self.engine.history, group, since, limit=limit)

    async def kept(self, group: str, since: Position | None = None, limit: int | None = None) -> tuple[list[Any], bool]:
        page = await self.history(group, since, limit)
        return [message.payload for message in page.messages], page.complete

    async def wait_for(self, count: int, group: str, timeout: float) -> None:
        await until(lambda: len(self.payloads(group)) >= count, timeout)

    def payloads(self, group: str) -> list[Any]:
        return [message.payload for name, message in self.delivered if name == group]


async def check_engine(make: MakeEngine, *, timeout: float = 5.0) -> None:
    """Check that an engine does what `nexios_trio.engines.base` says. Works in real and in virtual time.

    Args:
        make: makes an engine, or a block that gives one. Where the engine carries messages to other nodes, two that
            it makes are two nodes of one system. Groups have random names, except that everything kept is forgotten
            in the end.
        timeout: seconds that a message may take to another node, and that any rule may take to be checked.
    Raises: ContractBroken, with the rule.
    """
    for check, sentence in _RULES:
        async with rule(sentence, 4 * timeout), _nodes(make) as nodes:
            await check(sentence, nodes, timeout)


@asynccontextmanager
async def _nodes(make: MakeEngine) -> AsyncGenerator[list[_Node]]:
    """Two nodes of one system; one of an engine that knows no others."""
    async with AsyncExitStack() as stack:
        nodes: list[_Node] = []
        while not nodes or (len(nodes) < 2 and not nodes[0].engine.is_local):
            made = make()
            engine = made if isinstance(made, Engine) else await stack.enter_async_context(made)
            nodes.append(_Node(engine))
            await stack.enter_async_context(engine.run())
        yield nodes


async def _watched(nodes: list[_Node]) -> str:
    """A group that every node watches."""
    group = _group()
    for node in nodes:
        await node.watch(group)
    return group


def _group() -> str:
    return f"contract.{uuid4().hex[:12]}"


async def _positions(sentence: str, nodes: list[_Node], timeout: float) -> None:
    group, other = _group(), _group()
    positions = [await nodes[0].publish(group, number, LIMITS if number % 2 else None) for number in range(4)]
    await nodes[0].publish(other, "x")
    positions.append(await nodes[-1].publish(group, 4))
    first = positions[0].offset
    expected = [Position(first + number, positions[0].epoch) for number in range(5)]
    hold(positions == expected, sentence, f"five messages got {positions}")
    top = (await nodes[0].history(group)).top
    hold(top == positions[-1], sentence, f"the latest message has {positions[-1]}, and the history's top is {top}")


async def _delivery(sentence: str, nodes: list[_Node], timeout: float) -> None:
    group = await _watched(nodes)
    sent: list[tuple[Position, Any]] = []
    for number, payload in enumerate(({"text": "ä\u2028"}, "text", b"\x00\xff", 7, [], {})):
        sent.append((await nodes[number % len(nodes)].publish(group, payload, None), payload))
    for index, node in enumerate(nodes):
        await node.wait_for(len(sent), group, timeout)
        got = [(message.position, message.payload) for name, message in node.delivered if name == group]
        hold(got == sent, sentence, f"{sent} was published, and node {index} was given {got}")


async def _order(sentence: str, nodes: list[_Node], timeout: float) -> None:
    group = await _watched(nodes)

    async def publish(node: _Node, task: int) -> None:
        for number in range(5):
            await node.publish(group, [task, number])

    async with trio.open_nursery() as nursery:
        for task in range(6):
            nursery.start_soon(publish, nodes[task % len(nodes)], task)
    for index, node in enumerate(nodes):
        await node.wait_for(30, group, timeout)
        offsets = [message.position.offset for name, message in node.delivered if name == group and message.position]
        hold(offsets == sorted(offsets), sentence, f"node {index} was given the offsets {offsets}")
        got, expected = node.payloads(group), nodes[0].payloads(group)
        hold(got == expected, sentence, f"node 0 was given {expected}, and node {index} {got}")
        hold(len(got) == 30, sentence, f"30 messages were published, and node {index} was given {len(got)}")


async def _kept(sentence: str, nodes: list[_Node], timeout: float) -> None:
    group, empty = _group(), _group()
    for payload, history in (("a", LIMITS), ("not kept", None), (b"b", LIMITS), ({"c": 1}, LIMITS)):
        await nodes[0].publish(group, payload, history)
    for node in nodes:
        got = await node.kept(group)
        hold(got == (["a", b"b", {"c": 1}], True), sentence, f"the history is {got}")
        hold(await node.kept(empty) == ([], True), sentence, "a group that nobody published to has a history")
        named = await checkpointing("groups_with_history()", node.engine.groups_with_history)
        hold(group in named and empty not in named, sentence, f"groups_with_history() says {named}")
    one, two = [await node.history(group) for node in (nodes[0], nodes[-1])]
    ids = [[message.uuid for message in page.messages] for page in (one, two)]
    hold(ids[0] == ids[1], "A kept message has the same uuid whenever it is read.", f"it has {ids[0]}, then {ids[1]}")


async def _resume(sentence: str, nodes: list[_Node], timeout: float) -> None:
    group, node = _group(), nodes[-1]
    begin = (await node.history(group)).top
    positions = [await nodes[0].publish(group, number) for number in range(4)]
    for seen, position in enumerate([begin, *positions]):
        got = await node.kept(group, since=position)
        expected = (list(range(seen, 4)), True)
        hold(got == expected, sentence, f"after {seen} of 4 messages there is {got}, not {expected}")


async def _gaps(sentence: str, nodes: list[_Node], timeout: float) -> None:
    group, node = _group(), nodes[-1]
    first = await nodes[0].publish(group, "a")
    unkept = await nodes[0].publish(group, "b", None)
    last = await nodes[0].publish(group, "c")
    cases = {
        "a message that was not kept": (first, (["c"], False)),
        "nothing": (unkept, (["c"], True)),
        "another epoch": (Position(last.offset, "another epoch"), None),
        "a position that has not been yet": (Position(last.offset + 5, last.epoch), None),
    }
    for missed, (since, expected) in cases.items():
        got = await node.kept(group, since=since)
        is_right = got == expected if expected is not None else not got[1]
        hold(is_right, sentence, f"between {since} and the end there is {missed}, and the answer is {got}")


async def _newest(sentence: str, nodes: list[_Node], timeout: float) -> None:
    group, node = _group(), nodes[-1]
    positions = [await nodes[0].publish(group, number) for number in range(4)]
    for limit, since, expected in (
        (2, None, ([2, 3], True)),
        (9, None, ([0, 1, 2, 3], True)),
        (2, positions[0], ([1, 2], True)),
        (3, positions[0], ([1, 2, 3], True)),
    ):
        got = await node.kept(group, since=since, limit=limit)
        hold(got == expected, sentence, f"{limit} since {since} are {got}, not {expected}")


async def _limits(sentence: str, nodes: list[_Node], timeout: float) -> None:
    for limits, kept in (
        (HistoryLimits(max_bytes=4), ["d"]),  # each message is `"a"`, three bytes
        (HistoryLimits(max_bytes=9, overflow="trim"), ["b", "c", "d"]),
        (HistoryLimits(max_bytes=1_000, max_messages=2), ["c", "d"]),
        (HistoryLimits(max_bytes=2), []),
    ):
        group = _group()
        for payload in ("a", "b", "c", "d"):
            await nodes[0].publish(group, payload, limits)
        got, _ = await nodes[-1].kept(group)
        hold(got == kept, sentence, f"within {limits} there is {got}, not {kept}")


async def _age(sentence: str, nodes: list[_Node], timeout: float) -> None:
    group = _group()
    limits = HistoryLimits(max_bytes=1_000, max_age=MAX_AGE_SECONDS)
    first = await nodes[0].publish(group, "old", limits)
    await trio.sleep(2 * MAX_AGE_SECONDS)
    got = await nodes[-1].kept(group)
    hold(
        got == ([], True),
        sentence,
        f"a message may be {MAX_AGE_SECONDS} s old, and after {2 * MAX_AGE_SECONDS} s there is {got}",
    )
    since = Position(first.offset - 1, first.epoch)
    _, complete = await nodes[-1].kept(group, since=since)
    hold(not complete, sentence, "what became too old is no gap for somebody who has not seen it")


async def _flush(sentence: str, nodes: list[_Node], timeout: float) -> None:
    group, other, node = _group(), _group(), nodes[-1]
    first = await nodes[0].publish(group, "a")
    await nodes[0].publish(other, "b")
    await checkpointing("flush_history()", node.engine.flush_history, group)
    hold(await node.kept(group) == ([], True), sentence, "the group's messages are still there")
    hold(await node.kept(other) == (["b"], True), sentence, "another group's messages are gone too")
    second = await nodes[0].publish(group, "c")
    hold(second == Position(first.offset + 1, first.epoch), sentence, f"{first} is followed by {second}")
    await checkpointing("flush_history()", node.engine.flush_history)
    left = await node.kept(group), await node.kept(other)
    hold(left == (([], True), ([], True)), sentence, f"after flushing everything there is {left}")


async def _cancellation(sentence: str, nodes: list[_Node], timeout: float) -> None:
    group, node = await _watched(nodes), nodes[0]
    with trio.CancelScope() as scope:
        scope.cancel()
        await node.engine.publish(group, Message("cancelled", 0.0), keep=LIMITS)
    hold(scope.cancelled_caught, sentence, "publish() did not notice that it was cancelled")
    position = await node.publish(group, "after")
    await until(lambda: "after" in node.payloads(group), timeout)
    got = node.payloads(group)
    hold(got in (["after"], ["cancelled", "after"]), sentence, f"the node was given {got}")
    if node.engine.is_local:
        hold(got == ["after"], sentence, f"an engine of one process has published all the same: {got}")
    kept, _ = await node.kept(group)
    hold(kept == got, sentence, f"{got} was delivered, and {kept} is in the history (position {position})")


_RULES: tuple[tuple[Callable[[str, list[_Node], float], Awaitable[None]], str], ...] = (
    (_positions, "The messages of one group, kept or not, from every node, are numbered without a gap, in one epoch."),
    (_delivery, "Each message is delivered once to every node, this one included, as it was, with its position."),
    (_order, "For one group, every node is delivered the same messages in ascending order of offset."),
    (_kept, "A message is kept if and only if it was published with history, and can be read on every node at once."),
    (_resume, "history(since=...) gives exactly what came after that position, and says that it is complete."),
    (_gaps, "history(since=...) is complete if and only if nothing in between is gone."),
    (_newest, "history(limit=n) gives the newest n messages; with since=..., the first n after it."),
    (_limits, "A history stays within its bytes and its number of messages."),
    (_age, "A message that is too old is in no history any more."),
    (_flush, "flush_history() forgets one group's messages, or everybody's, and positions go on counting."),
    (_cancellation, "A cancelled publish() has published its message once, or (in one process always) not at all."),
)
