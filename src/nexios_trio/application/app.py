"""`NexiosApp`: the ASGI application."""

import os
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, TypeVar

from ..asgi_types import Receive, Scope, Send
from ..config.settings import Settings
from ..connections.runtime import Runtime
from ..connections.serve import serve_connection
from ..connections.websocket import WebSocket
from ..core.proxy_headers import believe_proxies
from ..core.user_key import UserId, check_user_id
from ..engines.base import Engine
from ..exceptions import LifecycleError
from ..groups.authorization import Authorize
from ..groups.box import ChannelBox
from ..http import error_response, serve_request
from ..middleware.chain import Next
from ..routing.mounts import MountedRow
from ..transports.asgi import AsgiTransport
from ..transports.base import TRANSPORT_EXTENSION, Transport
from ..transports.server_context import ConnectionHost, DirectOffer, find_offer
from .arguments import bind_lifespan, check_function, check_not_called
from .asgi_stack import AsgiStack
from .direct import ServesDirectly
from .endpoints import find_endpoint, refusing
from .gc_tuning import count_connection, count_request
from .host import Host
from .import_path import import_path_of
from .lifespan import Lifespan
from .mounted import foreign_lifespan
from .observing import ObservedApplication
from .reaching_users import ReachesUsers
from .realtime_routes import RealtimeRoutes
from .trio_only import fail_startup, is_on_trio, require_trio

__all__ = ["TRANSPORT_EXTENSION", "NexiosApp", "get_application"]

Function = TypeVar("Function", bound=Callable[[], Any])
LifespanContext = Callable[["NexiosApp"], AbstractAsyncContextManager[Any]]


