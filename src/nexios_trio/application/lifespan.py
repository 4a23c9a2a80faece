"""An application's start and stop, as the ASGI lifespan protocol tells of them, or a host that enters `running()`.

    runtime.running()                     timers, flusher, what `start_soon` started
        lifespan(app)                     the user's own context manager
            on_startup functions
                mounted applications      their own startups; then "startup.complete"
                (the server serves)
            on_shutdown functions
    then "shutdown.complete"

A task that fails ends all of this. No server has asked for that end, so it is told "shutdown.failed": hypercorn stops
then, and the error goes on to our own runner. Where a server serves on, `is_refusing` makes the application answer 503.
Several runs may go on at a time, one for each server that serves the application.
"""

import inspect
import logging
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from enum import Enum
from typing import Any

import trio

from ..asgi_types import Event, Receive, Send
from ..connections.callables import describe
from ..connections.handler_errors import explain
from ..connections.runtime import Runtime
from ..routing.mounts import MountedApplication
from ..transports.server_context import Observable, current_server
from .gc_tuning import tuned_collector
from .mounted import Start, mounted_running

__all__ = ["Lifespan"]

logger = logging.getLogger("nexios_trio.app")

Function = Callable[[], Any]


class _Phase(Enum):
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"  # because the server said so, or because something failed


class _Run:
    """One start and stop."""

    def __init__(self) -> None:
        self.phase = _Phase.STARTING
        self.was_asked = False  # to stop, by the server, or because the host's block has ended
        self.problem: Exception | None = None  # the first, of the shutdown functions
        self.is_hosted = False  # by another application, whose server knows nothing of us
        self.state: dict[str, Any] = {}  # what the user's context manager gave


