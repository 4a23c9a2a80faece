"""Group messages for a channel whose class overrides `send`: through the override, in order, in its own connection.

Direct sends wait for what is queued here, or a later message would overtake an earlier one. They wait before the
override is entered, since it may take locks that the queue's own task would wait for; so does `Session.send`, for what
goes out beside the override. Who is inside an override already, or sends on its behalf, waits no more.
"""

import functools
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import trio

from ..connections.session import Session
from ..core.lifecycle import Cause, End
from ..core.message import Frame

_is_inside: ContextVar[bool] = ContextVar("nexios_trio.is_inside_override", default=False)


def is_ours(send: Callable[..., Any]) -> bool:
    """Tell a method of this package, as `SecureChannel` has one, from an override of the application's."""
    return getattr(send, "__module__", "").startswith(f"{__package__}.")


def after_queued(send: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Make an overridden `send` wait for the group messages before it, unless it is called from inside an override."""
    if hasattr(send, "is_after_queued"):  # inherited
        return send

    @functools.wraps(send)
    async def send_in_order(channel: Any, *args: Any, **kwargs: Any) -> None:
        if _is_inside.get():
            await send(channel, *args, **kwargs)
            return
        session: Session = channel._session
        if session.runtime.box.engine_client.unsettled:
            await session.settle_posts()
        session.catch_up()
        await session.settle()
        token = _is_inside.set(True)
        try:
            await send(channel, *args, **kwargs)
        finally:
            _is_inside.reset(token)

    send_in_order.is_after_queued = True  # type: ignore[attr-defined]
    return send_in_order


class OverrideQueue:
    """A queue and a task in the connection's nursery. Broadcasts put, and never wait.

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
        self._send_end, self._receive_end = trio.open_memory_channel[tuple[Any, int, int]](settings.outbox_messages)
        self._max_messages = settings.outbox_messages
        self._max_bytes = settings.outbox_bytes
        self._bytes = 0
        self._offered = 0  # ever; a message's number is how many were, it included
        self.taken = 0  # of those offered: sent, failed, or discarded
        self._discarded = 0  # the number of the last message that was discarded
        self._task: trio.lowlevel.Task | None = None
        self._call: trio.CancelScope | None = None  # of the override, while it runs
        self._is_started = False
        self._is_dead = False
        self._settling = trio.lowlevel.ParkingLot()
        self._then: list[Callable[[object], None]] = []
        session.override_queues = (*session.override_queues, self)

    @property
    def is_busy(self) -> bool:
        return self.taken < self._offered and not self._is_dead

    @property
    def must_be_waited_for(self) -> bool:
        is_ours = _is_inside.get() or trio.lowlevel.current_task() is self._task
        return self.is_busy and not is_ours

    def then(self, call: Callable[[object], None]) -> None:
        """Call it once, with this, when nothing is queued any more. It must not block."""
        self._then.append(call)

    def _tell_settled(self) -> None:
        self._settling.unpark_all()
        if self._then and not self.is_busy:
            calls, self._then = self._then, []
            for call in calls:
                call(self)

    @property
    def is_high(self) -> bool:
        """More than half full."""
        return (self._offered - self.taken) * 2 > self._max_messages or self._bytes * 2 > self._max_bytes

    def offer(self, payload: Any, frame: Frame) -> None:
        if self._session.is_over:
            self._session.counts.lose(1)
            return
        if not self._is_started:
            self._is_started = True
            self._session.start_soon(self._run)
        try:
            if self._bytes + frame.size > self._max_bytes:
                raise trio.WouldBlock
            self._send_end.send_nowait((payload, frame.size, self._offered + 1))
        except trio.WouldBlock:
            self._session.counts.lose(1)
            self._session.transport.evict(End.of(Cause.OVERFLOW, "too slow"))
        else:
            self._bytes += frame.size
            self._offered += 1

    async def settle(self) -> None:
        """Wait until what was offered up to now has been sent, or has failed. At once inside an override."""
        if _is_inside.get() or trio.lowlevel.current_task() is self._task:
            return
        target = self._offered
        while self.taken < target and not self._is_dead:
            await self._settling.park()

    def discard(self) -> None:
        """Count what was not sent as lost, and let go of it."""
        self.discard_queued()
        self._receive_end.close()

    def discard_queued(self) -> None:
        """Send nothing of what was offered up to now, and count it as lost; the call that is under way is cancelled."""
        while True:
            try:
                _, size, _ = self._receive_end.receive_nowait()
            except (trio.WouldBlock, trio.EndOfChannel, trio.ClosedResourceError):
                break
            self._bytes -= size
        self._session.counts.lose(self._offered - self.taken)
        self.taken = self._discarded = self._offered
        if self._call is not None:
            self._call.cancel(reason="its message is discarded")
        self._tell_settled()

    async def _run(self) -> None:
        _is_inside.set(True)
        self._task = trio.lowlevel.current_task()
        try:
            async for payload, size, number in self._receive_end:
                self._bytes -= size
                if number > self._discarded:
                    with trio.CancelScope() as self._call:
                        await self._send_one(payload)
                    self._call = None
                if number > self._discarded:
                    self.taken += 1
                self._tell_settled()
        finally:
            self._call = None
            self._is_dead = True
            self._tell_settled()

    async def _send_one(self, payload: Any) -> None:
        try:
            await self._send(payload)
        except Exception as error:
            self._session.counts.lose(1)
            await self._failed(error)
