"""What all connections of one application share: its settings, its box, and the tasks that serve them."""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from typing import Any, Literal

import trio

from ..config.settings import Settings
from ..exceptions import LifecycleError
from ..groups.authorization import Authorize, acting_for
from ..groups.box import ChannelBox
from ..groups.current_box import announce_box, use_box, withdraw_box
from ..transports.epoll import IS_AVAILABLE, Poller, open_poller
from ..transports.timers import Timers

logger = logging.getLogger("nexios_trio.app")


class Runtime:
    """Owned by an application. Its tasks live in the nursery of `running()`, which the lifespan opens."""

    def __init__(self, settings: Settings, box: ChannelBox | None = None, authorize: Authorize | None = None) -> None:
        if box is not None and authorize is not None:
            raise TypeError("authorize belongs to the box that is given: ChannelBox(authorize=...)")
        self.settings = settings
        self.box = (
            box
            if box is not None
            else ChannelBox(max_groups_per_channel=settings.max_groups_per_channel, authorize=authorize)
        )
        fanout = self.box.fanout
        fanout.max_pending = min(fanout.max_pending, max(settings.outbox_messages // 2, 1))
        fanout.max_pending_bytes = min(fanout.max_pending_bytes, max(settings.outbox_bytes // 2, 1))
        self.box.bound_messages(settings.outbox_bytes)
        # For connections. What expires has the box's own: who publishes fires those, and must not pay for heartbeats.
        self.timers = Timers()
        self.poller: Poller | None = None  # for the sockets that are taken over from the server
        self._start_soon: list[Callable[..., None]] = []  # of each open `running()` block

    @property
    def running_now(self) -> bool:
        return bool(self._start_soon)

    def activate(self) -> AbstractContextManager[None]:
        """Make this application's box the current one for this task and its children."""
        return use_box(self.box)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Run the timers, the flusher and what `start_soon` adds. Leaving the block cancels them."""
        with self.activate(), self._polling() as poller:
            async with trio.open_nursery() as nursery:
                if poller is not None:
                    nursery.start_soon(poller.run, name="nexios_trio poller")
                nursery.start_soon(self.timers.run, name="nexios_trio timers")
                nursery.start_soon(self.box.timers.run, name="nexios_trio expiry")
                nursery.start_soon(self.box.fanout.run, name="nexios_trio flusher")
                start_soon = nursery.start_soon
                self._start_soon.append(start_soon)
                token = announce_box(self.box)
                try:
                    yield
                finally:
                    withdraw_box(self.box, token)
                    self._start_soon.remove(start_soon)
                    nursery.cancel_scope.cancel(reason="the application shuts down")

    @contextmanager
    def _polling(self) -> Generator[Poller | None]:
        """A poller of the application's own, once, and where sockets can be taken over."""
        if self.poller is not None or not (IS_AVAILABLE and self.settings.takeover):
            yield None
            return
        with open_poller() as self.poller:
            try:
                yield self.poller
            finally:
                self.poller = None

    def start_soon(
        self,
        function: Callable[..., Awaitable[Any]],
        *args: Any,
        on_error: Literal["stop", "log"] = "stop",
        name: object = None,
    ) -> None:
        """Start a task that lives as long as the application.

        Args:
            on_error: "stop" lets an error stop the server; "log" logs it, and the application goes on.
        Raises: LifecycleError (a RuntimeError) when the application is not running.
        """
        if on_error not in ("stop", "log"):
            raise ValueError(f"on_error must be 'stop' or 'log', not {on_error!r}")
        if not self._start_soon:
            raise LifecycleError("the application is not running: call start_soon from a startup function or a handler")
        self._start_soon[-1](self._run, function, args, on_error, name=name or function)

    def leave_behind(self, function: Callable[..., Awaitable[Any]], *args: Any) -> None:
        """Start a task that outlives its connection, unless the application is stopping. Its errors are logged."""
        if self._start_soon:
            self._start_soon[-1](self._run, function, args, "log", name=function)

    async def _run(self, function: Callable[..., Awaitable[Any]], args: tuple[Any, ...], on_error: str) -> None:
        with self.activate(), acting_for(None):
            if on_error == "stop":
                await function(*args)
                return
            try:
                await function(*args)
            except Exception:
                logger.exception("a background task failed: %r", function)
