"""An application's life, as the ASGI lifespan protocol tells it.

    runtime.running()                     timers, flusher, what `start_soon` started
        lifespan(app)                     the user's own context manager
            on_startup functions          then "startup.complete"
            (the server serves)
            on_shutdown functions
    then "shutdown.complete"

A task that fails ends all of this. No server has asked for that end, so it is told "shutdown.failed": hypercorn stops
then, and the error goes on to our own runner. Where a server serves on, `is_refusing` makes the application answer 503.
"""

import inspect
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from enum import Enum
from typing import Any

import trio

from ..asgi_types import Event, Receive, Send
from ..connections.callables import describe
from ..connections.handler_errors import explain
from ..connections.runtime import Runtime
from ..transports.base import TRANSPORT_EXTENSION
from .gc_tuning import tuned_collector

__all__ = ["Lifespan"]

logger = logging.getLogger("nexios_trio.app")

Function = Callable[[], Any]


class _Phase(Enum):
    STOPPED = "stopped"  # never started, or stopped in order
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"  # because the server said so, or on the way to FAILED
    FAILED = "failed"  # a task of the application has failed


class Lifespan:
    """What happens when the server starts and stops. Owned by the application."""

    def __init__(self, runtime: Runtime, context: Callable[[], AbstractAsyncContextManager[Any]] | None) -> None:
        self._runtime = runtime
        self._context = context or nullcontext
        self._phase = _Phase.STOPPED
        self._was_asked = False  # to stop, by the server
        self.startup: list[Function] = []
        self.shutdown: list[Function] = []

    @property
    def is_refusing(self) -> bool:
        """The application cannot serve: it stops, or has failed."""
        return self._phase in (_Phase.STOPPING, _Phase.FAILED)

    def runtime(self) -> AbstractAsyncContextManager[None]:
        """The lifespan's runtime, or one for this block where no server told us to start."""
        return nullcontext() if self._phase is not _Phase.STOPPED else self._runtime.running()

    async def run(self, scope: Event, receive: Receive, send: Send) -> None:
        """Serve one lifespan connection.

        Raises: what a task of the application raised; the server is told before.
        """
        await receive()
        self._phase = _Phase.STARTING
        self._was_asked = False
        try:
            async with self._runtime.running():
                problem = await self._live(scope, receive, send)
        except Exception as error:
            await self._failed(error, send)
            return
        except BaseException:
            self._phase = _Phase.STOPPED
            raise
        self._phase = _Phase.STOPPED
        await send(_told("lifespan.shutdown", problem))

    async def _live(self, scope: Event, receive: Receive, send: Send) -> str | None:
        """Returns what went wrong while shutting down."""
        async with self._context() as state:
            if state is not None:
                scope.setdefault("state", {}).update(state)
            for function in self.startup:
                await _call(function)
            is_ours = TRANSPORT_EXTENSION in (scope.get("extensions") or ())
            with tuned_collector(self._runtime.settings.gc_tuning, is_tidy=is_ours):
                await send({"type": "lifespan.startup.complete"})
                self._phase = _Phase.RUNNING
                try:
                    await receive()
                    self._was_asked = True
                finally:
                    self._phase = _Phase.STOPPING
            return await self._shut_down()

    async def _shut_down(self) -> str | None:
        problem: str | None = None
        for function in self.shutdown:
            try:
                await _call(function)
            except Exception as error:
                logger.exception("the shutdown function %s failed", describe(function))
                problem = problem or _describe_error(error)
        return problem

    async def _failed(self, error: Exception, send: Send) -> None:
        error = _unwrap(error)
        explain(error)
        if self._phase is _Phase.STARTING:
            self._phase = _Phase.STOPPED
            logger.error("the application failed to start", exc_info=error)
            await send(_told("lifespan.startup", _describe_error(error)))
        elif self._was_asked:
            self._phase = _Phase.STOPPED
            logger.error("the application failed to stop", exc_info=error)
            await send(_told("lifespan.shutdown", _describe_error(error)))
        else:
            self._phase = _Phase.FAILED
            logger.critical("a task of the application failed: it serves no longer", exc_info=error)
            await self._runtime.box.close_all_connections(1011, "the application has failed")
            await send(_told("lifespan.shutdown", _describe_error(error)))
            raise error


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
    """A group with one error in it says no more than that error."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _describe_error(error: Exception) -> str:
    return ". ".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])
