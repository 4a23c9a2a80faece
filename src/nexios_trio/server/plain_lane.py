"""Connections where there is no epoll, as on macOS: hypercorn serves all of them, and WebSockets go the plain ASGI way.

The application's lifespan, the limits of connections and the time that a stop may take stay the server's own.
"""

import copy
import logging
import platform
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final, cast

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.statsd import StatsdLogger
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

from ..asgi_types import ASGIApp, Receive, Scope, Send
from ..config.settings import Settings
from ..core.proxy_headers import believe_proxies
from .connection_limits import AcceptedConnection, ConnectionLimits
from .errors import contained
from .server_settings import ServerSettings
from .shutdown import DrainSchedule, StopRequest

__all__ = ["PlainServer", "tell_plain_lane"]

logger = logging.getLogger("nexios_trio.server")

# Hypercorn's options that our settings decide, unless its configuration has.
DECIDED: Final = (
    "h11_max_incomplete_size",
    "include_server_header",
    "keep_alive_timeout",
    "read_timeout",
    "websocket_max_message_size",
    "websocket_ping_interval",
)


def tell_plain_lane() -> None:
    """Say which way WebSockets go, and why."""
    logger.info("%s has no epoll: hypercorn serves everything, and WebSockets go the plain ASGI way", platform.system())


class PlainServer:
    """One server's connections. Everything it starts lives in the nursery that `start_soon` belongs to."""

    def __init__(
        self,
        app: ASGIApp,
        config: Config,
        adopted: ServerSettings,
        limits: ConnectionLimits,
        state: dict[str, Any],
        start_soon: Callable[..., None],
    ) -> None:
        self._app = app
        self._adopted = adopted
        self._config = _decide(config, adopted.settings)
        self._limits = limits
        self._state = state
        self._start_soon = start_soon
        self._context = WorkerContext(None)

    def accept_connection(self, sock: socket.socket, peer: Any, ssl_context: ssl.SSLContext | None = None) -> None:
        """Serve a socket that was just accepted."""
        connection = self._limits.admit(sock, peer)
        if connection is None:
            sock.close()
            return
        plain = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        if ssl_context is None:
            self._start_soon(self._serve, connection, plain)
        else:
            stream = trio.SSLStream(plain, ssl_context, server_side=True, https_compatible=True)
            self._start_soon(self._serve, connection, stream)

    async def _serve(self, connection: AcceptedConnection, stream: Any) -> None:
        try:
            with contained(logger, "a connection failed"):
                app = ASGIWrapper(cast(Any, self._call))
                await TCPServer(app, self._config, self._context, ConnectionState(self._state), stream).run()
        finally:
            connection.close()

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        believe_proxies(scope, self._adopted.settings.trusted_proxies)
        await self._app(scope, receive, send)

    async def drain(self, connections: trio.Nursery, schedule: DrainSchedule, stop: StopRequest) -> None:
        """End every connection by the schedule. Cancelled once none is left."""
        connections.cancel_scope.deadline = schedule.cancel
        await self._context.terminated.set()
        with trio.move_on_at(schedule.force):
            await stop.hurried.wait()
            schedule = schedule.hurried(trio.current_time())
            connections.cancel_scope.deadline = schedule.cancel
            await trio.sleep_until(schedule.force)
        await stop.end_shielded(connections, schedule)


def _decide(config: Config, settings: Settings) -> Config:
    # Importing it patches hypercorn, so that an error ends the connection that it belongs to. Not needed elsewhere.
    from .hypercorn.config import hypercorn_options

    ours = copy.copy(config)
    ours._log = None
    ours.set_statsd_logger_class(StatsdLogger)
    options = hypercorn_options(settings)
    for name in DECIDED:
        if getattr(config, name) == getattr(Config, name):
            setattr(ours, name, options[name])
    return ours
