"""What lies between a client and a server: two pipes, one each way, with the faults of a network.

Theory of operation. A `Pipe` holds items in order. `put` appends one and then waits until no more than `capacity` bytes
are left in the pipe, as `send_all` on a socket waits for the kernel's buffer. An item can be taken once it has arrived:
at once on a pipe without delay, else when the `Schedule` says so. Whoever reads is told by `on_arrival`, a synchronous
function, and takes what it wants; what it leaves stays in the pipe and counts against the writer. So there is no task
per pipe, and a run with ten thousand clients has only the tasks of the application.

    held        nothing arrives, in either direction, and nobody is told: an unplugged cable
    broken      the other side is gone: `put` raises, what was in the pipe is lost
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import attrs
import trio
from trio.lowlevel import checkpoint

__all__ = [
    "CloseFrame",
    "DataMessage",
    "EndOfStream",
    "HandshakeRequest",
    "HandshakeResponse",
    "Link",
    "Pipe",
    "Schedule",
]


@attrs.frozen
class HandshakeRequest:
    """The client's opening request."""

    size: int = 0


@attrs.frozen
class DataMessage:
    """One message."""

    data: str | bytes

    @property
    def size(self) -> int:
        return len(self.data) + 2  # the frame's header, roughly


@attrs.frozen
class CloseFrame:
    """A close frame; code 1005 for an empty one."""

    code: int
    reason: str = ""
    size: int = 4


@attrs.frozen
class EndOfStream:
    """The end of the stream without a close frame."""

    size: int = 0


@attrs.frozen
class HandshakeResponse:
    """The server's answer to the handshake: 101, or an HTTP response when `status` is another."""

    status: int
    headers: list[tuple[bytes, bytes]]
    subprotocol: str | None = None
    body: bytes = b""
    size: int = 0


class Schedule(Protocol):
    """When things arrive."""

    def arrival(self, size: int, after: float) -> float:
        """Return when an item of `size` bytes that is sent now arrives; not before `after`. Seconds of trio's clock."""
        ...

    def call_at(self, when: float, function: Callable[[], None]) -> None: ...


class Pipe:
    """One direction of a connection."""

    def __init__(self, capacity: int, schedule: Schedule | None = None) -> None:
        self.capacity = capacity
        self.bytes = 0
        self.is_held = False
        self.is_broken = False
        self.on_arrival: Callable[[], None] = lambda: None  # something can be taken
        self.on_loss: Callable[[], None] = lambda: None  # `EndOfStream` has arrived, though it may not be taken yet
        self._schedule = schedule
        self._items: deque[Any] = deque()
        self._arrived = 0  # of the items, from the left
        self._last_arrival = 0.0
        self._generation = 0  # arrivals of what was thrown away mean nothing
        self._room = trio.lowlevel.ParkingLot()

    def put_nowait(self, item: Any) -> None:
        """Send without regard to the capacity. Into a broken pipe: nothing happens."""
        if self.is_broken:
            return
        self._items.append(item)
        self.bytes += item.size
        if self._schedule is None:
            self._arrive()
            return
        self._last_arrival = when = self._schedule.arrival(item.size, self._last_arrival)
        if when <= trio.current_time() and self._arrived == len(self._items) - 1:
            self._arrive()
        else:
            generation = self._generation
            self._schedule.call_at(when, lambda: self._arrive() if generation == self._generation else None)

    def put_if_fits(self, item: Any) -> bool:
        """Send if nobody can have to wait for that."""
        if self.is_broken or self.bytes + item.size > self.capacity:
            return False
        self.put_nowait(item)
        return True

    async def put(self, item: Any) -> None:
        """Send, and wait until the pipe holds no more than its capacity.

        Checkpoint: always. Cancellation: the item is sent all the same.
        Raises: trio.BrokenResourceError when the other side is gone.
        """
        was_broken = self.is_broken
        self.put_nowait(item)
        fits = self.bytes <= self.capacity
        await checkpoint()
        if fits and not was_broken:
            return
        while self.bytes > self.capacity and not self.is_broken:
            await self._room.park()
        if self.is_broken:
            raise trio.BrokenResourceError("the peer is gone")

    def take(self) -> Any:
        """The next item that has arrived, or None."""
        if not self._arrived or self.is_held:
            return None
        self._arrived -= 1
        item = self._items.popleft()
        self.bytes -= item.size
        if self._room and self.bytes <= self.capacity:
            self._room.unpark_all()
        return item

    def hold(self, is_held: bool) -> None:
        self.is_held = is_held
        if not is_held and self._arrived:
            self._tell()

    def lose(self) -> None:
        """The writer is gone: what is in the pipe is lost, nothing more is sent, and the reader finds out."""
        if self.is_broken:
            return
        self._clear()
        self.put_nowait(EndOfStream())
        self.is_broken = True
        self._room.unpark_all()

    def shatter(self) -> None:
        """The reader is gone: what is in the pipe is lost, writers get an error."""
        self.is_broken = True
        self._clear()
        self._room.unpark_all()

    def _clear(self) -> None:
        self._items.clear()
        self._arrived = self.bytes = 0
        self._generation += 1

    def _arrive(self) -> None:
        self._arrived += 1
        if not self.is_held:
            self._tell()

    def _tell(self) -> None:
        if isinstance(self._items[self._arrived - 1], EndOfStream):
            self.on_loss()
        self.on_arrival()


class Link:
    """One connection: `up` to the server, `down` to the client.

    Args:
        capacity: bytes that each direction holds beyond what its reader takes.
        up, down: when things arrive; None: at once.
    """

    def __init__(self, capacity: int = 0, up: Schedule | None = None, down: Schedule | None = None) -> None:
        self.up = Pipe(capacity, up)
        self.down = Pipe(capacity, down)
        self.up.on_loss = self.down.shatter
        self.down.on_loss = self.up.shatter

    def hold(self, is_held: bool) -> None:
        """Cut both directions, or heal them; nobody is told."""
        self.up.hold(is_held)
        self.down.hold(is_held)
