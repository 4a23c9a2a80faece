"""An application's routes for those who operate it, and what it tells its server for the same purpose."""

from collections.abc import Callable
from typing import Any, TypeVar

from starlette.responses import Response

from ..asgi_types import ASGIApp, Scope
from ..connections.runtime import Runtime
from ..engines.base import EngineState
from ..observability.health import LIVE_PATH, READY_PATH, live_response, ready_response
from ..observability.readiness import ReadinessChecks
from ..routing.entries import HttpRoute
from ..routing.paths import BadPath, request_path
from ..routing.routes import Routes
from ..transports.server_context import current_server

__all__ = ["ObservedApplication", "ObservedRoutes"]

Check = TypeVar("Check", bound=Callable[[], Any])


class ObservedApplication:
    """One application, as its server and its own routes ask it: an `Observable`.

    Args:
        lifespan_problem: why it serves nobody at present.
    """

    def __init__(self, runtime: Runtime, lifespan_problem: Callable[[], str | None]) -> None:
        self._runtime = runtime
        self._lifespan_problem = lifespan_problem
        self.checks = ReadinessChecks()
        self.pages: dict[str, ASGIApp] = {}  # on the server's own address, by path

    async def problems(self) -> dict[str, str]:
        """Return what is not ready, by name, and why. Checkpoint: always."""
        found: dict[str, str] = {}
        server = current_server.get()
        if server is not None and server.overview.problem is not None:
            found["server"] = server.overview.problem
        lifespan_problem = self._lifespan_problem()
        if lifespan_problem is not None:
            found["application"] = lifespan_problem
        state = self._runtime.box.engine.state
        if state is not EngineState.UP:
            found["engine"] = state.value
        return found | await self.checks.problems()

    def private_page(self, path: str) -> ASGIApp | None:
        return self.pages.get(path)


class ObservedRoutes(Routes):
    """What `NexiosApp` has for those who operate it."""

    _observed: ObservedApplication
    _health_paths: frozenset[str] = frozenset()

    def mount_health(self, *, live: str = LIVE_PATH, ready: str = READY_PATH) -> None:
        """Add two routes for those who restart processes and send them clients, such as Kubernetes.

        Anybody may ask them, so they name what is not ready, and no more.

        Args:
            live: answers 200 as long as the process answers at all, also while it stops.
            ready: answers 200, or 503 while the application starts or stops, its engine is not up, or a check of
                `add_readiness_check` says so: `{"ready": false, "not_ready": {"engine": "down"}}`.
        Raises: TypeError, ValueError for what is no path; ValueError for two that are the same.
        """
        if live == ready:
            raise ValueError(f"live and ready are two paths, not {live!r} for both")

        async def answer_live(request: Any, response: Any) -> Response:
            return live_response({})

        async def answer_ready(request: Any, response: Any) -> Response:
            return ready_response(await self._observed.problems())

        self.add_route(HttpRoute(live, answer_live))
        self.add_route(HttpRoute(ready, answer_ready))
        self._health_paths |= {live, ready}

    def add_readiness_check(self, name: str, check: Check) -> Check:
        """Ask `check` too whether the application is ready, for `/readyz` here and on the server's own address.

        Args:
            name: of what is not ready, for the answer.
            check: a function without arguments, async or not. It is not ready if that returns False, or a str, which
                says why; if it raises, for which the log has the error; and if it takes longer than 0.8 s. It is asked
                once a second at most.
        Returns: `check`, unchanged.
        Raises: TypeError; ValueError for a name that is taken.
        """
        self._observed.checks.add(name, check)
        return check

    def _is_health(self, scope: Scope) -> bool:
        """Tell whether this request is answered whatever happens to the application."""
        if not self._health_paths:
            return False
        try:
            return request_path(scope) in self._health_paths
        except BadPath:
            return False
