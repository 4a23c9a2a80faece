"""An application's lifespan around a block of a test."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import trio

from ...application.trio_only import require_trio
from ..errors import Unmet
from ..internals import forget_histories

__all__ = ["lifespan_state", "run_app"]

A = TypeVar("A")

# (application, what its startup put into `scope["state"]`) of each enclosing `run_app` block
_running: ContextVar[tuple[tuple[Any, dict[str, Any]], ...]] = ContextVar("nexios_trio.testing.running", default=())


def lifespan_state(app: Any) -> dict[str, Any]:
    """A copy of the state that the application's startup made; empty when it is not running."""
    for running, state in reversed(_running.get()):
        if running is app:
            return dict(state)
    return {}


class _Lifespan:
    def __init__(self, app: Any) -> None:
        self.app = app
        self.state: dict[str, Any] = {}
        self.answer: str | None = None  # what startup, then shutdown, ended with
        self.message = ""
        self.answered = trio.Event()
        self.ended = trio.Event()
        self.error: Exception | None = None
        self.events, self._queue = trio.open_memory_channel[dict[str, Any]](2)

    async def run(self, scope: trio.CancelScope) -> None:
        try:
            await self.app({"type": "lifespan", "asgi": _ASGI, "state": self.state}, self._queue.receive, self._send)
        except Exception as error:
            self.error = error
            scope.cancel(reason="the application's lifespan failed")
        finally:
            self.ended.set()
            self.answered.set()

    async def _send(self, event: dict[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        self.answer = event["type"]
        self.message = event.get("message", "")
        self.answered.set()

    async def ask(self, phase: str, timeout: float) -> None:
        self.answered = trio.Event()
        if self.ended.is_set():
            return
        self.events.send_nowait({"type": f"lifespan.{phase}"})
        with trio.move_on_after(timeout) as scope:
            await self.answered.wait()
        if scope.cancelled_caught:
            raise Unmet(f"lifespan.{phase}.complete within {timeout:g} s", "nothing came")
        if self.answer == f"lifespan.{phase}.failed":
            raise Unmet(f"lifespan.{phase}.complete", f"the application answered {self.answer}: {self.message}")

    async def finish(self, timeout: float, failure: Exception | None) -> Exception | None:
        """Shut down, whether the block failed or not; its failure, or else one of the shutdown."""
        try:
            await self.ask("shutdown", timeout)
        except Unmet as error:
            return failure or error
        with trio.move_on_after(timeout):
            await self.ended.wait()
        return failure


_ASGI = {"version": "3.0", "spec_version": "2.0"}


@asynccontextmanager
async def run_app(app: A, *, timeout: float = 5.0) -> AsyncGenerator[A]:
    """Run the application's startup, then the block, then its shutdown.

    An error in the application's lifespan, now or while the block runs, cancels the block and is raised here. An
    application that returns from its lifespan without an answer does without one.

    With the block ends what a process would take with it: histories in memory are gone, so that tests with one
    application do not see each other's messages.

    Args:
        timeout: seconds for startup, and for shutdown.
    Raises: Unmet when startup or shutdown fails, or takes too long.
    """
    require_trio()
    lifespan = _Lifespan(app)
    failure: Exception | None = None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lifespan.run, nursery.cancel_scope, name="lifespan")
            token = _running.set((*_running.get(), (app, lifespan.state)))
            try:
                await lifespan.ask("startup", timeout)
                yield app
            except Exception as error:
                failure = error
            finally:
                _running.reset(token)
            failure = await lifespan.finish(timeout, failure)
            nursery.cancel_scope.cancel(reason="the test block has ended")
    finally:
        if not any(running is app for running, _ in _running.get()):  # a block around this one is not over
            forget_histories(app)
    if lifespan.error is not None and failure is not None:
        raise failure from lifespan.error
    if lifespan.error is not None or failure is not None:
        raise lifespan.error or failure  # type: ignore[misc]  # one of them is there
