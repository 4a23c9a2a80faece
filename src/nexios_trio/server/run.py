"""`serve`: one process's server, from binding its sockets to the last close.

    sockets, poller descriptor              bound first: an address in use is known before the application starts
    services                                poller, timers: the application's connections use them, too
        lifespan                            the application's own task
            draining                        the close of each connection, when the server stops
                connections                 handlers, HTTP connections
                    accepting               one task for each listening socket

Each block ends before the one around it, so whatever a connection needs is there until it is gone. All of this is
shielded: cancellation becomes a hurried drain.
"""

import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import attrs
import trio
from hypercorn.config import Config

from ..application.trio_only import require_trio
from ..asgi_types import ASGIApp
from ..config.settings import Settings
from ..core.proxy_headers import is_trusted
from ..logs.access import AccessLog
from ..transports.epoll import Poller, open_poller
from ..transports.server_context import CleanupLimit, ServerOverview, serving_as
from ..transports.timers import Timers
from .accept import accept_forever
from .connection_limits import ConnectionLimits, connection_capacity
from .forced_end import ForcedEnd
from .health_server import count_connections, health_config, overview_pages, serve_health
from .hypercorn.http_server import HttpServer, handshake_log, prepare, tls_context
from .lifespan import Lifespan
from .listeners import Listener, backlog_of, open_listeners
from .parent_link import NEWCOMERS_SECONDS, ParentLink
from .plain_lane import PlainServer, tell_plain_lane
from .server_settings import ServerSettings
from .shields import end_shielded
from .shutdown import Drain, DrainSchedule, StopRequest, finish_newcomers
from .stop_signals import Trigger, hurry_when_cancelled, wait_for_stop
from .watchdog import watch_event_loop
from .websocket_server import WebSocketServer

__all__ = ["serve"]

logger = logging.getLogger("nexios_trio.server")

MIN_SHUTDOWN_SECONDS: Final = 1.0  # that the application's shutdown has at least, after the connections' drain
SLACK_SECONDS: Final = 0.5  # less than the parent of workers has

Accept = Callable[[socket.socket, Any], None]


