"""Several nodes and one engine, in one process: what a message broker is to several servers."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from trio.lowlevel import checkpoint

from ...core.message import Message, Position
from ...engines.base import (
    Answer,
    Deliver,
    Engine,
    EngineState,
    Gap,
    HistoryLimits,
    HistoryPage,
    Receipt,
    no_answer,
    no_gap,
)
from ...engines.memory import MemoryEngine

__all__ = ["Hub"]


class Hub:
    """Makes engines that share groups and history. Each message reaches every node, in the same order."""

    def __init__(self) -> None:
        self._engine = MemoryEngine()
        self._nodes: list[_NodeEngine] = []
        self._engine.attach(self._deliver)

    def engine(self) -> Engine:
        """One node's engine, for its `ChannelBox(engine=...)`."""
        node = _NodeEngine(self._engine, self._nodes)
        self._nodes.append(node)
        return node

    def _deliver(self, group: str, message: Message) -> None:
        for node in list(self._nodes):
            if group in node.watched:
                node.deliver(group, message)


class _NodeEngine(Engine):
    def __init__(self, shared: MemoryEngine, nodes: "list[_NodeEngine]") -> None:
        self._shared = shared
        self._nodes = nodes
        self.watched: set[str] = set()
        self.deliver: Deliver = lambda group, message: None
        self.answer: Answer = no_answer

    @property
    def state(self) -> EngineState:
        return self._shared.state

    @asynccontextmanager
    async def run(self) -> AsyncGenerator[None]:
        await checkpoint()
        if self not in self._nodes:
            self._nodes.append(self)
        try:
            yield
        finally:
            self._nodes.remove(self)

    def attach(self, deliver: Deliver, gap: Gap = no_gap, answer: Answer = no_answer) -> None:
        self.deliver = deliver
        self.answer = answer

    def post(
        self, group: str, message: Message, *, keep: HistoryLimits | None = None, key: str | None = None
    ) -> Receipt:
        return self._shared.post(group, message, keep=keep, key=key)

    def watch(self, group: str) -> Receipt:
        self.watched.add(group)
        return self._shared.watch(group)

    def unwatch(self, group: str) -> None:
        self.watched.discard(group)
        if not any(group in node.watched for node in self._nodes):
            self._shared.unwatch(group)

    async def history(
        self, group: str, since: Position | None = None, *, limit: int | None = None, max_bytes: int | None = None
    ) -> HistoryPage:
        return await self._shared.history(group, since, limit=limit, max_bytes=max_bytes)

    async def groups_with_history(self) -> list[str]:
        return await self._shared.groups_with_history()

    async def flush_history(self, group: str | None = None) -> None:
        await self._shared.flush_history(group)

    async def ask(self, request: bytes) -> list[bytes]:
        await checkpoint()
        return [node.answer(request) for node in self._nodes if node is not self]
