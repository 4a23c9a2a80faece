"""The lifespans of the applications that are mounted in one of ours: blocks of its own lifespan."""

import logging
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any

import trio

from ..asgi_types import ASGIApp, Event
from ..exceptions import LifecycleError
from ..routing.mounts import MountedApplication

__all__ = ["foreign_lifespan", "mounted_running"]

logger = logging.getLogger("nexios_trio.app")

# (path, application) -> the block in which it runs, which gives its state
Start = Callable[[str, ASGIApp], AbstractAsyncContextManager[dict[str, Any]]]


@asynccontextmanager
async def mounted_running(
    mounted: Iterable[MountedApplication], start: Start, problems: list[Exception]
) -> AsyncGenerator[None]:
    """Start what is mounted, one after the other, and stop it at the end of the block, the last one first.

    Args:
        problems: gets what fails to stop, which keeps no other from stopping.
    Raises: what the start raised, or what was mounted while it ran, which ends the block.
    """
    states: dict[int, dict[str, Any]] = {}  # by application: it starts once, wherever it is mounted
    async with AsyncExitStack() as stack:
        for one in mounted:
            key = id(one.app)
            if key not in states:
                block = _Stopping(one.path, start(one.path, one.app), problems)
                states[key] = await stack.enter_async_context(block)
            one.states.append(states[key])
            stack.callback(_forget, one.states, states[key])
        yield


def _forget(states: list[dict[str, Any]], state: dict[str, Any]) -> None:
    states[:] = [other for other in states if other is not state]


class _Stopping(AbstractAsyncContextManager[dict[str, Any]]):
    """The block of one application. Whether it stops in order is told, and not raised."""

    def __init__(
        self, path: str, block: AbstractAsyncContextManager[dict[str, Any]], problems: list[Exception]
    ) -> None:
        self._path = path
        self._block = block
        self._problems = problems

    async def __aenter__(self) -> dict[str, Any]:
        try:
            return await self._block.__aenter__()
        except LifecycleError:
            raise
        except Exception as error:
            error.add_note(f"in the application that is mounted at {self._path!r}")
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            await self._block.__aexit__(kind, error, traceback)
            return
        try:
            await self._block.__aexit__(None, None, None)
        except Exception as problem:
            logger.exception("the application mounted at %r failed to stop", self._path)
            self._problems.append(problem)


@asynccontextmanager
async def foreign_lifespan(path: str, app: ASGIApp) -> AsyncGenerator[dict[str, Any]]:
    """Start an application that speaks ASGI, and stop it at the end of the block. Gives what it put into `state`.

    One that raises before it has asked for the first event, as static files do, has no lifespan, and is served without.

    Checkpoint: at both ends. Cancellation: it is cancelled, too, and not told to stop.
    Raises: LifecycleError when its startup or shutdown fails, or it fails in between, which ends the block.
    """
    lifespan = _ForeignLifespan(path, app)
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(lifespan.run, name=f"lifespan of the application at {path!r}")
            try:
                yield lifespan.state
                await lifespan.stop()
            finally:
                nursery.cancel_scope.cancel(reason="the block around the application has ended")
    except ExceptionGroup:
        if lifespan.failure is not None:
            raise lifespan.failure from lifespan.failure.__cause__
        raise


class _ForeignLifespan:
    """One run of an application that knows no more of us than ASGI's events."""

    def __init__(self, path: str, app: ASGIApp) -> None:
        self.state: dict[str, Any] = {}
        self.failure: LifecycleError | None = None
        self._path = path
        self._app = app
        self._phase = "start"  # what it fails to do if it fails
        self._has_asked = False
        self._answered = trio.Event()  # the start: done, or there is nobody to answer
        self._stop = trio.Event()
        self._stopped = trio.Event()
        self._running = trio.CancelScope()

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        """Run it, and tell when it has started. Raises: LifecycleError."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run_application)
            await self._answered.wait()
            if self.failure is None:
                self._phase = "go on"
                task_status.started()

    async def stop(self) -> None:
        """Tell it to stop, and wait for it. Its failure is raised by `run`."""
        self._phase = "stop"
        self._stop.set()
        await self._stopped.wait()

    async def _run_application(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            with self._running:
                await self._app(scope, self._receive, self._send)
        except Exception as error:
            if self._has_asked:
                self._fail(f"{type(error).__name__}: {error}")
                if self.failure is not None:
                    self.failure.__cause__ = error
            else:
                logger.debug("the application at %r has no lifespan: %r", self._path, error)
        finally:
            self._answered.set()
            self._stopped.set()
        if self.failure is not None:
            raise self.failure

    def _fail(self, problem: str) -> None:
        """The first failure stays."""
        if self.failure is None:
            what = f"the application mounted at {self._path!r} failed to {self._phase}"
            self.failure = LifecycleError(f"{what}: {problem}" if problem else what)

    async def _receive(self) -> Event:
        if not self._has_asked:
            self._has_asked = True
            await trio.lowlevel.checkpoint()
            return {"type": "lifespan.startup"}
        await self._stop.wait()
        return {"type": "lifespan.shutdown"}

    async def _send(self, event: Any) -> None:
        await trio.lowlevel.checkpoint()
        match event["type"]:
            case "lifespan.startup.complete":
                self._answered.set()
            case "lifespan.shutdown.complete":
                self._stopped.set()
            case "lifespan.startup.failed" | "lifespan.shutdown.failed":
                self._fail(str(event.get("message") or "").strip().rpartition("\n")[2])  # of a traceback, Starlette's
                self._running.cancel(reason="the application has failed")
            case other:
                raise ValueError(f"a lifespan application cannot send {other!r}")
