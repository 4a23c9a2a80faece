"""`serve`: one process's server, from binding its sockets to the last goodbye.

    sockets, poller descriptor              bound first: an address in use is known before the application starts
    lifespan                                the application's own task
        services                            poller, timers
            relays                          TLS
                connections                 handlers, HTTP connections
                    accepting               one task for each listening socket

Each block ends before the one around it, so whatever a connection needs is there until it is gone. All of this is
shielded: cancellation becomes a hurried drain.
"""

import logging
import os
import signal
import ssl
import threading
from collections.abc import Awaitable, Callable
from math import inf
from typing import Any, Final

import attrs
import trio
from hypercorn.config import Config

from ..config.settings import Settings
from ..transports.epoll import Poller, open_poller
from ..transports.timers import Timers
from .accept import Admission, accept_forever, room_for_connections
from .hypercorn.http_server import Web, access_log, prepare, tls_context
from .lifespan import App, Lifespan
from .listeners import Listener, backlog_of, open_listeners
from .proxy_headers import is_trusted
from .shutdown import Drain, Schedule, Stop
from .tls_proxy import DESCRIPTORS, TlsRelays
from .websocket_server import Lane

__all__ = ["serve"]

logger = logging.getLogger("nexios_trio.server")

# Seconds within which a second signal is the first one again: supervisors signal a parent and its workers, and the
# parent signals its workers too.
SAME_SIGNAL: Final = 1.0
LAST_WORDS: Final = 1.0  # seconds that the application's shutdown has at least, after the connections' drain

Trigger = Callable[..., Awaitable[Any]]


