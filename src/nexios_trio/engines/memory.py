"""The engine of one process: delivery is a function call, history lives in this process's memory.

Everything happens at once, in `post` and what ends in `nowait`. The asynchronous methods are those with a
checkpoint, so that a program does not come to rely on what only this engine does.
"""

import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final
from uuid import uuid4

from trio.lowlevel import checkpoint

from ..core.message import Message, Position
from ..core.message_codec import SavedMessage
from ..pubsub.history import History
from ..pubsub.presence import PresenceEvent, PresenceTable, Renewal
from ..pubsub.receipt_log import ReceiptLog
from .base import (
    RECEIPT_SECONDS,
    Answer,
    Deliver,
    Engine,
    Gap,
    HistoryLimits,
    HistoryPage,
    Receipt,
    check_key,
    no_answer,
    no_gap,
)
from .clock import ContinuousClock
from .presence import LeaseLost, PresencePage, event_message, presence_group
from .saved_page import SavedPage, last_messages

HISTORY_OVERHEAD_BYTES = 1000  # what one group's history costs beside its messages
MAX_RECEIPTS: Final = 100_000
MAX_RECEIPT_BYTES: Final = 33_554_432


class _Log:
    """One group's numbering and kept messages."""

    __slots__ = ("counted", "has_presence", "history", "is_watched", "top")

    def __init__(self, epoch: str) -> None:
        self.top = Position(0, epoch)
        self.history: History[SavedMessage] | None = None
        self.is_watched = False
        self.has_presence = False  # it numbers what changes in another group while somebody is there
        self.counted = 0  # bytes that the history costs, as the engine knows it


