"""`OfflineQueue`: messages to clients that are away for a moment, in order when they are back.

Every message to a client goes through the queue of each of its devices, also while it is here. Each connection of a
device has a task in its own nursery; the newest one that is open takes messages out, the others wait until it has gone.
So `send` never waits for a peer, and the order is that of the sends, over any number of reconnections and tabs. A
message is taken out when the connection has it: what is on the wire when a connection breaks is lost, as everywhere
without acknowledgements.
"""

import logging
import math
import time
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import attrs
import trio
from trio.lowlevel import checkpoint

from ..core.json import JsonDefault
from ..core.message import Message, Position
from ..core.message_codec import SavedMessage
from ..engines.clock import ContinuousClock
from ..exceptions import AuthenticationError, MessageTooBig, WebSocketDisconnect
from .channel import Channel

__all__ = ["OfflineQueue", "OfflineStatistics"]

logger = logging.getLogger("nexios_trio.channel")


@attrs.frozen
class OfflineStatistics:
    """Sizes now, and messages dropped since the queue was made."""

    here: int  # devices with an open connection
    away: int  # devices that may come back
    messages: int
    bytes: int
    dropped: int


def missed_messages(count: int) -> Any:
    """Return what a client is told by default: ``{"type": "missed", "messages": count}``."""
    return {"type": "missed", "messages": count}


_NO_POSITION: Final = Position(0, "")


@attrs.define(eq=False)
class _Tab:
    """One connection of a device."""

    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)  # of its task, until the client leaves it
    turn: trio.CancelScope | None = None  # while it takes messages out


@attrs.define(eq=False)
class _Device:
    # Invariant: bytes is the sum of the sizes of what is kept.
    kept: deque[SavedMessage] = attrs.field(factory=deque)
    bytes: int = 0
    missed: int = 0  # dropped, and the client was not told yet
    tabs: list[_Tab] = attrs.field(factory=list)  # the newest last; empty: the device is away
    news: trio.Event = attrs.field(factory=trio.Event)  # set once: something is kept, or another tab is the newest
    taking: trio.Lock = attrs.field(factory=trio.Lock)  # one connection at a time takes messages out

    def tell(self) -> None:
        self.news.set()
        self.news = trio.Event()


