"""Everything that is no WebSocket: handed to hypercorn, connection by connection."""

import copy
import logging
import ssl
from typing import Any

from hypercorn.config import Config
from hypercorn.logging import Logger
from hypercorn.trio.statsd import StatsdLogger
from hypercorn.trio.worker_context import WorkerContext

from ...asgi_types import ASGIApp, Headers, Receive, Send
from ...core.proxy_headers import believe_proxies
from ...logs.access import AccessLog
from ...logs.fields import connection_fields
from ...logs.guard import guard_logger
from ...transports.tls_socket import prepare_context
from ..connection_limits import AcceptedConnection
from ..request_fields import current_request
from ..request_head import WebSocketRequest
from ..served_connection import HandshakeLog
from ..server_settings import ServerSettings
from .access_log import call_logged, safe_logger_class
from .http1 import HttpConnection
from .options import check_options
from .stream import ConnectionStream

__all__ = ["HttpServer", "handshake_log", "prepare", "tls_context"]

logger = logging.getLogger("nexios_trio.server")


def prepare(config: Config) -> Config:
    """A copy of the user's configuration with what our connections need.

    Raises:
        ValueError: an option that is not accepted, or that we do not serve.
    """
    ours = copy.copy(config)
    check_options(ours)
    if config.quic_bind:
        raise ValueError("quic_bind is not served here: use hypercorn's own command for HTTP/3")
    if config.max_requests is not None:
        logger.warning("max_requests has no effect here: SIGHUP replaces the workers")
    if (config.certfile is None) != (config.keyfile is None):
        raise ValueError("certfile and keyfile go together: give both for TLS, or neither")
    ours._log = None
    ours.alpn_protocols = ["http/1.1"]
    ours.set_statsd_logger_class(StatsdLogger)
    if ours.logger_class is Logger and ours.errorlog == "-":  # no handler of its own: it goes where all records go
        guard_logger("hypercorn.error")
        ours.errorlog = logging.getLogger("hypercorn.error")
    ours.logger_class = safe_logger_class(ours.logger_class)
    return ours


def tls_context(config: Config) -> ssl.SSLContext | None:
    """The TLS context, if TLS is configured. Raises: OSError, naming the files."""
    try:
        context = config.create_ssl_context()
    except OSError as error:
        files = f"{config.certfile!s}, {config.keyfile!s}" + (f", {config.ca_certs}" if config.ca_certs else "")
        raise OSError(error.errno, f"cannot use the certificate and key ({files}): {error.strerror}") from None
    if context is not None:
        prepare_context(context)
    return context


def handshake_log(config: Config) -> HandshakeLog | None:
    """Return what writes our WebSockets' handshakes into an access log of the user's own format, if there is one."""
    if config.log.lines is not None or (config.accesslog is None and issubclass(config.logger_class, Logger)):
        return None

    async def log(scope: Any, status: int, headers: Headers, seconds: float) -> None:
        await config.log.access(scope, {"status": status, "headers": headers}, seconds)

    return log


class HttpServer:
    """The HTTP connections of one server."""

    def __init__(self, app: ASGIApp, config: Config, adopted: ServerSettings, state: dict[str, Any]) -> None:
        self._app = app
        self._config = config
        self._adopted = adopted
        self._state = state
        self._lines: AccessLog | None = config.log.lines
        self._context = WorkerContext(None)
        self._streams: set[ConnectionStream] = set()

    async def serve(self, connection: AcceptedConnection, received: bytes) -> WebSocketRequest | None:
        """Serve one connection, which has sent `received`, until it ends, or asks for a WebSocket.

        Then returns that request, and the connection is the caller's again. Raises nothing because of it.
        """
        stream = ConnectionStream(connection.sock, received, self._adopted.settings)
        server = HttpConnection(
            self._call, self._config, self._context, self._state, stream, connection, self._adopted.settings
        )
        self._streams.add(stream)
        asked: WebSocketRequest | None = None
        try:
            asked = await server.serve()
        finally:
            self._streams.discard(stream)
            server.break_cycles()
            if asked is None:
                stream.abort()
                connection.close()
        return asked

    @property
    def connections(self) -> int:
        """Count them."""
        return len(self._streams)

    async def drain(self) -> None:
        """Close idle connections, and the others once they have got their response."""
        await self._context.terminated.set()

    def reset_all(self) -> None:
        """Reset every connection."""
        for stream in list(self._streams):
            stream.abort()

    async def _call(self, scope: Any, receive: Receive, send: Send, sync_spawn: object, call_soon: object) -> None:
        believe_proxies(scope, self._adopted.settings.trusted_proxies)
        current_request.set({"method": scope.get("method"), **connection_fields(scope)})
        await call_logged(self._lines, self._app, scope, receive, send)
