"""What all connections of one application share: its settings, its box, and the services that they need.

    running()           a block of the application's life, in the task of its lifespan or of a host's
    acquire, release    around a connection or a request: it needs the services, whoever runs them

Services are the flusher of the box, the timers, and the poller of sockets that are taken over. Every `running()` block
has tasks for them, of which one works at a time, so that whoever ends takes nothing from the others. Under our own
server the timers are the server's to fire, and there is no poller. Where no block is open, nothing could be the parent
of those tasks: then one system task of trio's is, from the first reference to the last (docs/decisions/008).
"""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from contextvars import Context, ContextVar, copy_context
from functools import partial
from typing import Any, Literal

import attrs
import trio

from ..config.settings import Settings
from ..core.user_key import UserId
from ..engines.base import Engine
from ..exceptions import LifecycleError
from ..groups.authorization import Authorize, acting_for, acting_session
from ..groups.box import ChannelBox
from ..groups.current_box import announce_box, use_box, withdraw_box
from ..groups.own_box import own_box
from ..transports.epoll import IS_AVAILABLE, Poller
from ..transports.server_context import ServerContext, current_server
from ..transports.timers import Timers
from .counts import ConnectionCounts
from .timeouts import HandlerTimeouts
from .watch import ConnectionWatch

__all__ = ["Runtime"]

logger = logging.getLogger("nexios_trio.app")

Work = Callable[..., Awaitable[Any]]


@attrs.frozen(eq=False)
class _Block:
    """An open `running()` block."""

    nursery: trio.Nursery
    context: Context  # of the task that opened it, which acts for nobody's connection


# The block around this task, if it is one of an application's own
_own_block: ContextVar[_Block | None] = ContextVar("nexios_trio.running_block", default=None)


class _SystemTask:
    """The task that runs the services where no block is open."""

    def __init__(self) -> None:
        self.is_unused = trio.Event()
        self.is_ready = trio.Event()
        self.is_over = trio.Event()
        self.nursery: trio.Nursery | None = None


