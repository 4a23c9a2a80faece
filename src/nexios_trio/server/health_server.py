"""HTTP on an address of its own, for health: answered from before the application starts to the very end.

Its connections are no clients: they are not counted among those, no limit of those holds for them, and they are not
drained. A few at a time are enough for whoever asks.
"""

import copy
import logging
from collections.abc import Sequence
from typing import Final

import trio
from hypercorn.config import Config

from ..asgi_types import ASGIApp
from ..observability.health import HealthPages
from ..transports.epoll import Poller
from ..transports.server_context import ServerCounts, ServerOverview
from ..transports.timers import Timers
from .accept import accept_forever
from .connection_limits import ConnectionLimits
from .hypercorn.http_server import HttpServer
from .listeners import Listener
from .plain_lane import PlainServer
from .server_settings import ServerSettings
from .websocket_server import WebSocketServer

__all__ = ["count_connections", "health_config", "overview_pages", "serve_health"]

logger = logging.getLogger("nexios_trio.server")

MAX_CONNECTIONS: Final = 32  # of the descriptors that clients' connections leave
BACKLOG: Final = 32


def health_config(config: Config, binds: Sequence[str]) -> Config:
    """Make of a server's configuration that of its address for health: plain HTTP, for any host, and no access log."""
    ours = copy.copy(config)
    ours.bind = list(binds)
    ours.certfile = ours.keyfile = ours.ca_certs = ours.accesslog = None
    ours.server_names = []
    ours._log = None
    return ours


async def serve_health(
    listeners: Sequence[Listener],
    pages: ASGIApp,
    config: Config,
    adopted: ServerSettings,
    poller: Poller | None,
    timers: Timers,
) -> None:
    """Answer requests, if there is an address for them, until cancelled.

    Cancellation: connections are closed where they are.
    """
    if not listeners:
        return
    config = health_config(config, ())
    async with trio.open_nursery() as nursery:
        limits = ConnectionLimits(MAX_CONNECTIONS)
        server: WebSocketServer | PlainServer
        if poller is None:
            server = PlainServer(pages, config, adopted, limits, {}, nursery.start_soon)
        else:
            serve_http, scope = HttpServer(pages, config, adopted, {}).serve, {"root_path": ""}
            server = WebSocketServer(
                pages, adopted, poller, timers, nursery.start_soon, serve_http, scope, limits=limits
            )
        try:
            for listener in listeners:
                listener.sock.listen(BACKLOG)
                nursery.start_soon(
                    accept_forever, listener.sock, server.accept_connection, name=f"health on {listener.address}"
                )
            logger.info("health is answered on %s", " and ".join(listener.address for listener in listeners))
            await trio.sleep_forever()
        finally:
            if isinstance(server, WebSocketServer):
                server.stop_accepting()
                server.reset_all()


def overview_pages(overview: ServerOverview) -> HealthPages:
    """Make the pages of one server, and of the applications in it."""
    return HealthPages(_nothing, overview.problems, overview.page)


async def _nothing() -> dict[str, str]:
    await trio.lowlevel.checkpoint()
    return {}


def count_connections(websockets: WebSocketServer, http: HttpServer) -> ServerCounts:
    """Count the clients' connections of one server."""
    limits, refused = websockets.limits, dict(websockets.closes.refused)
    return ServerCounts(limits.total, limits.most, len(websockets.readers), http.connections, refused)