class OfflineQueue:
    """Messages to clients by a name of your choice, such as the user's, over their reconnections.

    Args:
        max_messages: kept for one device; the oldest make room, and the client is told how many.
        max_bytes: the same, of serialized messages.
        max_age: seconds that a device may be away; then it is forgotten, with its messages.
        max_away: devices that are away at a time; beyond it, the one that left first is forgotten.
        on_missed: makes the message, out of the number of dropped ones, that comes before what is left; None for no
            such message. Where it raises, or JSON cannot carry what it makes, that is logged, and what is left follows.
        json_default: makes something of what JSON does not know; None for the setting of the application whose clients
            connect.
    Concurrency: every device of a client gets every message. Of several connections of one device, such as the tabs of
        a browser, the newest that is open gets it.
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
        json_default: JsonDefault | None = None,
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
        self._json_default = json_default
        self._clients: dict[str, dict[str, _Device]] = {}  # name -> its devices, at least one
        # (name, device) -> when it left; the first to leave stands first
        self._away: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._clock = ContinuousClock()  # an absence may outlive a run of trio
        self._dropped = 0

    async def send(self, name: str, payload: Any) -> bool:
        """Send to one client, or keep it for each of its devices until that is back.

        Checkpoint: always. Cancellation: nothing was kept.
        Returns: False when there is no such client: never here, or away for too long.
        Raises: PayloadError (a ValueError) when the payload cannot be encoded; MessageTooBig when it could never be
            kept.
        """
        await checkpoint()
        message = Message(payload, time.time(), _NO_POSITION, json_default=self._json_default)
        if message.size > self._max_bytes:
            raise MessageTooBig(f"a message of {message.size} bytes: the queue of a client holds {self._max_bytes}")
        self._forget_the_old()
        devices = self._clients.get(name)
        if devices is None:
            return False
        saved = SavedMessage(message)
        for device in devices.values():
            device.kept.append(saved)
            device.bytes += saved.size
            while device.bytes > self._max_bytes or len(device.kept) > self._max_messages:
                device.bytes -= device.kept.popleft().size
                self._drop(device, 1)
            device.tell()
        return True

    @asynccontextmanager
    async def connected(self, name: str, channel: Channel, *, device: str = "any") -> AsyncGenerator[bool]:
        """The client is here, on `channel`, for the length of the block. First it gets what was kept.

        Gives True when the device was here before and everything since is in the queue, or told as missed; False for
        one that is new, or was away for too long, and has to begin anew.

        Checkpoint: on entry. Raises: LifecycleError when the connection is over; TypeError, ValueError for a device
            that is no name.
        Args:
            device: which of the client's devices this is, by a name that it keeps, such as an id in the browser's local
                storage. Whoever gives none has one device.
        """
        _check_device(device)
        await checkpoint()
        self._forget_the_old()
        found = self._clients.get(name, {}).get(device)
        queue = _Device() if found is None else found
        tab = _Tab()
        channel.websocket.start_soon(self._run_tab, (name, device), queue, tab, channel)  # raises: nobody is here
        if self._json_default is None:
            self._json_default = channel.websocket.settings.json_default
        self._clients.setdefault(name, {})[device] = queue
        self._away.pop((name, device), None)
        if queue.tabs and queue.tabs[-1].turn is not None:
            queue.tabs[-1].turn.cancel(reason="the device has a newer connection")
        queue.tabs.append(tab)
        channel.cancel_on_revoke(tab.scope)
        try:
            yield found is not None
        finally:
            channel.keep_on_revoke(tab.scope)
            tab.scope.cancel(reason="the client has left")
            self._close_tab((name, device), queue, tab)

    def statistics(self) -> OfflineStatistics:
        """Sizes and counts."""
        self._forget_the_old()
        devices = [device for client in self._clients.values() for device in client.values()]
        return OfflineStatistics(
            here=len(devices) - len(self._away),
            away=len(self._away),
            messages=sum(len(device.kept) for device in devices),
            bytes=sum(device.bytes for device in devices),
            dropped=self._dropped,
        )

    async def _run_tab(self, key: tuple[str, str], device: _Device, tab: _Tab, channel: Channel) -> None:
        """Take messages out whenever this is the newest tab. Runs in the nursery of the tab's connection."""
        try:
            with tab.scope:
                while True:
                    while device.tabs[-1:] != [tab]:  # or it is closed already
                        await device.news.wait()
                    with trio.CancelScope() as tab.turn:
                        async with device.taking:
                            await self._take_out(device, channel)
                    tab.turn = None
        finally:
            tab.turn = None
            self._close_tab(key, device, tab)

    def _close_tab(self, key: tuple[str, str], device: _Device, tab: _Tab) -> None:
        if tab not in device.tabs:
            return
        device.tabs.remove(tab)
        device.tell()
        if not device.tabs:
            self._away[key] = self._clock()
            self._forget_the_old()

    async def _take_out(self, device: _Device, channel: Channel) -> None:
        while True:
            if device.missed and self._on_missed is not None:
                await self._tell_missed(device, channel, self._on_missed)
            elif device.kept:
                await self._deliver_one(device, channel)
            else:
                await device.news.wait()

    async def _tell_missed(self, device: _Device, channel: Channel, on_missed: Callable[[int], Any]) -> None:
        count = device.missed
        try:
            await channel.send(on_missed(count))
        except (WebSocketDisconnect, AuthenticationError, trio.Cancelled):
            raise
        except Exception:  # raised for ever, it would keep what is left from the client at each return
            logger.exception("the message of on_missed could not be sent", extra={"channel": channel.uuid})
        device.missed -= count

    async def _deliver_one(self, device: _Device, channel: Channel) -> None:
        message = device.kept.popleft()
        device.bytes -= message.size
        try:
            await channel.send(message.restore().payload)
        except (WebSocketDisconnect, trio.Cancelled):
            self._put_back(device, message)
            raise
        except Exception:
            self._drop(device, 1)
            raise

    def _put_back(self, device: _Device, message: SavedMessage) -> None:
        """It was not sent. What came meanwhile may have taken its room."""
        if device.bytes + message.size > self._max_bytes or len(device.kept) >= self._max_messages:
            self._drop(device, 1)
        else:
            device.kept.appendleft(message)
            device.bytes += message.size

    def _drop(self, device: _Device, count: int) -> None:
        device.missed += count
        self._dropped += count

    def _forget_the_old(self) -> None:
        now = self._clock()
        while self._away:
            (name, device), left = next(iter(self._away.items()))
            if now - left < self._max_age and len(self._away) <= self._max_away:
                return
            del self._away[name, device]
            devices = self._clients[name]
            self._dropped += len(devices.pop(device).kept)
            if not devices:
                del self._clients[name]


def _check_device(device: Any) -> None:
    if not isinstance(device, str):
        raise TypeError(f"device must be a str, a name that the device keeps, not {type(device).__name__}")
    if not device:
        raise ValueError("device must be a name of at least one character")


def _check_count(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be a whole number of 1 or more, not {value!r}")