class Runtime:
    """Owned by an application.

    Invariant: while a block is open or a reference is held, the services run, and `poller` stays the same one.
    """

    def __init__(
        self,
        settings: Settings,
        box: ChannelBox | None = None,
        authorize: Authorize | None = None,
        name: str | None = None,
        engine: Engine | str | None = None,
        default_name: Callable[[], str] = lambda: "application",
        user_id: UserId | None = None,
    ) -> None:
        own = {"authorize": authorize, "name": name, "engine": engine}
        self.settings = settings
        self.box = own_box(box, settings.max_groups_per_channel, **own)
        self._default_name = default_name
        self.user_id = user_id
        broadcaster = self.box.broadcaster
        broadcaster.max_pending = min(broadcaster.max_pending, max(settings.outbox_messages // 2, 1))
        broadcaster.max_pending_bytes = min(broadcaster.max_pending_bytes, max(settings.outbox_bytes // 2, 1))
        if self.box.json_default is None:
            self.box.json_default = settings.json_default
        self.box.bound_messages(settings.outbox_bytes)
        self.box.limit_users(settings)
        # For connections. What expires has the box's own: who publishes fires those, and must not pay for heartbeats.
        self.timers = Timers()
        self.timeouts = HandlerTimeouts(self.timers, settings)
        self.counts = ConnectionCounts()
        self.sessions: dict[Hashable, None] = {}  # those that are not over, for who looks at all of them
        self.watches: list[ConnectionWatch] = []
        self.poller: Poller | None = None  # for the sockets that are taken over from the server
        self._poller_users = 0  # blocks, and the system task
        self._blocks: list[_Block] = []
        self._references = 0
        self._system_task: _SystemTask | None = None

    @property
    def is_started(self) -> bool:  # a `running()` block is open
        return bool(self._blocks)

    @property
    def server(self) -> ServerContext | None:
        """The server of ours that runs the application, whichever task asks."""
        return self._blocks[-1].context.get(current_server) if self._blocks else current_server.get()

    def activate(self) -> AbstractContextManager[None]:
        """Make this application's box the current one for this task and its children."""
        return use_box(self.box)

    # The services

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Run the services, and what `start_soon` adds. Leaving the block cancels that."""
        server = current_server.get()
        if server is None:
            self._keep_poller()
        try:
            with self.activate():
                async with self._services(server) as nursery:
                    block = _Block(nursery, copy_context())
                    self._blocks.append(block)
                    token = _own_block.set(block)
                    try:
                        yield
                    finally:
                        _own_block.reset(token)
                        self._blocks.remove(block)
                        if self._references and not self._blocks and self._system_task is None:
                            self._start_system_task()
                        nursery.cancel_scope.cancel(reason="the application shuts down")
        finally:
            if server is None:
                self._drop_poller()

    @asynccontextmanager
    async def _services(self, server: ServerContext | None) -> AsyncGenerator[trio.Nursery]:
        """Run the services in the block; under a server of ours, it fires the timers."""
        token = announce_box(self.box)
        try:
            with ExitStack() as driven:
                if server is not None:
                    driven.enter_context(self.timers.driven_by(server.timers))
                driven.enter_context(self.box.timers.driven_by(self.timers))
                async with trio.open_nursery() as nursery:
                    if server is None:
                        nursery.start_soon(self.timers.run, name="nexios_trio timers")
                        if self.poller is not None:
                            nursery.start_soon(self.poller.run, name="nexios_trio poller")
                    nursery.start_soon(self.box.broadcaster.run, name="nexios_trio flusher")
                    self.box.settle_name(self._default_name)
                    await nursery.start(self.box.engine_client.run, name="nexios_trio engine")
                    yield nursery
        finally:
            withdraw_box(self.box, token)

    def _keep_poller(self) -> None:
        if not self._poller_users and IS_AVAILABLE and self.settings.takeover:
            self.poller = Poller()
        self._poller_users += 1

    def _drop_poller(self) -> None:
        self._poller_users -= 1
        if not self._poller_users and self.poller is not None:
            self.poller.close()
            self.poller = None

    # References

    def hold(self) -> None:
        """Do as `acquire` while a block is open."""
        self._references += 1

    async def acquire(self) -> None:
        """Hold the services for a connection or a request. `release` must follow.

        Checkpoint: only where the services start. Cancellation: nothing is held.
        Raises: OSError when there is no descriptor left for a poller.
        """
        self.hold()
        if self._blocks:
            return
        try:
            task = self._system_task or self._start_system_task()
            if not task.is_ready.is_set():
                await task.is_ready.wait()
        except BaseException:
            await self.release()
            raise

    async def release(self) -> None:
        """Let go of the services. The last one waits, shielded, for the end of the system task that ran them.

        Checkpoint: then only.
        """
        task = self._let_go()
        if task is not None:
            with trio.CancelScope(shield=True):
                await task.is_over.wait()

    def _let_go(self) -> _SystemTask | None:
        self._references -= 1
        task = self._system_task
        if self._references or task is None:
            return None
        self._system_task = None
        task.is_unused.set()
        return task

    def _start_system_task(self) -> _SystemTask:
        self._keep_poller()
        task = self._system_task = _SystemTask()
        trio.lowlevel.spawn_system_task(self._run_system_task, task, name="nexios_trio services")
        return task

    async def _run_system_task(self, task: _SystemTask) -> None:
        try:
            async with self._services(None) as nursery:
                task.nursery = nursery
                task.is_ready.set()
                # Not cancelled from without: from Python 3.12 on, a block of contextlib keeps what passes through it.
                await task.is_unused.wait()
                nursery.cancel_scope.cancel(reason="the last connection has ended")
        except Exception:  # an error of ours: it must not end the program
            logger.critical("what the connections of an application share has failed", exc_info=True)
        finally:
            task.nursery = None
            if self._system_task is task:
                self._system_task = None
            self._drop_poller()
            task.is_ready.set()
            task.is_over.set()

    # Tasks of the application

    def start_soon(
        self, function: Work, *args: Any, on_error: Literal["stop", "log"] = "stop", name: object = None
    ) -> None:
        """Start a task that lives as long as the application: as the `running()` block that this is called in, or else
        as the one that was entered last.

        Args:
            on_error: "stop" lets an error stop the server; "log" logs it, and the application goes on.
        Raises: LifecycleError (a RuntimeError) when no such block is open.
        """
        if on_error not in ("stop", "log"):
            raise ValueError(f"on_error must be 'stop' or 'log', not {on_error!r}")
        if not self._blocks:
            raise LifecycleError(_NO_HOST if self._references else _NOT_RUNNING)
        self._start_in_block(function, args, on_error, name or function)

    def leave_behind(self, function: Work, *args: Any) -> None:
        """Start a task that outlives its connection, unless the application is stopping. Its errors are logged."""
        task = self._system_task
        if self._blocks:
            self._start_in_block(function, args, "log", function)
        elif task is not None and task.nursery is not None:
            self._references += 1
            task.nursery.start_soon(self._run_with_reference, function, args, name=function)

    def _start_in_block(self, function: Work, args: tuple[Any, ...], on_error: str, name: object) -> None:
        own = _own_block.get()
        block = own if own is not None and own in self._blocks else self._blocks[-1]
        work = partial(self._run, function, args, on_error)
        if acting_session() is None:
            block.nursery.start_soon(work, name=name)
        else:  # the caller would hand on its connection, for which the task would act, and which it would keep alive
            block.context.run(partial(block.nursery.start_soon, work, name=name))

    async def _run_with_reference(self, function: Work, args: tuple[Any, ...]) -> None:
        try:
            await self._run(function, args, "log")
        finally:
            self._let_go()

    async def _run(self, function: Work, args: tuple[Any, ...], on_error: str) -> None:
        with self.activate(), acting_for(None):
            if on_error == "stop":
                await function(*args)
                return
            try:
                await function(*args)
            except Exception:
                logger.exception("a background task failed: %r", function)


_NOT_RUNNING = "the application is not running: call start_soon from a startup function or a handler"
_NO_HOST = (
    "nobody has started this application, so a task of its own would have no parent: where it is mounted in another"
    " one, enter `async with app.running():` in that one's lifespan; in a test, `async with run_app(app):`"
)
