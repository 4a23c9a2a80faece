"""The nodes that `check_engine` makes: each is an engine, and what it has delivered."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import uuid4

import attrs

from ...core.message import Message, Position
from ...engines.base import Engine, HistoryLimits, HistoryPage
from .rules import checkpointing, hold, until

__all__ = ["LIMITS", "MakeEngine", "Node", "Setting", "new_group", "nodes_of", "watched_group"]

MakeEngine = Callable[[], Engine | AbstractAsyncContextManager[Engine]]

LIMITS = HistoryLimits(max_bytes=100_000)


@attrs.define
class Node:
    """An engine, and what it delivered to this node."""

    engine: Engine
    delivered: list[tuple[str, Message]] = attrs.Factory(list)
    gaps: list[tuple[str, Position | None, Position | None]] = attrs.Factory(list)
    asked: list[bytes] = attrs.Factory(list)

    def __attrs_post_init__(self) -> None:
        self.engine.attach(
            lambda group, message: self.delivered.append((group, message)),
            lambda group, after, upto: self.gaps.append((group, after, upto)),
            self._answer,
        )

    def _answer(self, request: bytes) -> bytes:
        self.asked.append(request)
        return b"answer to " + request

    async def publish(
        self, group: str, payload: Any, history: HistoryLimits | None = LIMITS, key: str | None = None
    ) -> Position:
        message = Message(payload, 0.0)
        position = await checkpointing("publish()", self.engine.publish, group, message, keep=history, key=key)
        hold(
            isinstance(position, Position),
            "publish() returns the position of the message.",
            f"it returned {position!r}",
        )
        assert position is not None
        return position

    async def watch(self, group: str) -> Position:
        position = await self.engine.watch(group)
        hold(
            isinstance(position, Position),
            "The receipt of a watch has the position after which everything is delivered.",
            f"it has {position!r}",
        )
        assert position is not None
        return position

    async def history(self, group: str, since: Position | None = None, limit: int | None = None) -> HistoryPage:
        return await checkpointing("history()", self.engine.history, group, since, limit=limit)

    async def kept(self, group: str, since: Position | None = None, limit: int | None = None) -> tuple[list[Any], bool]:
        page = await self.history(group, since, limit)
        return [message.payload for message in page.messages], page.complete

    async def wait_for(self, count: int, group: str, timeout: float) -> None:
        await until(lambda: len(self.payloads(group)) >= count, timeout)

    def messages(self, group: str) -> list[Message]:
        return [message for name, message in self.delivered if name == group]

    def gaps_of(self, group: str) -> list[tuple[Position | None, Position | None]]:
        return [(after, upto) for name, after, upto in self.gaps if name == group]

    def payloads(self, group: str) -> list[Any]:
        return [message.payload for message in self.messages(group)]


@attrs.frozen
class Setting:
    """Where one rule is checked.

    Args:
        sentence: the rule.
        nodes: two nodes of one system; one of an engine that knows no others.
        timeout: seconds that a message may take.
        faults: what can happen to the nodes' links, if that can be arranged.
        notice: seconds within which an engine must have noticed that its link is dead, though nobody says so.
    """

    sentence: str
    nodes: list[Node]
    timeout: float
    faults: Any = None
    notice: float = 60.0

    @property
    def first(self) -> Node:
        return self.nodes[0]

    @property
    def last(self) -> Node:
        return self.nodes[-1]

    def hold(self, condition: object, seen: str) -> None:
        """Raises: ContractBroken when the condition is false."""
        hold(condition, self.sentence, seen)


@asynccontextmanager
async def nodes_of(make: MakeEngine) -> AsyncGenerator[list[Node]]:
    """Two nodes of one system, running; one of an engine that knows no others."""
    async with AsyncExitStack() as stack:
        nodes: list[Node] = []
        while not nodes or (len(nodes) < 2 and not nodes[0].engine.is_local):
            made = make()
            engine = made if isinstance(made, Engine) else await stack.enter_async_context(made)
            nodes.append(Node(engine))
            await stack.enter_async_context(engine.run())
        yield nodes


def new_group() -> str:
    return f"contract.{uuid4().hex[:12]}"


async def watched_group(setting: Setting) -> str:
    """A group that every node watches."""
    group = new_group()
    for node in setting.nodes:
        await node.watch(group)
    return group
