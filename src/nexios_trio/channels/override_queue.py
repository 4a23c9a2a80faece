"""Group messages for a channel whose class overrides `send`: through the override, in order, in its own connection."""

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from ..connections.session import Session
from ..core.lifecycle import Cause, End
from ..core.message import Frame


class Relay:
    """A queue and a task in the connection's nursery. The fan-out puts, and never waits.

    Bounded as an outbox is; a peer that is slower than that is disconnected with 1013, whatever the policy: what an
    override does with a message is not for us to drop.
    """

    def __init__(
        self,
        session: Session,
        send: Callable[[Any], Awaitable[None]],
        failed: Callable[[Exception], Awaitable[None]],
    ) -> None:
        settings = session.runtime.settings
        self._session = session
        self._send = send
        self._failed = failed
        self._send_end, self._receive_end = trio.open_memory_channel[tuple[Any, int]](settings.outbox_messages)
        self._max_messages = settings.outbox_messages
        self._max_bytes = settings.outbox_bytes
        self._bytes = 0
        self._offered = 0
        self.taken = 0  # of those offered: sent, or failed
        self._task: trio.lowlevel.Task | None = None
        self._is_started = False
        self._is_dead = False
        self._settling = trio.lowlevel.ParkingLot()
        session.override_queues.append(self)

    @property
    def is_busy(self) -> bool:
        return self.taken < self._offered and not self._is_dead

    @property
    def is_high(self) -> bool:
        """More than half full."""
        return (self._offered - self.taken) * 2 > self._max_messages or self._bytes * 2 > self._max_bytes

    def offer(self, payload: Any, frame: Frame) -> None:
        if self._session.is_over:
            self._session.counts.lost += 1
            return
        if not self._is_started:
            self._is_started = True
            self._session.start_soon(self._run)
        try:
            if self._bytes + frame.size > self._max_bytes:
                raise trio.WouldBlock
            self._send_end.send_nowait((payload, frame.size))
        except trio.WouldBlock:
            self._session.counts.lost += 1
            self._session.transport.evict(End.of(Cause.OVERFLOW, "too slow"))
        else:
            self._bytes += frame.size
            self._offered += 1

    async def settle(self) -> None:
        """Wait until what was offered up to now has been sent, or has failed."""
        if trio.lowlevel.current_task() is self._task:  # the override closes the connection
            return
        target = self._offered
        while self.taken < target and not self._is_dead:
            await self._settling.park()

    def discard(self) -> None:
        """Count what was not sent as lost, and let go of it."""
        self._session.counts.lost += self._offered - self.taken
        self.taken = self._offered
        self._receive_end.close()

    async def _run(self) -> None:
        self._task = trio.lowlevel.current_task()
        try:
            async for payload, size in self._receive_end:
                self._bytes -= size
                await self._send_one(payload)
                self.taken += 1
                self._settling.unpark_all()
        finally:
            self._is_dead = True
            self._settling.unpark_all()

    async def _send_one(self, payload: Any) -> None:
        try:
            await self._send(payload)
        except Exception as error:
            self._session.counts.lost += 1
            await self._failed(error)
