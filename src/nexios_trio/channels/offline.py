"""`OfflineQueue`: messages to clients that are away for a moment, in order when they are back.

Every message to a client goes through that client's queue, also while it is here; one task of the connection that the
client has at present takes them out. So `send` never waits for a peer, and the order is that of the sends, over any
number of reconnections. A message is taken out when the connection has it: what is on the wire when a connection breaks
is lost, as everywhere without acknowledgements.
"""

import math
import time
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio
from trio.lowlevel import checkpoint

from ..core.message import Message
from ..exceptions import MessageTooBig, WebSocketDisconnect
from .channel import Channel

__all__ = ["OfflineQueue", "OfflineStatistics"]


@attrs.frozen
class OfflineStatistics:
    """Sizes now, and messages dropped since the queue was made."""

    here: int
    away: int
    messages: int
    bytes: int
    dropped: int


def missed_messages(count: int) -> Any:
    """Return what a client is told by default: ``{"type": "missed", "messages": count}``."""
    return {"type": "missed", "messages": count}


@attrs.define(eq=False)
class _Client:
    # Invariant: bytes is the sum of the sizes of what is kept.
    kept: deque[Message] = attrs.field(factory=deque)
    bytes: int = 0
    missed: int = 0  # dropped, and the client was not told yet
    news: trio.Event = attrs.field(factory=trio.Event)
    turn: trio.Lock = attrs.field(factory=trio.Lock)  # one connection at a time takes messages out
    delivery: trio.CancelScope | None = None  # of the present connection; None: the client is away


class OfflineQueue:
    """Messages to clients by a name of your choice, such as the user's, over their reconnections.

    Args:
        max_messages: kept for one client; the oldest make room, and the client is told how many.
        max_bytes: the same, of serialized messages.
        max_age: seconds that a client may be away; then it is forgotten, with its messages.
        max_away: clients that are away at a time; beyond it, the one that left first is forgotten.
        on_missed: makes the message, out of the number of dropped ones, that comes before what is left; None for no
            such message.
    Concurrency: of several connections of one client, the newest gets the messages.
    Raises: ValueError.
    """

    def __init__(
        self,
        max_messages: int = 256,
        max_bytes: int = 65_536,
        max_age: float = 60.0,
        *,
        max_away: int = 4096,
        on_missed: Callable[[int], Any] | None = missed_messages,
    ) -> None:
        _check_count("max_messages", max_messages)
        _check_count("max_bytes", max_bytes)
        _check_count("max_away", max_away)
        if not 0 < max_age < math.inf:
            raise ValueError(f"max_age must be a number of seconds above 0, not {max_age!r}")
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._max_age = max_age
        self._max_away = max_away
        self._on_missed = on_missed
        self._clients: dict[str, _Client] = {}
        self._away: OrderedDict[str, float] = OrderedDict()  # name -> when it left; the first to leave stands first
        self._dropped = 0

    async def send(self, name: str, payload: Any) -> bool:
        """Send to one client, or keep it until the client is back.

        Checkpoint: always. Cancellation: nothing was kept.
        Returns: False when there is no such client: never here, or away for too long.
        Raises: ValueError when the payload cannot be encoded; MessageTooBig when it could never be kept.
        """
        await checkpoint()
        message = Message(payload, time.time())
        if message.size > self._max_bytes:
            raise MessageTooBig(f"a message of {message.size} bytes: the queue of a client holds {self._max_bytes}")
        self._forget_the_old()
        client = self._clients.get(name)
        if client is None:
            return False
        client.kept.append(message)
        client.bytes += message.size
        while client.bytes > self._max_bytes or len(client.kept) > self._max_messages:
            client.bytes -= client.kept.popleft().size
            self._drop(client, 1)
        client.news.set()
        return True

    @asynccontextmanager
    async def connected(self, name: str, channel: Channel) -> AsyncGenerator[bool]:
        """The client is here, on `channel`, for the length of the block. First it gets what was kept.

        Gives True when it was here before and everything since is in the queue, or told as missed; False for a client
        that is new, or was away for too long, and has to begin anew.

        Checkpoint: on entry. Raises: LifecycleError when the connection is over.
        """
        await checkpoint()
        self._forget_the_old()
        was_here = name in self._clients
        client = self._clients.setdefault(name, _Client())
        scope = trio.CancelScope()
        channel.websocket.start_soon(self._deliver, client, channel, scope)
        if client.delivery is not None:
            client.delivery.cancel(reason="the client has a newer connection")
        client.delivery = scope
        self._away.pop(name, None)
        try:
            yield was_here
        finally:
            scope.cancel(reason="the client has left")
            if client.delivery is scope:
                client.delivery = None
                self._away[name] = trio.current_time()
                self._forget_the_old()

    def statistics(self) -> OfflineStatistics:
        """Sizes and counts."""
        self._forget_the_old()
        clients = self._clients.values()
        return OfflineStatistics(
            here=len(clients) - len(self._away),
            away=len(self._away),
            messages=sum(len(client.kept) for client in clients),
            bytes=sum(client.bytes for client in clients),
            dropped=self._dropped,
        )

    async def _deliver(self, client: _Client, channel: Channel, scope: trio.CancelScope) -> None:
        """Runs in the nursery of the client's connection, until the client leaves or has a newer one."""
        with scope:
            async with client.turn:
                while True:
                    if client.missed and self._on_missed is not None:
                        await self._tell_missed(client, channel, self._on_missed)
                    elif client.kept:
                        await self._deliver_one(client, channel)
                    else:
                        client.news = trio.Event()
                        await client.news.wait()

    async def _tell_missed(self, client: _Client, channel: Channel, on_missed: Callable[[int], Any]) -> None:
        count = client.missed
        await channel.send(on_missed(count))
        client.missed -= count

    async def _deliver_one(self, client: _Client, channel: Channel) -> None:
        message = client.kept.popleft()
        client.bytes -= message.size
        try:
            await channel.send(message.payload)
        except (WebSocketDisconnect, trio.Cancelled):
            self._put_back(client, message)
            raise
        except Exception:
            self._drop(client, 1)
            raise

    def _put_back(self, client: _Client, message: Message) -> None:
        """It was not sent. What came meanwhile may have taken its room."""
        if client.bytes + message.size > self._max_bytes or len(client.kept) >= self._max_messages:
            self._drop(client, 1)
        else:
            client.kept.appendleft(message)
            client.bytes += message.size

    def _drop(self, client: _Client, count: int) -> None:
        client.missed += count
        self._dropped += count

    def _forget_the_old(self) -> None:
        now = trio.current_time()
        while self._away:
            name, left = next(iter(self._away.items()))
            if now - left < self._max_age and len(self._away) <= self._max_away:
                return
            del self._away[name]
            self._dropped += len(self._clients.pop(name).kept)


def _check_count(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be a whole number of 1 or more, not {value!r}")