class NexiosApp(ReachesUsers, ServesDirectly, RealtimeRoutes):
    """An ASGI application: routes, a lifespan, and the box with the groups of its connections.

    Creating it needs no running loop. Served by ``hypercorn --worker-class trio`` or ``nexios-trio run``. Mounted in
    another framework, whose lifespan we never see, it needs `running()` there for its startup and its tasks.

    Args:
        debug: show tracebacks and details to clients; also a setting.
        title: a name for people.
        lifespan: an async context manager ``lifespan(app)``, around startup and shutdown; what it yields, if it is a
            dict, becomes part of every connection's `state`.
        routes: `WebsocketRoute`, `HttpRoute` and `Router` objects.
        middleware: runs around all WebSocket handlers; the first is outermost.
        box: the groups, if they are to be shared with another application.
        authorize: who may join which group, and send to it; see `ChannelBox`. Not together with `box`.
        name, engine: of the box with the groups; see `ChannelBox`. Not together with `box`.
        user_id: a function (user) -> str that names users. By default they are a str, int or UUID, or have such an id.
        settings: limits and switches; by default from the environment (``NEXIOS_...``).
        limits: single settings, as in ``allowed_origins=["https://example.com"]``, which win.
    Raises: TypeError, ValueError (`SettingsError`), naming what is accepted.
    """

    def __init__(
        self,
        *,
        debug: bool = False,
        title: str | None = None,
        lifespan: LifespanContext | None = None,
        routes: Iterable[Any] | None = None,
        middleware: Iterable[Any] = (),
        box: ChannelBox | None = None,
        authorize: Authorize | None = None,
        name: str | None = None,
        engine: Engine | str | None = None,
        user_id: UserId | None = None,
        settings: Settings | None = None,
        **limits: Any,
    ) -> None:
        if debug:
            limits["debug"] = True
        self.settings = Settings.from_environ(os.environ, **limits) if settings is None else settings.evolve(**limits)
        self.title = title
        path = import_path_of(self)
        self.runtime = Runtime(self.settings, box, authorize, name, engine, path, check_user_id(user_id))
        self._host = Host(self.settings)
        context = bind_lifespan(lifespan, self)
        self._observed = ObservedApplication(self.runtime, lambda: self._lifespan.problem)
        self._lifespan = Lifespan(self.runtime, context, self._observed, self._mounted_applications, _start_mounted)
        self._asgi_stack = AsgiStack(self._serve)
        super().__init__(routes, middleware)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}{f' {self.title!r}' if self.title else ''}>"

    @property
    def debug(self) -> bool:
        return self.settings.debug

    # What stands around the handlers, or beside them

    def add_middleware(self, cls: Callable[..., Any], **options: Any) -> None:
        """Add plain ASGI middleware around the whole application: HTTP, WebSockets and the lifespan.

        As for all middleware here, the first is outermost; Starlette's method of that name puts the last outside.
        It is called with a WebSocket's handshake, refusals included, and the messages that handlers receive and send.
        Messages of groups do not pass through it, which keeps them as cheap as without.

        Args:
            cls: called once, now, with the application inside it and `options`.
        Raises: TypeError: `cls` is not callable or does not take these options. LifecycleError once the application
            runs.
        """
        self._check_not_started("middleware was added")
        self._asgi_stack.add(cls, options)

    # The application's life

    def on_startup(self, function: Function) -> Function:
        """Call an async or plain function without arguments before serving. It is returned unchanged.

        If it fails, the server is told that the start failed.
        """
        self._lifespan.startup.append(check_function(function, "on_startup"))
        return function

    def on_shutdown(self, function: Function) -> Function:
        """Call an async or plain function without arguments when the server stops. It is returned unchanged.

        One that fails is reported, and keeps no other from running. What must happen even when the application fails
        belongs into `lifespan`.
        """
        self._lifespan.shutdown.append(check_function(function, "on_shutdown"))
        return function

    def start_soon(
        self,
        function: Callable[..., Awaitable[Any]],
        *args: Any,
        on_error: Literal["stop", "log"] = "stop",
        name: object = None,
    ) -> None:
        """Start a task that lives as long as the application, in place of `asyncio.create_task`.

        Args:
            on_error: "stop" lets an error stop the server; "log" logs it, and the application goes on.
        Raises: LifecycleError (a RuntimeError) when the application is not running; TypeError for a called function.
        """
        check_not_called(function)
        self.runtime.start_soon(function, *args, on_error=on_error, name=name)

    def running(self) -> AbstractAsyncContextManager[dict[str, Any]]:
        """Run the application for the length of a block: what its server does where nothing stands between.

        For the lifespan of another application that this one is mounted in, whose server tells only that one to start::

            async def lifespan(host):
                async with app.running() as state:
                    yield state

        Startup functions and `lifespan` run at its beginning, shutdown functions at its end. A task of the application
        that fails ends the block. Gives what `lifespan` yielded, which is in every connection's `state` in any case.

        Checkpoint: always, at both ends. Cancellation: shutdown functions do not run.
        Raises: LifecycleError on asyncio; what startup, shutdown or a task of the application raised.
        """
        require_trio()
        return self._lifespan.running()

    # ASGI

    async def __call__(self, scope: Scope, receive: Receive, send: Send, *_: Any) -> None:
        """Serve one ASGI connection: lifespan, http or websocket. Hypercorn passes more arguments, which are unused.

        Cancellation: connections are closed with 1012, within their deadlines; requests end where they are.
        Raises: ValueError for another scope; LifecycleError (a RuntimeError) on asyncio, after a failed startup; what a
            task of the application raised, and a request after its response has begun.
        """
        if scope["type"] == "lifespan" and not is_on_trio():
            await fail_startup(receive, send)
        require_trio()
        if scope["type"] != "websocket":
            await (self._asgi_stack or self._serve)(scope, receive, send)
            return
        count_connection()
        offer = find_offer(scope, receive, send)
        endpoint = self._endpoint_for(scope, offer)
        if isinstance(endpoint, MountedRow):
            await self._serve_nested(endpoint, scope, receive, send)
            return
        runtime = self.runtime
        await runtime.acquire()
        try:
            self._add_state(scope)
            # No name for the transport here: an error that a handler keeps leads to this frame, and would keep it too.
            await serve_connection(self._transport_for(scope, receive, send, offer), endpoint, runtime, self)
        finally:
            await runtime.release()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve what is no WebSocket, inside of all ASGI middleware."""
        match scope["type"]:
            case "http":
                await self._serve_http(scope, receive, send)
            case "lifespan":
                await self._lifespan.run(scope, receive, send)
            case other:
                raise ValueError(f"an ASGI scope's type is websocket, http or lifespan, not {other!r}")

    def _endpoint_for(self, scope: Scope, offer: DirectOffer | ConnectionHost | None) -> Next | MountedRow:
        believe_proxies(scope, self.settings.trusted_proxies)
        endpoint = self._asgi_stack.around(self._enter) if self._asgi_stack else self._endpoint(scope)
        if isinstance(endpoint, MountedRow):
            if isinstance(endpoint.route.app, NexiosApp) and not endpoint.middleware:
                return endpoint
            endpoint = endpoint.endpoint
        if offer is not None:
            offer.apply_settings(self.settings)
        elif not self._host.are_limits_ours():
            endpoint = refusing(503, "the server does not go by the application's settings")
        if not self.runtime.is_started:
            self._catch_up_with_server()
        return endpoint

    async def _serve_nested(self, row: MountedRow, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a connection on as it is, to another application of ours: that has its own settings and sessions."""
        if not self.runtime.is_started:
            self._lifespan.warn_of_skipped_startup()
        await row(scope, receive, send)

    def _transport_for(self, scope: Scope, receive: Receive, send: Send, offer: DirectOffer | None) -> Transport:
        transport = None if offer is None else offer.take(receive, send)
        if transport is None:
            poller = self._host.poller(self.runtime.poller)
            return AsgiTransport(scope, receive, send, self.settings, poller, self.runtime.leave_behind)
        transport.scope = scope  # which middleware may have changed
        return transport

    async def _serve_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        count_request()
        if self._lifespan.is_refusing and not self._is_health(scope):
            await error_response(503)(scope, receive, send)
            return
        believe_proxies(scope, self.settings.trusted_proxies)
        runtime = self.runtime
        if not runtime.is_started:
            self._catch_up_with_server()
        await runtime.acquire()
        try:
            self._add_state(scope)
            with runtime.activate():
                await serve_request(self, scope, receive, send, self.settings, self, runtime.watches)
        finally:
            await runtime.release()

    def _catch_up_with_server(self) -> None:
        """Nobody has started us: say what is missed, and give our server the settings now."""
        self._lifespan.warn_of_skipped_startup()
        self._host.give_settings()

    def _add_state(self, scope: Scope) -> None:
        state = self._lifespan.hosted_state
        if state:
            scope["state"] = {**state, **scope.get("state", {})}

    async def _enter(self, websocket: WebSocket) -> None:
        """Go on inside of all ASGI middleware, which may have changed the scope."""
        endpoint = self._endpoint(websocket.scope)
        await (endpoint.endpoint if isinstance(endpoint, MountedRow) else endpoint)(websocket)

    def _endpoint(self, scope: Scope) -> Next | MountedRow:
        if self._lifespan.is_refusing:
            return refusing(503, "the application is stopping")
        return find_endpoint(self, scope, self.settings)

    def _complete_prefixes(self) -> Iterator[str]:
        yield ""

    def _check_synchronous(self, name: str) -> None:
        if self.box.has_async_authorize:
            raise TypeError(
                f"{name}.on_receive is synchronous, so nobody can await the authorize of the application's groups: make"
                " that a plain function, or on_receive async"
            )

    def _check_not_started(self, what: str) -> None:
        if self.runtime.is_started:
            raise LifecycleError(f"{what} while the application runs: that has to be done before it starts")


def get_application(**options: Any) -> NexiosApp:
    """Make an application; see `NexiosApp`."""
    return NexiosApp(**options)


def _start_mounted(path: str, app: Any) -> AbstractAsyncContextManager[dict[str, Any]]:
    return app.running() if isinstance(app, NexiosApp) else foreign_lifespan(path, app)