class MemoryEngine(Engine):
    """Carries messages within this process.

    Remembers the numbering of the groups that somebody watches, and of the `max_groups` others that were published to
    last. All histories together cost `max_bytes` of memory at most: then those of the groups that kept nothing for the
    longest time go, whether watched or not. So peers who choose the names of groups cannot fill it. A group whose
    numbering was forgotten begins a new epoch, so a position of the old one is never taken for a place in the new one.

    Concurrency: any task of one trio run. Cancellation: `publish` published nothing.
    """

    is_local = True
    has_presence = True

    def __init__(
        self,
        *,
        max_groups: int = 10_000,
        max_bytes: int = 268_435_456,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._deliver: Deliver | None = None
        self.clock = ContinuousClock() if clock is None else clock  # histories outlive a run of trio
        self._logs: dict[str, _Log] = {}
        self._unwatched: OrderedDict[str, _Log] = OrderedDict()  # least recently published first
        self._with_history: OrderedDict[str, _Log] = OrderedDict()  # least recently kept first
        self._receipts: ReceiptLog[Position | None] = ReceiptLog(MAX_RECEIPTS, MAX_RECEIPT_BYTES, RECEIPT_SECONDS)
        self._max_groups = max_groups
        self._max_bytes = max_bytes
        self._bytes = 0  # that all histories cost
        self.present = PresenceTable(self._tell_presence)
        self._run = uuid4().hex[:12]
        self._forgotten = 0

    @property
    def bytes_kept(self) -> int:
        """The memory that all histories cost."""
        return self._bytes

    @asynccontextmanager
    async def run(self) -> AsyncGenerator[None]:
        """Nothing has to run; what was kept is still there for the next time."""
        await checkpoint()
        yield

    def attach(self, deliver: Deliver, gap: Gap = no_gap, answer: Answer = no_answer) -> None:
        """Give every message to `deliver`, whether its group is watched or not."""
        self._deliver = deliver

    # Messages

    def post(
        self, group: str, message: Message, *, keep: HistoryLimits | None = None, key: str | None = None
    ) -> Receipt:
        """Number the message, keep it, and deliver it, now. Never fails."""
        log = self._logs.get(group)
        is_watched = log is not None and log.is_watched
        if key is not None:
            found = self._receipts.find(group, check_key(key), self.clock())
            if found is not None:
                message.position = found[0]
                return Receipt(True, message.position, is_watched)
        if not message.is_transient:
            if log is None:
                self._forget_unwatched(self._max_groups - 1)
                log = self._logs[group] = self._unwatched[group] = _Log(self._epoch())
            elif not is_watched:
                self._unwatched.move_to_end(group)
            log.top = message.position = Position(log.top.offset + 1, log.top.epoch)
            if keep is not None:
                self._save(group, log, message, keep)
            elif log.history is not None:
                log.history.skip(log.top.offset)
        if key is not None:
            self._receipts.add(group, key, message.position, self.clock())
        if self._deliver is not None:
            self._deliver(group, message)
        return Receipt(True, message.position, is_watched)

    def watch(self, group: str) -> Receipt:
        log = self._logs.get(group)
        if log is None:
            log = self._logs[group] = _Log(self._epoch())
        log.is_watched = True
        self._unwatched.pop(group, None)
        return Receipt(True, log.top)

    def unwatch(self, group: str) -> None:
        log = self._logs.get(group)
        if log is None or not log.is_watched:
            return
        log.is_watched = False
        if log.has_presence:
            self._drop_if_empty(group, log)
        elif log.top.offset:
            self._unwatched[group] = log
            self._forget_unwatched(self._max_groups)
        else:  # nothing has been published
            del self._logs[group]

    # Memory

    def _epoch(self) -> str:
        """The epoch of a group that is not remembered."""
        return f"{self._run}.{self._forgotten}"

    def _forget_unwatched(self, most: int) -> None:
        while len(self._unwatched) > most:
            group, log = self._unwatched.popitem(last=False)
            del self._logs[group]
            self._drop_history(group, log)
            self._forgotten += 1

    def _drop_history(self, group: str, log: _Log) -> None:
        log.history = None
        self._with_history.pop(group, None)
        self._bytes -= log.counted
        log.counted = 0

    def _count(self, log: _Log) -> None:
        """Its history has changed."""
        cost = 0
        if log.history is not None:
            cost = HISTORY_OVERHEAD_BYTES + log.history.cost
        self._bytes += cost - log.counted
        log.counted = cost
        while self._bytes > self._max_bytes and len(self._with_history) > 1:
            self._drop_history(*next(iter(self._with_history.items())))

    def _save(self, group: str, log: _Log, message: Message, limits: HistoryLimits) -> None:
        if log.history is None:
            log.history = History(limits)
            log.history.skip(log.top.offset - 1)
            self._with_history[group] = log
        else:
            self._with_history.move_to_end(group)
        log.history.append(SavedMessage(message), self.clock(), limits)
        self._count(log)

    # History

    async def history(
        self, group: str, since: Position | None = None, *, limit: int | None = None, max_bytes: int | None = None
    ) -> HistoryPage:
        await checkpoint()
        return self.history_nowait(group, since, limit=limit, max_bytes=max_bytes)

    def history_nowait(
        self, group: str, since: Position | None = None, *, limit: int | None = None, max_bytes: int | None = None
    ) -> HistoryPage:
        """Do what `history` does, now."""
        page = self.saved_nowait(group, since, limit=limit, max_bytes=max_bytes)
        messages = tuple([saved.restore() for saved in page.messages])
        return HistoryPage(messages, page.complete, page.top, page.has_more)

    def saved_nowait(
        self, group: str, since: Position | None = None, *, limit: int | None = None, max_bytes: int | None = None
    ) -> SavedPage:
        """Do what `history` does, now, without reading the messages, which may be of a newer release."""
        log = self._logs.get(group)
        if log is None:
            top = Position(0, self._epoch())
            return SavedPage((), since is None or since == top, top)
        history = log.history
        if history is None:
            return SavedPage((), since is None or since == log.top, log.top)
        if since is None:
            page = last_messages(history.snapshot(self.clock()), limit, max_bytes)
            self._count(log)
            return SavedPage(tuple(page), True, log.top)
        is_of_now = since.epoch == log.top.epoch
        after = since.offset if is_of_now else 0
        page, complete = history.since(after, self.clock(), limit=limit, max_bytes=max_bytes)
        self._count(log)
        last = page[-1].position if page else None
        has_more = history.has_after(after if last is None else last.offset)
        return SavedPage(tuple(page), complete and is_of_now, log.top, has_more)

    async def groups_with_history(self) -> list[str]:
        await checkpoint()
        return self.groups_with_history_nowait()

    def groups_with_history_nowait(self) -> list[str]:
        """Do what `groups_with_history` does, now."""
        now = self.clock()
        logs = self._logs.items()
        return [name for name, log in logs if log.history is not None and log.history.has_any(now)]

    async def flush_history(self, group: str | None = None) -> None:
        await checkpoint()
        self.flush_history_nowait(group)

    def flush_history_nowait(self, group: str | None = None) -> None:
        """Do what `flush_history` does, now."""
        for name in [group] if group is not None else list(self._with_history):
            log = self._with_history.get(name)
            if log is not None:
                self._drop_history(name, log)

    # Presence

    def renew(self, renewal: Renewal) -> Receipt:
        """Do what a node says, now."""
        receipt = Receipt()
        if self.present.renew(renewal, self.clock()):
            receipt.settle(None)
        else:
            receipt.fail(LeaseLost(f"the lease of node {renewal.node} is over"))
        return receipt

    async def presence(self, group: str) -> PresencePage:
        await checkpoint()
        return self.presence_nowait(group)

    def presence_nowait(self, group: str) -> PresencePage:
        """Do what `presence` does, now."""
        self.present.reap(self.clock())
        log = self._logs.get(presence_group(group))
        return PresencePage(Position(0, self._epoch()) if log is None else log.top, self.present.clients(group))

    def _tell_presence(self, group: str, event: PresenceEvent) -> None:
        name = presence_group(group)
        log = self._logs.get(name)
        if log is None:
            log = self._logs[name] = _Log(self._epoch())
        log.has_presence = True
        log.top = Position(log.top.offset + 1, log.top.epoch)
        if log.is_watched and self._deliver is not None:
            message = event_message(event, time.time())
            message.position = log.top
            self._deliver(name, message)
        self._drop_if_empty(name, log)

    def _drop_if_empty(self, name: str, log: _Log) -> None:
        """Forget the numbering of a group in which nobody is and whose events nobody watches."""
        if not log.is_watched and name.removeprefix(presence_group("")) not in self.present:
            del self._logs[name]
            self._forgotten += 1

    async def ask(self, request: bytes) -> list[bytes]:
        await checkpoint()
        return []
