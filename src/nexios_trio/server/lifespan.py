"""The application's lifespan, as the server sees it.

An application that raises before it has asked for the first event does not know lifespans, and is served without. Any
later error is a failure: of the startup, of a task while serving, or of the shutdown.
"""

import logging
from collections.abc import Callable
from typing import Any

import trio

from ..asgi_types import ASGIApp
from ..transports.base import TRANSPORT_EXTENSION
from .errors import ApplicationFailed, ServerError, ShutdownFailed, StartupFailed, sole

__all__ = ["Lifespan"]

logger = logging.getLogger("nexios_trio.server")


class Lifespan:
    """One run of the application. `run` is a task of the server; everything else is called by the server."""

    def __init__(self, app: ASGIApp, on_failure: Callable[[], None]) -> None:
        self.state: dict[str, Any] = {}
        self.failure: ServerError | None = None
        self._app = app
        self._on_failure = on_failure
        self._asked_startup = False
        self._is_up = False
        self._answered = trio.Event()  # to the startup: done, failed, or nobody to answer
        self._stop = trio.Event()
        self._stopped = trio.Event()

    async def run(self) -> None:
        """The application's side. Its failure is kept in `failure` and raised by the server."""
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
            "extensions": {TRANSPORT_EXTENSION: {}},
        }
        try:
            await self._app(scope, self._receive, self._send)
        except* Exception as errors:
            self._failed(sole(errors))
        finally:
            self._answered.set()
            self._stopped.set()

    @property
    def is_ready(self) -> bool:
        """It has started, or has no lifespan. Nothing has failed."""
        return self.failure is None and (self._is_up or self._stopped.is_set())

    async def start_up(self, timeout: float, give_up: trio.Event) -> None:
        """Wait for the application to be ready, or not, or for `give_up`; `is_ready` tells."""
        with trio.move_on_after(timeout) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_after, give_up, nursery.cancel_scope)
                await self._answered.wait()
                nursery.cancel_scope.cancel()
        if scope.cancelled_caught:
            self._fail(StartupFailed(f"the application was not ready after {timeout:g} seconds (startup_timeout)"))

    async def shut_down(self, deadline: float) -> None:
        """Tell the application to stop and wait for it, until `deadline`."""
        self._stop.set()
        with trio.move_on_at(deadline):
            await self._stopped.wait()
            return
        self._fail(ShutdownFailed("the application's shutdown was not done in time; raise drain_timeout"))

    async def _receive(self) -> dict[str, Any]:
        if not self._asked_startup:
            self._asked_startup = True
            await trio.lowlevel.checkpoint()
            return {"type": "lifespan.startup"}
        await self._stop.wait()
        return {"type": "lifespan.shutdown"}

    async def _send(self, event: Any) -> None:
        await trio.lowlevel.checkpoint()
        match event["type"]:
            case "lifespan.startup.complete":
                self._is_up = True
                self._answered.set()
            case "lifespan.startup.failed":
                self._fail(StartupFailed(_sentence("the application failed to start", event)))
                self._answered.set()
            case "lifespan.shutdown.complete":
                self._stopped.set()
            case "lifespan.shutdown.failed" if self._stop.is_set():
                self._fail(ShutdownFailed(_sentence("the application failed to stop", event)))
                self._stopped.set()
            case "lifespan.shutdown.failed":
                self._fail(ApplicationFailed(_sentence("a task of the application failed", event)))
            case other:
                raise ValueError(f"a lifespan application cannot send {other!r}")

    def _failed(self, error: BaseException) -> None:
        if not self._asked_startup:
            logger.debug("the application has no lifespan: %r", error)
            return
        kind = ShutdownFailed if self._stop.is_set() else ApplicationFailed if self._is_up else StartupFailed
        self._fail(kind(f"{_WHAT[kind]}: {type(error).__name__}: {error}"))
        if self.failure is not None and self.failure.__cause__ is None:
            self.failure.__cause__ = error

    def _fail(self, failure: ServerError) -> None:
        """The first failure stays."""
        if self.failure is None:
            self.failure = failure
            self._on_failure()


_WHAT: dict[type[ServerError], str] = {
    StartupFailed: "the application failed to start",
    ApplicationFailed: "a task of the application failed",
    ShutdownFailed: "the application failed to stop",
}


def _sentence(what: str, event: Any) -> str:
    message = str(event.get("message") or "").strip().rpartition("\n")[2]  # Starlette sends a whole traceback
    return f"{what}: {message}" if message else what


async def _cancel_after(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel(reason="the server stops")