async def serve(
    app: ASGIApp,
    config: Config,
    *,
    settings: Settings | None = None,
    shutdown_trigger: Trigger | None = None,
    health_bind: Sequence[str] = (),
    parent: ParentLink | None = None,
    owns_process: bool = False,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an ASGI application until told to stop, then drain.

    WebSockets are served on their sockets; everything else is served by hypercorn.

    Cancellation: clients are sent away and the application shuts down, at once; within `drain_timeout`. What fails then
        is raised in its place.

    Args:
        config: hypercorn's: binds, TLS, root path, logs, timeouts. `workers` is the command's business.
        settings: by default those of the application, if it has any, else from the environment (``NEXIOS_...``).
        shutdown_trigger: an async function; the server drains when it returns. Without one it drains on SIGTERM and
            SIGINT, if this is the main thread; a second signal puts it in a hurry.
        health_bind: addresses, as in `config.bind`, for `/healthz`, `/readyz` and metrics alone, from before the
            application starts to the end. Who asks there takes no place among the connections.
        parent: of this process, where it is one of several workers of `nexios-trio run`.
        owns_process: a third signal ends the process at once, and so does a stop that takes longer than `drain_timeout`
            and a second and a half: with status 1, and a log that says what is holding it up.
        task_status: told the addresses, once connections are accepted.
    Raises:
        OSError, ValueError: the configuration cannot be served; nothing was started.
        StartupFailed, ApplicationFailed, DrainFailed, ShutdownFailed: the application's doing. Nothing of it is left.
        LifecycleError: called on asyncio.
    """
    require_trio()
    adopted = ServerSettings.of(app, settings)
    config = prepare(config)
    ssl_context = tls_context(config)
    with (
        open_listeners(config) as listeners,
        open_listeners(health_config(config, health_bind), listeners) as health,
        open_poller() as poller,
    ):
        stop = StopRequest()
        server = Server(app, config, adopted, ssl_context, poller, stop, health, parent)
        try:
            with serving_as(server):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(hurry_when_cancelled, stop)
                    forced_end = ForcedEnd(server.longest_stop) if owns_process else None
                    nursery.start_soon(wait_for_stop, stop, shutdown_trigger, forced_end)
                    with trio.CancelScope(shield=True):
                        await server.run(listeners, task_status)
                    nursery.cancel_scope.cancel(reason="the server has stopped")
        finally:
            if (failure := server.lifespan.failure or stop.failure) is not None:
                raise failure  # also in place of a cancellation, which has put the stop in a hurry


@attrs.define(eq=False)
class Server:
    """One run of `serve`, and the `ServerContext` of the applications in it.

    Its methods are the blocks that the module's docstring shows, from outside in.
    """

    app: ASGIApp
    config: Config
    adopted: ServerSettings
    ssl_context: ssl.SSLContext | None
    poller: Poller | None
    stop: StopRequest
    health: list[Listener]
    parent: ParentLink | None
    lifespan: Lifespan = attrs.field(init=False)
    overrules: bool = attrs.field(init=False)
    timers: Timers = attrs.field(factory=Timers, init=False)
    cleanups: CleanupLimit = attrs.field(factory=CleanupLimit, init=False)
    overview: ServerOverview = attrs.field(init=False)
    access_log: AccessLog | None = attrs.field(init=False)
    _limits: ConnectionLimits | None = attrs.field(default=None, init=False)  # once connections are served

    def __attrs_post_init__(self) -> None:
        self.access_log = self.config.log.lines
        self.overview = ServerOverview() if self.parent is None else self.parent.overview
        self.lifespan = Lifespan(self.app, self.stop.request)
        self.overrules = self.adopted.is_explicit

    @property
    def settings(self) -> Settings:
        """Return what the server decides by."""
        return self.adopted.settings

    def adopt_settings(self, settings: Settings) -> bool:
        """Take an application's settings for the server's own, unless it was given some; whether they have changed."""
        has_changed = self.adopted.adopt(settings)
        if has_changed and self._limits is not None:  # too late for the connections that are here
            self._set_limits(self._limits)
        return has_changed

    async def run(self, listeners: list[Listener], task_status: trio.TaskStatus[list[str]]) -> None:
        lifespan = self.lifespan
        async with trio.open_nursery() as services:
            if self.poller is None:
                tell_plain_lane()
            else:
                services.start_soon(self.poller.run, name="poller")
            services.start_soon(self.timers.run, name="timers")
            services.start_soon(watch_event_loop, self.settings, name="watchdog")
            if self.parent is not None:
                services.start_soon(self.parent.carry, name="line to the hub")
            pages = overview_pages(self.overview)
            services.start_soon(
                serve_health, self.health, pages, self.config, self.adopted, self.poller, self.timers, name="health"
            )
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lifespan.run, name="lifespan of the application")
                await lifespan.start_up(self.config.startup_timeout, self.stop.requested)
                if lifespan.is_ready:
                    end = await self.serve(listeners, task_status)
                    await lifespan.shut_down(end)
                nursery.cancel_scope.cancel(reason="the server stops")
                await end_shielded(nursery, "did not stop with the application")
            services.cancel_scope.cancel(reason="the application has ended")

    async def serve(self, listeners: list[Listener], task_status: trio.TaskStatus[list[str]]) -> float:
        """Serve and drain. Returns until when the application's shutdown may last."""
        if self.poller is None:
            return await self._serve_plainly(listeners, task_status)
        async with trio.open_nursery() as draining:
            async with trio.open_nursery() as connections:
                http = HttpServer(self.app, self.config, self.adopted, self.lifespan.state)
                websockets = self._websocket_server(http, self.poller, connections.start_soon)
                self.overview.count = partial(count_connections, websockets, http)
                await self._accept(listeners, partial(self._way_in, websockets), task_status)
                if self.parent is not None and self.parent.is_retired:
                    await finish_newcomers(websockets, self.stop.hurried)
                schedule = self._drain_schedule()
                drain = Drain(websockets, http, schedule, self.stop, self.cleanups, draining.start_soon)
                draining.start_soon(drain.run, connections, name="drain")
            draining.cancel_scope.cancel(reason="no connection is left")
        return max(schedule.end, trio.current_time() + MIN_SHUTDOWN_SECONDS)

    async def _serve_plainly(self, listeners: list[Listener], task_status: trio.TaskStatus[list[str]]) -> float:
        async with trio.open_nursery() as draining:
            async with trio.open_nursery() as connections:
                plain = PlainServer(
                    self.app, self.config, self.adopted, self._new_limits(), self.lifespan.state, connections.start_soon
                )
                await self._accept(
                    listeners,
                    lambda listener: partial(plain.accept_connection, ssl_context=self._ssl_context_of(listener)),
                    task_status,
                )
                schedule = self._drain_schedule()
                draining.start_soon(plain.drain, connections, schedule, self.stop, name="drain")
            draining.cancel_scope.cancel(reason="no connection is left")
        return max(schedule.end, trio.current_time() + MIN_SHUTDOWN_SECONDS)

    def longest_stop(self) -> float:
        """Count the seconds that may pass from the first signal to the end."""
        newcomers = NEWCOMERS_SECONDS if self.parent is not None and self.parent.is_retired else 0.0
        return newcomers + self.settings.drain_timeout + MIN_SHUTDOWN_SECONDS + SLACK_SECONDS

    def _drain_schedule(self) -> DrainSchedule:
        settings = self.settings
        return DrainSchedule.starting(
            trio.current_time(), settings.drain_timeout, settings.drain_jitter, self.config.graceful_timeout
        )

    def _ssl_context_of(self, listener: Listener) -> ssl.SSLContext | None:
        return self.ssl_context if listener.is_secure else None

    def _new_limits(self) -> ConnectionLimits:
        self._limits = limits = ConnectionLimits(
            0,
            is_exempt=lambda address: is_trusted(address, self.settings.trusted_proxies),
            on_change=None if self.parent is None else self.parent.load.count,
        )
        self._set_limits(limits)
        return limits

    def _websocket_server(self, http: HttpServer, poller: Poller, start_soon: Callable[..., None]) -> WebSocketServer:
        return WebSocketServer(
            self.app,
            self.adopted,
            poller,
            self.timers,
            start_soon,
            http.serve,
            {"root_path": self.config.root_path},
            limits=self._new_limits(),
            state=self.lifespan.state,
            server_names=frozenset(self.config.server_names),
            access_log=self.access_log,
            handshake_log=handshake_log(self.config),
        )

    def _set_limits(self, limits: ConnectionLimits) -> None:
        limits.most = connection_capacity(self.settings, limits.total)
        limits.most_per_address = self.settings.max_connections_per_address

    async def _accept(
        self,
        listeners: list[Listener],
        way_in: Callable[[Listener], Accept],
        task_status: trio.TaskStatus[list[str]],
    ) -> None:
        """Accept until the server has to stop, then close the listening sockets."""
        load = None if self.parent is None else self.parent.load
        async with trio.open_nursery() as nursery:
            for listener in listeners:
                listener.sock.listen(backlog_of(self.config))
                nursery.start_soon(
                    accept_forever, listener.sock, way_in(listener), load, name=f"accepting on {listener.address}"
                )
            addresses = [listener.address for listener in listeners]
            logger.debug("serving on %s", ", ".join(addresses))
            self.overview.problem = None
            task_status.started(addresses)
            await self.stop.requested.wait()
            self.overview.problem = "draining"
            nursery.cancel_scope.cancel(reason="the server stops")
        for listener in listeners:
            listener.sock.close()

    def _way_in(self, websockets: WebSocketServer, listener: Listener) -> Accept:
        """Return what is called with each socket that `listener` accepts."""
        ssl_context = self._ssl_context_of(listener)
        if ssl_context is None:
            return websockets.accept_connection
        timeout = min(self.config.ssl_handshake_timeout, self.settings.handshake_timeout)
        return partial(websockets.accept_tls_connection, context=ssl_context, timeout=timeout)