async def serve(
    app: App,
    config: Config,
    *,
    settings: Settings | None = None,
    shutdown_trigger: Trigger | None = None,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an ASGI application until told to stop, then drain.

    WebSockets get the direct lane; everything else is served by hypercorn.

    Cancellation: clients are sent away and the application shuts down, at once; within `drain_timeout`.

    Args:
        config: hypercorn's: binds, TLS, root path, logs, timeouts. `workers` is the command's business.
        settings: by default those of the application, if it has any, else from the environment (``NEXIOS_...``).
        shutdown_trigger: an async function; the server drains when it returns. Without one it drains on SIGTERM and
            SIGINT, if this is the main thread; a second signal puts it in a hurry.
        task_status: told the addresses, once connections are accepted.
    Raises:
        OSError, ValueError: the configuration cannot be served; nothing was started.
        StartupFailed, ApplicationFailed, ShutdownFailed: the application's doing. Nothing of it is left.
    """
    settings = settings or _settings_of(app)
    config = prepare(config)
    ssl_context = tls_context(config)
    with open_listeners(config) as listeners, open_poller() as poller:
        stop = Stop()
        server = Server(app, config, settings, ssl_context, poller, stop)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_hurry_when_cancelled, stop)
            nursery.start_soon(_wait_for_stop, stop, shutdown_trigger)
            with trio.CancelScope(shield=True):
                await server.run(listeners, task_status)
            nursery.cancel_scope.cancel(reason="the server has stopped")
    failure = server.lifespan.failure or stop.failure
    if failure is not None:
        raise failure


@attrs.define(eq=False)
class Server:
    """One run of `serve`. Its methods are the blocks that the module's docstring shows, from outside in."""

    app: App
    config: Config
    settings: Settings
    ssl_context: ssl.SSLContext | None
    poller: Poller
    stop: Stop
    lifespan: Lifespan = attrs.field(init=False)
    timers: Timers = attrs.field(factory=Timers, init=False)

    def __attrs_post_init__(self) -> None:
        self.lifespan = Lifespan(self.app, self.stop.request)

    async def run(self, listeners: list[Listener], task_status: trio.TaskStatus[list[str]]) -> None:
        lifespan = self.lifespan
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lifespan.run, name="lifespan of the application")
            await lifespan.start_up(self.config.startup_timeout, self.stop.requested)
            if lifespan.is_ready:
                end = await self.serve(listeners, task_status)
                await lifespan.shut_down(end)
            nursery.cancel_scope.cancel(reason="the server stops")

    async def serve(self, listeners: list[Listener], task_status: trio.TaskStatus[list[str]]) -> float:
        """Serve and drain. Returns until when the application's shutdown may last."""
        settings = self.settings
        async with trio.open_nursery() as services:
            services.start_soon(self.poller.run, name="poller")
            services.start_soon(self.timers.run, name="timers")
            async with trio.open_nursery() as relays, trio.open_nursery() as connections:
                web = Web(self.app, self.config, settings, self.lifespan.state)
                lane = self._lane(web, connections.start_soon)
                await self._accept(listeners, lane, relays.start_soon, task_status)
                schedule = Schedule.starting(
                    trio.current_time(), settings.drain_timeout, settings.drain_jitter, self.config.graceful_timeout
                )
                drain = Drain(lane, web, schedule, self.stop.hurried, services.start_soon)
                services.start_soon(drain.run, connections.cancel_scope, relays.cancel_scope, name="drain")
            services.cancel_scope.cancel(reason="no connection is left")
        return max(schedule.end, trio.current_time() + LAST_WORDS)

    def _lane(self, web: Web, start_soon: Callable[..., None]) -> Lane:
        trusted = self.settings.trusted_proxies
        admission = Admission(
            room_for_connections(self.settings, 1 if self.ssl_context is None else DESCRIPTORS),
            self.settings.max_connections_per_address,
            lambda address: is_trusted(address, trusted),
        )
        return Lane(
            self.app,
            self.settings,
            self.poller,
            self.timers,
            start_soon,
            web.serve,
            {"root_path": self.config.root_path},
            admission=admission,
            state=self.lifespan.state,
            server_names=frozenset(self.config.server_names),
            access_log=access_log(self.config),
        )

    async def _accept(
        self,
        listeners: list[Listener],
        lane: Lane,
        start_relay: Callable[..., None],
        task_status: trio.TaskStatus[list[str]],
    ) -> None:
        """Accept until the server has to stop, then close the listening sockets."""
        async with trio.open_nursery() as nursery:
            for listener in listeners:
                receive = lane.receive
                if listener.is_secure and self.ssl_context is not None:
                    timeout = min(self.config.ssl_handshake_timeout, self.settings.handshake_timeout)
                    receive = TlsRelays(self.ssl_context, self.settings, timeout, lane, start_relay).receive
                listener.sock.listen(backlog_of(self.config))
                nursery.start_soon(accept_forever, listener.sock, receive, name=f"accepting on {listener.address}")
            addresses = [listener.address for listener in listeners]
            logger.debug("serving on %s", ", ".join(addresses))
            task_status.started(addresses)
            await self.stop.requested.wait()
            nursery.cancel_scope.cancel(reason="the server stops")
        for listener in listeners:
            listener.sock.close()


def _settings_of(app: App) -> Settings:
    own = getattr(app, "settings", None)
    return own if isinstance(own, Settings) else Settings.from_environ(os.environ)


async def _hurry_when_cancelled(stop: Stop) -> None:
    try:
        await trio.sleep_forever()
    except trio.Cancelled:
        stop.hurry()
        raise


async def _wait_for_stop(stop: Stop, trigger: Trigger | None) -> None:
    if trigger is not None:
        try:
            await trigger()
        except Exception as error:
            stop.failure = error
        stop.request()
    elif threading.current_thread() is threading.main_thread():
        await _wait_for_signals(stop)


async def _wait_for_signals(stop: Stop) -> None:
    may_hurry = inf
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as numbers:
        async for number in numbers:
            if trio.current_time() >= may_hurry:
                logger.info("hurrying because of %s", signal.Signals(number).name)
                stop.hurry()
            elif may_hurry == inf:
                logger.info("stopping because of %s", signal.Signals(number).name)
                may_hurry = trio.current_time() + SAME_SIGNAL
                stop.request()