class Lifespan:
    """What happens when the server starts and stops. Owned by the application.

    Args:
        context: the user's own.
        application: ours, as its server asks it.
        mounted: what is mounted in the application, when it starts.
        start: runs one that is mounted, in a block.
    """

    def __init__(
        self,
        runtime: Runtime,
        context: Callable[[], AbstractAsyncContextManager[Any]] | None,
        application: Observable,
        mounted: Callable[[], Iterable[MountedApplication]],
        start: Start,
    ) -> None:
        self._runtime = runtime
        self._context = context
        self._application = application
        self._mounted = mounted
        self._start = start
        self._runs: list[_Run] = []
        self._has_failed = False  # a task of the application, since it was started last
        self._has_warned = False
        self.startup: list[Function] = []
        self.shutdown: list[Function] = []

    @property
    def is_refusing(self) -> bool:
        """The application cannot serve: it stops, or has failed."""
        if not self._runs:
            return self._has_failed
        return all(run.phase is _Phase.STOPPING for run in self._runs)

    @property
    def problem(self) -> str | None:
        """The reason why the application is not ready for clients; None if it is."""
        phases = {run.phase for run in self._runs}
        if _Phase.RUNNING in phases:
            return None
        if phases:
            return "starting" if _Phase.STARTING in phases else "stopping"
        return "failed" if self._has_failed else "not started" if self._skipped else None

    @property
    def hosted_state(self) -> dict[str, Any]:
        """The state that `lifespan` gave for the connections, where no server hands it to them."""
        return next((run.state for run in reversed(self._runs) if run.is_hosted), {})

    @property
    def _skipped(self) -> list[str]:
        """Functions, by their kind, that do not run where nobody starts the application."""
        return [
            *(["lifespan"] if self._context is not None else []),
            *(["on_startup"] if self.startup else []),
            *(["on_shutdown"] if self.shutdown else []),
            *(f"the lifespan of what is mounted at {one.path or '/'}" for one in self._mounted() if one.has_lifespan),
        ]

    def warn_of_skipped_startup(self) -> None:
        """Warn, once, if there is something to do at the start or stop, and nobody has told us to."""
        skipped = self._skipped
        if self._runtime.is_started or self._has_warned or not skipped:
            return
        self._has_warned = True
        logger.warning(
            "%s did not run: nobody has started this application. Where it is mounted in another one, enter"
            " `async with app.running():` in that one's lifespan; in a test, `async with run_app(app):`",
            ", ".join(skipped),
        )

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[dict[str, Any]]:
        """Run for the length of the block, in a host whose server tells us nothing. Gives what `lifespan` yielded.

        Checkpoint: always, at both ends. Cancellation: shutdown functions do not run.
        Raises: what startup or the shutdown raised, or a task of the application, which ends the block.
        """
        await trio.lowlevel.checkpoint()
        run, is_own_error = _Run(), False
        try:
            async with self._started(run):
                run.is_hosted = True
                run.phase = _Phase.RUNNING
                try:
                    yield run.state
                    run.was_asked = True
                except Exception:
                    is_own_error = True
                    raise
                finally:
                    run.phase = _Phase.STOPPING
        except Exception as caught:
            error = _unwrap(caught)
            explain(error)
            if run.phase is _Phase.STOPPING and not run.was_asked and not is_own_error:
                await self._note_failure(error)
            raise error from error.__cause__  # and not from the group that it came in
        if run.problem is not None:
            raise run.problem

    async def run(self, scope: Event, receive: Receive, send: Send) -> None:
        """Serve one lifespan connection.

        Cancellation: shutdown functions do not run, `lifespan` ends as any context manager.
        Raises: what a task of the application raised; the server is told before.
        """
        await receive()
        run = _Run()
        failure: Exception | None = None
        try:
            async with self._started(run):
                scope.setdefault("state", {}).update(run.state)
                await send({"type": "lifespan.startup.complete"})
                run.phase = _Phase.RUNNING
                try:
                    await receive()
                    run.was_asked = True
                finally:
                    run.phase = _Phase.STOPPING
        except Exception as error:
            failure = _unwrap(error)
        if failure is not None:  # out of the block above, in which raising it would give it another context
            try:
                await self._failed(run, failure, send)
            finally:
                del failure  # whose frames lead here
            return
        problem = None if run.problem is None else _describe_error(run.problem)
        await send(_told("lifespan.shutdown", problem))

    @asynccontextmanager
    async def _started(self, run: _Run) -> AsyncGenerator[None]:
        """Start, and stop in order unless something failed."""
        server = current_server.get()
        settings = self._runtime.settings
        if server is not None:
            server.adopt_settings(settings)
            server.overview.applications.append(self._application)
        self._has_failed = False
        self._runs.append(run)
        try:
            async with self._runtime.running(), (self._context or nullcontext)() as state:
                if state is not None:
                    run.state.update(state)
                for function in self.startup:
                    await _call(function)
                problems: list[Exception] = []
                async with mounted_running(self._mounted(), self._start, problems):
                    with tuned_collector(settings.gc_tuning, leaves_no_cycles=server is not None):
                        yield
                await self._shut_down(problems)
                run.problem = problems[0] if problems else None
        finally:
            self._runs.remove(run)
            if server is not None:
                server.overview.applications.remove(self._application)

    async def _shut_down(self, problems: list[Exception]) -> None:
        for function in self.shutdown:
            try:
                await _call(function)
            except Exception as error:
                logger.exception("the shutdown function %s failed", describe(function))
                problems.append(error)

    async def _failed(self, run: _Run, error: Exception, send: Send) -> None:
        explain(error)
        if run.phase is _Phase.STARTING:
            is_ours = current_server.get() is not None
            if not is_ours:
                logger.error("the application failed to start", exc_info=error)
            await send(_told("lifespan.startup", _describe_error(error)))
            if is_ours:  # whose server raises it, with its traceback
                raise error
        elif run.was_asked:
            logger.error("the application failed to stop", exc_info=error)
            await send(_told("lifespan.shutdown", _describe_error(error)))
        else:
            await self._note_failure(error)
            await send(_told("lifespan.shutdown", _describe_error(error)))
            raise error

    async def _note_failure(self, error: Exception) -> None:
        """Serve no more, unless another server has started the application as well."""
        logger.critical("a task of the application failed: it serves no longer", exc_info=error)
        if not self._runs:
            self._has_failed = True
            await self._runtime.box.close_all_connections(1011, "the application has failed")


async def _call(function: Function) -> None:
    result = function()
    if inspect.isawaitable(result):
        await result
    else:
        await trio.lowlevel.checkpoint()


def _told(subject: str, problem: str | None) -> Event:
    if problem is None:
        return {"type": f"{subject}.complete"}
    return {"type": f"{subject}.failed", "message": problem}


def _unwrap(error: Exception) -> Exception:
    """Return the one error of a group that says no more than it."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _describe_error(error: Exception) -> str:
    return ". ".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])
