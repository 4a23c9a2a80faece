"""Several nodes and one engine, in one process: what a message broker is to several servers."""

from ...core.message import Message, Position
from ...engines.base import Deliver, Engine, HistoryLimits, HistoryPage
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
        return _NodeEngine(self._engine, self._nodes)

    def _deliver(self, group: str, message: Message) -> None:
        for node in list(self._nodes):
            node.deliver(group, message)


class _NodeEngine(Engine):
    def __init__(self, shared: MemoryEngine, nodes: "list[_NodeEngine]") -> None:
        self._shared = shared
        self._nodes = nodes
        self.deliver: Deliver = lambda group, message: None

    def attach(self, deliver: Deliver) -> None:
        self.deliver = deliver
        if self not in self._nodes:
            self._nodes.append(self)

    async def publish(self, group: str, message: Message, *, history: HistoryLimits | None) -> Position:
        return await self._shared.publish(group, message, history=history)

    async def history(self, group: str, since: Position | None = None, limit: int | None = None) -> HistoryPage:
        return await self._shared.history(group, since, limit)

    async def groups_with_history(self) -> list[str]:
        return await self._shared.groups_with_history()

    async def flush_history(self, group: str | None = None) -> None:
        await self._shared.flush_history(group)

    async def aclose(self) -> None:
        if self in self._nodes:
            self._nodes.remove(self)
        await self._shared.groups_with_history()  # a checkpoint: the shared history stays
