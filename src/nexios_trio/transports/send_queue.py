"""One peer's send queue: a trio memory channel bounded in messages, plus a count of bytes.

`offer` is the group's way in: it never waits, the overflow policy decides. `send` is the handler's way: it waits for
room, in the order of the calls: the writer, when it takes a frame, queues in the place of those who wait what now fits.
Both share one order. One task takes frames out.

A frame with `is_kept` is never dropped once it is queued, and never replaced. One that is offered where a policy that
drops has no room for it is refused.
"""

from collections import deque
from collections.abc import Hashable
from typing import Any, Final

import trio
from outcome import Value
from trio.lowlevel import (
    Abort,
    Task,
    cancel_shielded_checkpoint,
    checkpoint_if_cancelled,
    current_task,
    reschedule,
    wait_task_rescheduled,
)

from ..core.message import Frame
from ..core.overflow import OutboxStatistics, Policy, Verdict
from ..exceptions import MessageTooBig
from .delivery_counts import DeliveryCounts as DeliveryCounts

_NONE: Final[deque[Any]] = deque(maxlen=0)  # in place of 600 bytes for each queue; whoever adds to it makes its own


class Cell:
    """One place in the queue; conflation puts a newer frame into it."""

    __slots__ = ("frame", "key", "since")

    def __init__(self, frame: Frame, key: Hashable, since: float) -> None:
        self.frame = frame
        self.key = key
        self.since = since  # when it was queued, in seconds of trio's clock


