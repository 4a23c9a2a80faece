"""The engine of one process: delivery is a function call, history lives in this process's memory."""

from collections import OrderedDict
from collections.abc import Callable
from uuid import uuid4

import trio
from trio.lowlevel import cancel_shielded_checkpoint, checkpoint, checkpoint_if_cancelled

from ..core.message import Message, Position
from ..pubsub.history import History
from .base import Deliver, Engine, HistoryLimits, HistoryPage


class _Log:
    """One group's numbering and kept messages."""

    __slots__ = ("counted", "history", "top")

    def __init__(self, epoch: str) -> None:
        self.top = Position(0, epoch)
        self.history: History[Message] | None = None
        self.counted = 0  # bytes of the history, as the engine knows them


class MemoryEngine(Engine):
    """Carries messages within this process.

    Remembers the `max_groups` groups that were published to last, as long as their histories have `max_bytes` together:
    peers who choose the names of groups cannot fill the memory. A group that was forgotten begins a new epoch, so a
    position of the old one is never taken for a place in the new one.

    Concurrency: any task of one trio run. Cancellation: `publish` published nothing.
    """

    is_local = True

    def __init__(
        self,
        *,
        max_groups: int = 10_000,
        max_bytes: int = 268_435_456,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self._deliver: Deliver | None = None
        self._clock = clock
        self._logs: OrderedDict[str, _Log] = OrderedDict()  # least recently published first
        self._max_groups = max_groups
        self._max_bytes = max_bytes
        self._bytes = 0  # of all histories
        self._run = uuid4().hex[:12]
        self._forgotten = 0

    def attach(self, deliver: Deliver) -> None:
        self._deliver = deliver

    async def publish(self, group: str, message: Message, *, history: HistoryLimits | None) -> Position:
        await checkpoint_if_cancelled()
        log = self._log(group)
        log.top = message.position = Position(log.top.offset + 1, log.top.epoch)
        if history is not None:
            self._save(log, message, history)
        elif log.history is not None:
            log.history.skip(log.top.offset)
        if self._deliver is not None:
            self._deliver(group, message)
        await cancel_shielded_checkpoint()
        return message.position

    def _log(self, group: str) -> _Log:
        log = self._logs.get(group)
        if log is not None:
            self._logs.move_to_end(group)
            return log
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
        size = log.history.bytes if log.history is not None else 0
        self._bytes += size - log.counted
        log.counted = size
        while self._bytes > self._max_bytes and len(self._logs) > 1:
            self._forget_oldest()

    def _save(self, log: _Log, message: Message, limits: HistoryLimits) -> None:
        if log.history is None:
            log.history = History(overflow=limits.overflow, ttl=limits.max_age, limit=limits.max_messages)
            log.history.skip(log.top.offset - 1)
        log.history.append(message, self._clock(), limits.max_bytes)
        self._count(log)

    async def history(self, group: str, since: Position | None = None, limit: int | None = None) -> HistoryPage:
        await checkpoint()
        log = self._logs.get(group)
        if log is None:
            top = Position(0, f"{self._run}.{self._forgotten}")
            return HistoryPage((), since is None or since == top, top)
        messages: list[Message] = []
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
        return HistoryPage(tuple(messages), complete, log.top)

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
