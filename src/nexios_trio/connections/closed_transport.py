"""In place of a connection's transport, once the connection is released."""

from typing import Any, NoReturn

from trio.lowlevel import checkpoint

from ..core.lifecycle import End, Lifecycle
from ..core.message import Batch, Frame
from ..exceptions import WebSocketDisconnect
from ..transports.base import SendStatistics, Transport

__all__ = ["ClosedTransport"]


class ClosedTransport:
    """Remembers how a connection ended and what its peer did not get: no socket, no queue and no task.

    Answers as a `Transport` whose connection is over: whoever kept a WebSocket or a Channel may ask it, and every send
    raises WebSocketDisconnect. It is its own inbox, which has nothing but the end. Every coroutine is a checkpoint.
    """

    __slots__ = ("counts", "latency", "lifecycle", "on_end", "policy", "scope", "settings")

    name = "closed"
    can_abort = True
    is_open = False
    pong_at = None

    def __init__(self, before: Transport) -> None:
        self.scope = before.scope
        self.settings = before.settings
        self.lifecycle: Lifecycle = before.lifecycle  # shared: its goodbye may still be on its way
        self.counts = before.counts
        self.policy = before.policy
        self.on_end: Any = None  # nobody calls it
        self.latency = before.latency

    @property
    def end(self) -> End | None:
        return self.lifecycle.end

    @property
    def inbox(self) -> "ClosedTransport":
        return self

    def __len__(self) -> int:
        return 0

    async def get(self) -> End:
        await checkpoint()
        end = self.lifecycle.end
        if end is None:
            self._raise()
        return end

    async def accept(self, *_: object) -> NoReturn:
        await checkpoint()
        self._raise()

    async def deny(self, *_: object) -> None:
        await checkpoint()

    async def send(self, frame: Frame) -> NoReturn:
        await checkpoint()
        self._raise()

    def write_nowait(self, *_: object) -> bool:
        return False

    def offer(self, frame: Frame, *_: object) -> None:
        self.counts.lose(1)

    offer_alone = offer

    def offer_batch(self, membership: object, batch: Batch, written: int = 0) -> None:
        self.counts.lose(len(batch.messages))

    def attach(self, _: object) -> None:
        pass

    detach = use_policy = heed_policy = interrupt = attach

    def stop_heartbeat(self) -> None:
        pass

    async def close(self, end: End) -> None:
        await checkpoint()

    def close_nowait(self, end: End) -> bool:
        return False

    def evict(self, end: End) -> None:
        pass

    kill = evict

    def statistics(self) -> SendStatistics:
        return SendStatistics.of(0, 0, self.counts)

    def waiting_since(self) -> None:
        pass

    def _raise(self) -> NoReturn:
        end = self.lifecycle.end
        raise WebSocketDisconnect(1006) if end is None else WebSocketDisconnect(end.code, end.reason)