class Outbox:
    """Frames on their way to one peer, oldest first."""

    __slots__ = (
        "_cells",
        "_front",
        "_is_closed",
        "_order",
        "_receive_end",
        "_send_end",
        "_waiting",
        "bytes",
        "counts",
        "max_bytes",
        "max_messages",
        "messages",
        "policy",
        "taken",
    )

    def __init__(self, max_messages: int, max_bytes: int, policy: Policy, counts: DeliveryCounts) -> None:
        self.max_messages = max_messages
        self.max_bytes = max_bytes
        self.policy = policy
        self.counts = counts
        self.messages = 0
        self.bytes = 0
        self.taken = 0  # ever
        self._send_end, self._receive_end = trio.open_memory_channel[Frame | Cell](max_messages)
        # Senders that wait for room, first come, first served. This and `_order`: made when needed
        self._waiting: deque[tuple[Task, Frame]] = _NONE
        self._front: deque[Frame | Cell] = _NONE  # kept ones that were in the way of a drop, before all others
        self._is_closed = False
        # A memory channel cannot be looked into. Only policies that must know keep these:
        self._cells: dict[Hashable, Cell] = {}  # by key, for conflation
        self._order: deque[Cell] = _NONE  # oldest first, for lag

    def __len__(self) -> int:
        return self.messages

    @property
    def is_high(self) -> bool:
        """More than half full."""
        return self.messages * 2 > self.max_messages or self.bytes * 2 > self.max_bytes

    def fits(self, size: int) -> bool:
        return self.messages < self.max_messages and self.bytes + size <= self.max_bytes

    def offer(self, frame: Frame, key: Hashable = None, policy: Policy | None = None) -> bool:
        """Queue `frame` or do what the policy says, its own or this outbox's; False to disconnect the peer."""
        policy = policy or self.policy
        if self._is_closed:
            self.counts.lost += 1
            return True
        if not policy.eager and self.bytes + frame.size <= self.max_bytes and self.messages < self.max_messages:
            try:
                self._send_end.send_nowait(frame)
            except trio.WouldBlock:
                pass
            else:
                self.messages += 1
                self.bytes += frame.size
                return True
        if frame.is_kept:
            key = None
        try:
            verdict = policy(self._statistics(key), frame.size)
        except Exception as error:
            self.counts.note_policy_error(error)
            key = None
            verdict = Verdict.ENQUEUE if self.fits(frame.size) else Verdict.DISCONNECT
        return self._obey(verdict, frame, key, policy.eager)

    def _statistics(self, key: Hashable) -> OutboxStatistics:
        cell = self._cells.get(key) if key is not None else None
        return OutboxStatistics(
            messages=self.messages,
            bytes=self.bytes,
            max_messages=self.max_messages,
            max_bytes=self.max_bytes,
            oldest_age=trio.current_time() - self._order[0].since if self._order else 0.0,
            replaceable=cell.frame.size if cell is not None else None,
        )

    def _obey(self, verdict: Verdict, frame: Frame, key: Hashable, eager: bool) -> bool:
        match verdict:
            case Verdict.ENQUEUE:
                self._push(frame, key, eager)
            case Verdict.DROP_LATEST:
                self._drop_latest(frame)
            case Verdict.DROP_OLDEST:
                self._drop_oldest(frame.size)
                if self._front and not self.fits(frame.size):
                    self._drop_latest(frame)
                else:
                    self._push(frame, key, eager)
            case Verdict.REPLACE:
                cell = self._cells[key]
                self.bytes += frame.size - cell.frame.size
                cell.frame = frame
                self.counts.replaced += 1
            case Verdict.DISCONNECT:
                self.counts.lost += 1
                return False
        return True

    def _drop_latest(self, frame: Frame) -> None:
        self.counts.dropped_latest += 1
        if frame.is_kept:
            self.counts.has_refused = True

    def _drop_oldest(self, size: int) -> None:
        if not self._drop_one():
            return
        while not self.fits(size) and self._drop_one():
            pass

    def _drop_one(self) -> bool:
        """Drop the oldest frame; False when none is left but the one that the writer is about to wake with."""
        while True:
            try:
                item = self._receive_end.receive_nowait()
            except trio.WouldBlock:
                return False
            if not (item.frame if isinstance(item, Cell) else item).is_kept:
                break
            if self._front is _NONE:
                self._front = deque()
            self._front.append(item)
        self._taken(item)
        self.counts.dropped_oldest += 1
        return True

    def _push(self, frame: Frame, key: Hashable, eager: bool) -> None:
        self.messages += 1
        self.bytes += frame.size
        if not eager:
            self._send_end.send_nowait(frame)
            return
        cell = Cell(frame, key, trio.current_time())
        if self._order is _NONE:
            self._order = deque()
        self._order.append(cell)
        if key is not None:
            self._cells[key] = cell
        self._send_end.send_nowait(cell)

    async def send(self, frame: Frame) -> None:
        """Queue `frame`, waiting for room.

        Checkpoint: always. Cancellation: not queued.
        Raises: trio.ClosedResourceError when the outbox is closed, also while waiting; MessageTooBig if it never fits.
        """
        if frame.size > self.max_bytes:
            raise MessageTooBig(f"a message of {frame.size} bytes; accepted: up to outbox_bytes={self.max_bytes}")
        await checkpoint_if_cancelled()
        if not self._is_closed and (self._waiting or not self.fits(frame.size)):
            if await self._until_queued(frame):
                return
        elif not self._is_closed:
            self._push(frame, None, self.policy.eager)
            await cancel_shielded_checkpoint()
            return
        await cancel_shielded_checkpoint()
        raise trio.ClosedResourceError("the connection has ended")

    async def _until_queued(self, frame: Frame) -> bool:
        """Wait until `_queue_waiting` has queued the frame; False when the outbox was closed before."""
        place = (current_task(), frame)
        if self._waiting is _NONE:
            self._waiting = deque()
        self._waiting.append(place)

        def abandon(_: object) -> Abort:
            self._waiting.remove(place)
            self._queue_waiting()  # a shorter one behind it may fit
            return Abort.SUCCEEDED

        is_queued: bool = await wait_task_rescheduled(abandon)
        return is_queued

    def _queue_waiting(self) -> None:
        while self._waiting and self.fits(self._waiting[0][1].size):
            task, frame = self._waiting.popleft()
            self._push(frame, None, self.policy.eager)
            reschedule(task, Value(True))

    def take_nowait(self) -> Frame:
        """Take the oldest frame. Raises: trio.WouldBlock, trio.EndOfChannel (closed and empty)."""
        frame = self._taken(self._front.popleft() if self._front else self._receive_end.receive_nowait())
        if self._waiting:
            self._queue_waiting()
        return frame

    async def take(self) -> Frame:
        """Take the oldest frame, waiting for one. Raises: trio.EndOfChannel (closed and empty)."""
        if self._front:
            await checkpoint_if_cancelled()
            frame = self.take_nowait()
            await cancel_shielded_checkpoint()
            return frame
        frame = self._taken(await self._receive_end.receive())
        if self._waiting:
            self._queue_waiting()
        return frame

    def _taken(self, item: Frame | Cell) -> Frame:
        if isinstance(item, Cell):
            frame = item.frame
            self._order.remove(item)  # the first, or the second while the writer has yet to wake for the first
            if self._cells.get(item.key) is item:
                del self._cells[item.key]
        else:
            frame = item
        self.messages -= 1
        self.bytes -= frame.size
        self.taken += 1
        return frame

    def close(self) -> None:
        """Take nothing more. What is queued can still be taken out."""
        if not self._is_closed:
            self._is_closed = True
            self._send_end.close()
            while self._waiting:
                reschedule(self._waiting.popleft()[0], Value(False))

    def discard(self) -> None:
        """Throw away what is queued, and count it."""
        while True:
            try:
                self._taken(self._front.popleft() if self._front else self._receive_end.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel):
                return
            self.counts.lost += 1
