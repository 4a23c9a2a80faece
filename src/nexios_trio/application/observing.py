"""An application's routes for those who operate it, and what it tells its server for the same purpose."""

import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.responses import Response

from ..asgi_types import ASGIApp, Receive, Scope, Send
from ..connections.runtime import Runtime
from ..connections.websocket import WebSocket
from ..engines.base import EngineState
from ..http import HTTPException, Request
from ..observability.health import LIVE_PATH, READY_PATH, live_response, ready_response
from ..observability.merging import CONTENT_TYPE
from ..observability.readiness import ReadinessChecks
from ..routing.entries import HttpRoute
from ..routing.listing import made_by
from ..routing.paths import BadPath, request_path
from ..routing.routes import Routes
from ..transports.server_context import current_server

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider
    from prometheus_client import CollectorRegistry

__all__ = ["AuthorizeRequest", "ObservedApplication", "ObservedRoutes"]

# Says whether this request may see something: True, and nothing else, for yes.
AuthorizeRequest = Callable[[Request], bool | Awaitable[bool]]
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

    async def look_for_parent(self) -> None:
        """Have the engine of one of several workers find out whether the hub answers. Checkpoint: perhaps."""
        server = current_server.get()
        if server is not None and server.overview.ask_parent is not None:
            await server.overview.ask_parent("live")

    async def page_of_all(self, path: str) -> Response | None:
        """Return the metrics of all workers; None if this is not one of several. Checkpoint: perhaps."""
        server = current_server.get()
        overview = None if server is None else server.overview
        if overview is None or overview.ask_parent is None or self not in overview.applications:
            return None
        text = await overview.ask_parent("page", path, overview.applications.index(self))
        if text is None:  # this worker's alone would look as if the others had lost their connections
            return Response(
                "the parent process, which asks all workers, does not answer\n", 503, media_type="text/plain"
            )
        return Response(text, headers={"content-type": CONTENT_TYPE})

    def private_page(self, path: str) -> ASGIApp | None:
        return self.pages.get(path)


class ObservedRoutes(Routes):
    """What `NexiosApp` has for those who operate it."""

    runtime: Runtime
    _observed: ObservedApplication
    _health_paths: frozenset[str] = frozenset()
    _is_traced = False

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

        @made_by("mount_health")
        async def answer_live(request: Any, response: Any) -> Response:
            return live_response({})

        @made_by("mount_health")
        async def answer_ready(request: Any, response: Any) -> Response:
            await self._observed.look_for_parent()
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

    def mount_metrics(
        self,
        path: str = "/metrics",
        *,
        authorize: AuthorizeRequest | None = None,
        registry: "CollectorRegistry | None" = None,
    ) -> None:
        """Add a route with the numbers of this application and its server, for Prometheus. Needs the extra `metrics`.

        Without `authorize` the route refuses everybody with 403: then only the address of `--health-bind` shows it,
        which shows it to everybody in any case. One of several workers of the command shows the numbers of all of them.

        Args:
            authorize: a function of the request, async or not. Anything but True is a 403; it may raise HTTPException.
            registry: metrics of your own, which are shown as well. By default those of `prometheus_client.REGISTRY`,
                which has every metric that was made without another one.
        Raises: ImportError without the extra; TypeError, ValueError for what is no path; ValueError the second time.
        """
        if authorize is not None and not callable(authorize):
            raise TypeError(f"authorize is a function of a request, async or not, not {authorize!r}")
        if self._observed.pages:
            raise ValueError(f"metrics are mounted already: {', '.join(self._observed.pages)}")
        try:
            from ..observability.metrics import Metrics
        except ModuleNotFoundError as error:
            if error.name != "prometheus_client":
                raise
            raise ImportError("mount_metrics needs prometheus-client: pip install 'nexios-trio[metrics]'") from None

        async def show() -> Response:
            return Response(await metrics.render(), headers={"content-type": CONTENT_TYPE})

        @made_by("mount_metrics")
        async def answer(request: Request, response: Any) -> Response:
            await _authorize(request, authorize)
            return await self._observed.page_of_all(path) or await show()

        async def page(scope: Scope, receive: Receive, send: Send) -> None:
            await (await show())(scope, receive, send)

        self.add_route(HttpRoute(path, answer))
        metrics = Metrics(self.runtime, registry)
        self._observed.pages[path] = page

    def trace(self, tracer_provider: "TracerProvider | None" = None) -> None:
        """Make OpenTelemetry spans of connections, messages, requests and what is published. Needs the extra `tracing`.

        A connection continues the trace of its handshake's `traceparent`. Each message that a handler receives begins a
        trace, in which what the handler publishes is; its deliveries, on any node, have links there. Connections that
        are open already have no spans, nor have requests for health and metrics.

        Args:
            tracer_provider: by default the one that `opentelemetry.trace.set_tracer_provider` was given.
        Raises: ImportError without the extra; ValueError the second time.
        """
        if self._is_traced:
            raise ValueError("the application is traced already")
        try:
            from ..observability.tracing import Tracing
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "opentelemetry":
                raise
            raise ImportError("trace needs opentelemetry-api: pip install 'nexios-trio[tracing]'") from None
        Tracing(tracer_provider, self._route_of, self._request_route_of).begin(self.runtime)
        self._is_traced = True

    def _route_of(self, websocket: WebSocket) -> str:
        try:
            found = self.find_websocket(request_path(websocket.scope))
        except BadPath:
            return ""
        return "" if found is None else found[0].path

    def _request_route_of(self, scope: Scope) -> str | None:
        """Return the path of a request's route as it was registered: "" for none, None for those of operators."""
        try:
            path = request_path(scope)
        except BadPath:
            return ""
        if path in self._health_paths or path in self._observed.pages:
            return None
        return next((row.path for row, _ in self.find_http(path)), "")

    def _is_health(self, scope: Scope) -> bool:
        """Tell whether this request is answered whatever happens to the application."""
        if not self._health_paths:
            return False
        try:
            return request_path(scope) in self._health_paths
        except BadPath:
            return False


async def _authorize(request: Request, authorize: AuthorizeRequest | None) -> None:
    if authorize is None:
        raise HTTPException(
            403,
            "nobody may see metrics here: mount_metrics(authorize=...) says who may, and --health-bind shows them on an"
            " address of its own",
        )
    answer = authorize(request)
    if inspect.isawaitable(answer):
        answer = await answer
    if answer is not True:
        raise HTTPException(403)
