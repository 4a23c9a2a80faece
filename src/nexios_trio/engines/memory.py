"""The engine of one process: delivery is a function call, history lives in this process's memory."""

from collections import OrderedDict
from collections.abc import Callable
from uuid import uuid4

from trio.lowlevel import cancel_shielded_checkpoint, checkpoint, checkpoint_if_cancelled

from ..core.message import SAVED_OVERHEAD_BYTES, Message, Position, SavedMessage
from ..pubsub.history import History
from .base import Deliver, Engine, HistoryLimits, HistoryPage
from .clock import ContinuousClock

HISTORY_OVERHEAD_BYTES = 1000  # what one group's history costs beside its messages


class _Log:
    """One group's numbering and kept messages."""

    __slots__ = ("counted", "history", "top")

    def __init__(self, epoch: str) -> None:
        self.top = Position(0, epoch)
        self.history: History[SavedMessage] | None = None
        self.counted = 0  # bytes that the history costs, as the engine knows it


class MemoryEngine(Engine):
    """Carries messages within this process.

    Remembers the `max_groups` groups that were published to last, as long as their histories cost `max_bytes` of memory
    together: peers who choose the names of groups cannot fill it. A group that was forgotten begins a new epoch, so a
    position of the old one is never taken for a place in the new one.

    Concurrency: any task of one trio run. Cancellation: `publish` published nothing.
    """

    is_local = True

    def __init__(
        self,
        *,
        max_groups: int = 10_000,
        max_bytes: int = 268_435_456,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._deliver: Deliver | None = None
        self._clock = ContinuousClock() if clock is None else clock  # histories outlive a run of trio
        self._logs: OrderedDict[str, _Log] = OrderedDict()  # least recently published first
        self._max_groups = max_groups
        self._max_bytes = max_bytes
        self._bytes = 0  # that all histories cost
        self._run = uuid4().hex[:12]
        self._forgotten = 0

    @property
    def bytes(self) -> int:
        """The memory that all histories cost."""
        return self._bytes

    def attach(self, deliver: Deliver) -> None:
        self._deliver = deliver

    async def publish(self, group: str, message: Message, *, history: HistoryLimits | None) -> Position:
        await checkpoint_if_cancelled()
        log = self._logs.get(group)
        if log is None:
            log = self._begin_log(group)
        else:
            self._logs.move_to_end(group)
        log.top = message.position = Position(log.top.offset + 1, log.top.epoch)
        if history is not None:
            self._save(log, message, history)
        elif log.history is not None:
            log.history.skip(log.top.offset)
        if self._deliver is not None:
            self._deliver(group, message)
        await cancel_shielded_checkpoint()
        return message.position

    def _begin_log(self, group: str) -> _Log:
        if len(self._logs) >= self._max_groups:
            self._forget_oldest()
        log = self._logs[group] = _Log(f"{self._run}.{self._forgotten}")
        return log

    def _forget_oldest(self) -> None:
        _, log = self._logs.popitem(last=False)
        self._bytes -= log.counted
        self._forgotten += 1

    def _count(self, log: _Log) -> None:
        """Its history has changed."""
        cost = 0
        if log.history is not None:
            cost = HISTORY_OVERHEAD_BYTES + log.history.bytes + len(log.history) * SAVED_OVERHEAD_BYTES
        self._bytes += cost - log.counted
        log.counted = cost
        while self._bytes > self._max_bytes and len(self._logs) > 1:
            self._forget_oldest()

    def _save(self, log: _Log, message: Message, limits: HistoryLimits) -> None:
        if log.history is None:
            log.history = History(limits)
            log.history.skip(log.top.offset - 1)
        log.history.append(message.saved(), self._clock(), limits)
        self._count(log)

    async def history(self, group: str, since: Position | None = None, limit: int | None = None) -> HistoryPage:
        await checkpoint()
        log = self._logs.get(group)
        if log is None:
            top = Position(0, f"{self._run}.{self._forgotten}")
            return HistoryPage((), since is None or since == top, top)
        messages: list[SavedMessage] = []
        complete = since is None or since == log.top
        if log.history is not None:
            if since is None or since.epoch != log.top.epoch:
                messages = log.history.snapshot(self._clock())
            else:
                messages, complete = log.history.since(since.offset, self._clock())
            self._count(log)
        if limit is not None and len(messages) > limit:
            messages = messages[len(messages) - limit :]
            complete = since is None
        return HistoryPage(tuple([saved.restore(group) for saved in messages]), complete, log.top)

    async def groups_with_history(self) -> list[str]:
        await checkpoint()
        now = self._clock()
        return [name for name, log in self._logs.items() if log.history is not None and log.history.snapshot(now)]

    async def flush_history(self, group: str | None = None) -> None:
        await checkpoint()
        for name in [group] if group is not None else list(self._logs):
            log = self._logs.get(name)
            if log is not None and log.history is not None:
                log.history.clear()
                self._count(log)

    async def aclose(self) -> None:
        await checkpoint()
        self._logs.clear()
        self._bytes = 0
