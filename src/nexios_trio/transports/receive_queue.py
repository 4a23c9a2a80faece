"""One connection's received messages, between the transport's reader and the handler.

The reader puts, synchronously; one task at a time gets. Messages that came before the end are read before the end is.
Held to its bounds by the reader: when `full`, it stops reading, so that TCP pushes back, until `on_room` is called.
"""

from collections import deque
from collections.abc import Callable
from typing import Protocol

import trio
from outcome import Value
from trio.lowlevel import Abort, Task, checkpoint, current_task, reschedule, wait_task_rescheduled

from ..core.lifecycle import End

_NONE: deque[str | bytes] = deque(maxlen=0)

Item = str | bytes | End


class Waiter(Protocol):
    """What waits for a message, where no task does."""

    def hand_over(self, item: Item | None) -> None:
        """Take what a task would go on with. Called once."""


class Inbox:
    """A bounded queue of str (text) and bytes (binary) messages, then an `End`.

    A message that somebody waits for is handed over and never queued: an idle connection has no queue.
    """

    __slots__ = (
        "_bytes",
        "_items",
        "_max_bytes",
        "_max_messages",
        "_reading",
        "end",
        "full",
        "on_room",
        "received",
        "waiter",
    )

    def __init__(self, max_messages: int, max_bytes: int, on_room: Callable[[], None]) -> None:
        self._items: deque[str | bytes] = _NONE  # made for the first message that nobody waits for
        self._bytes = 0
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._reading = False
        self.end: End | None = None
        self.full = False  # at or over a bound
        self.received = 0  # messages, ever
        self.waiter: Task | Waiter | None = None  # for a message: then nothing is queued, and there is no end
        self.on_room = on_room

    def bound(self, max_messages: int, max_bytes: int) -> None:
        """Set other bounds, for what comes from here on."""
        self._max_messages = max_messages
        self._max_bytes = max_bytes

    def __len__(self) -> int:
        return len(self._items)

    @property
    def has_reader(self) -> bool:
        """Somebody receives: a task in `get`, or who waits without one."""
        return self._reading

    def put(self, item: str | bytes) -> None:
        """Queue one message. After the end it is thrown away: nobody is left to read it."""
        if self.end is not None:
            return
        self.received += 1
        if self.waiter is not None:
            waiter, self.waiter = self.waiter, None
            if isinstance(waiter, Task):
                reschedule(waiter, Value(item))  # goes on in `get`, in the handler's task
            else:
                waiter.hand_over(item)
            return
        items = self._items
        if items is _NONE:
            items = self._items = deque()
        items.append(item)
        self._bytes += len(item)
        if len(items) >= self._max_messages or self._bytes >= self._max_bytes:
            self.full = True

    def finish(self, end: End) -> None:
        """No more messages follow. The first end stays."""
        if self.end is None:
            self.end = end
            waiter, self.waiter = self.waiter, None
            if isinstance(waiter, Task):
                reschedule(waiter, Value(end))
            elif waiter is not None:
                waiter.hand_over(end)
            if self.full:  # what follows the messages may be read: it is thrown away
                self.on_room()

    def wake(self) -> None:
        """Let who waits for a message go on without one: `get` returns None. A no-op if nobody does."""
        waiter, self.waiter = self.waiter, None
        if isinstance(waiter, Task):
            reschedule(waiter, Value(None))
        elif waiter is not None:
            waiter.hand_over(None)

    def wait_without_task(self, waiter: Waiter) -> None:
        """Give `waiter` the next message, or the end: nothing is queued, and there is no end. Nobody else may receive.

        `wait_with_task` must follow.
        """
        self._reading = True
        self.waiter = waiter

    def wait_with_task(self) -> None:
        """Let a task receive again."""
        self._reading = False

    def discard(self) -> None:
        """Forget what is queued: the connection was killed."""
        self._items.clear()
        self._bytes = 0
        self.full = False
        self.on_room()

    async def get(self) -> Item:
        """The next message, or the end.

        Checkpoint: always. Cancellation: nothing is taken, nothing lost.
        Raises: trio.BusyResourceError when another task is already waiting for a message.
        """
        if self._reading:
            raise trio.BusyResourceError("another task is already receiving from this connection")
        self._reading = True
        try:
            if not self._items and self.end is None:
                self.waiter = current_task()
                item: Item = await wait_task_rescheduled(self._abandon)
                return item
            await checkpoint()
        finally:
            self._reading = False
        return self._pop()

    def get_nowait(self) -> str | bytes | None:
        """The next message, if it is there already."""
        if not self._items:
            return None
        item = self._pop()
        assert not isinstance(item, End)
        return item

    def _pop(self) -> Item:
        if not self._items:
            assert self.end is not None  # or `get` would have waited; `discard` may have emptied the inbox meanwhile
            return self.end
        item = self._items.popleft()
        self._bytes -= len(item)
        if self.full and len(self._items) < self._max_messages and self._bytes < self._max_bytes:
            self.full = False
            self.on_room()
        return item

    def _abandon(self, _: object) -> Abort:
        self.waiter = None
        return Abort.SUCCEEDED
