"""Answer WebSocket upgrades on the socket itself, and leave everything else to hypercorn."""

import socket
import ssl
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import attrs

from ..application import NexiosApp
from ..asgi_types import ASGIApp, Scope
from ..config.settings import Settings
from ..core.causes import ServerRefusal
from ..core.lifecycle import Cause, End, Phase
from ..core.proxy_headers import believe_proxies, plain_address
from ..logs.access import AccessLog
from ..transports.direct import DirectTransport, TlsTransport
from ..transports.epoll import Poller
from ..transports.timers import Timers, do_nothing
from .connection_limits import AcceptedConnection, ConnectionLimits
from .idle_connections import IdleConnections
from .lingering_close import LingeringCloses, log_refusal
from .request_head import BadUpgrade, Upgrade, WebSocketRequest, http_response, read_upgrade
from .request_reader import RequestReaders
from .served_connection import HandshakeLog, ServedConnection
from .server_settings import ServerSettings
from .tls_handshakes import TlsHandshakes

__all__ = ["ServeHttp", "WebSocketServer"]

# Serves a connection that is no WebSocket; called with what was received, owns the connection. Where it returns a
# request, the connection is ours again. `run.Server` puts `HttpServer.serve` here.
ServeHttp = Callable[[AcceptedConnection, bytes], Awaitable[WebSocketRequest | None]]


@attrs.define(eq=False)
class WebSocketServer:
    """One server's connections. Everything it starts lives in the nursery that `start_soon` belongs to.

    Args:
        scope: what every scope of this server holds, such as `root_path`.
        state: what the application's lifespan left for its connections.
        server_names: the hosts that we answer for; empty for all.
    """

    _app: ASGIApp
    adopted: ServerSettings
    poller: Poller
    timers: Timers
    start_soon: Callable[..., None]
    _serve_http: ServeHttp
    _scope: dict[str, Any]
    limits: ConnectionLimits = attrs.field(factory=lambda: ConnectionLimits(1_000_000))
    state: dict[str, Any] = attrs.field(factory=dict)
    server_names: Collection[str] = ()
    access_log: AccessLog | None = None
    handshake_log: HandshakeLog | None = None  # where an access log has the user's own format
    transports: set[DirectTransport] = attrs.field(factory=set, init=False)
    _own: NexiosApp | None = attrs.field(init=False)  # the application, where it may be called without ASGI
    idle: IdleConnections = attrs.field(init=False)
    closes: LingeringCloses = attrs.field(init=False)
    readers: RequestReaders = attrs.field(init=False)
    tls_handshakes: TlsHandshakes = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        app = self._app
        self._own = app if isinstance(app, NexiosApp) and type(app).__call__ is NexiosApp.__call__ else None
        self.idle = IdleConnections(self.start_soon)
        self.closes = LingeringCloses(self.poller, self.timers)
        self.readers = RequestReaders(self.adopted, self.poller, self.timers, self.closes, self._route_request)
        self.tls_handshakes = TlsHandshakes(self.poller, self.timers, self.readers.read)

    @property
    def settings(self) -> Settings:
        return self.adopted.settings

    def accept_connection(self, sock: socket.socket, peer: Any) -> None:
        """Serve a socket that was just accepted."""
        connection = self.limits.admit(sock, peer)
        if connection is None:
            self.closes.refuse(AcceptedConnection(sock, plain_address(peer), None), self.limits.refusal)
            return
        if isinstance(peer, tuple):  # TCP; of a Unix socket it is a str
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.readers.read(connection)

    def accept_tls_connection(self, sock: socket.socket, peer: Any, context: ssl.SSLContext, timeout: float) -> None:
        """Serve a socket that was just accepted. The client has `timeout` seconds for TLS, and then for its request."""
        connection = self.limits.admit(sock, peer)
        if connection is None:
            sock.close()  # nothing can be said before TLS is up
            why = self.limits.refusal
            log_refusal(plain_address(peer), why.status, why.explain())
            return
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.tls_handshakes.begin(connection, context, timeout)

    @property
    def has_newcomers(self) -> bool:
        """Tell whether somebody is in the midst of a handshake."""
        return bool(
            len(self.tls_handshakes)
            or len(self.readers)
            or any(transport.lifecycle.phase is Phase.CONNECTING for transport in self.transports)
        )

    def stop_accepting(self) -> None:
        """Serve nobody new, and close the connections that have not asked for anything."""
        self.tls_handshakes.close()
        self.readers.close()
        self.idle.close()

    def reset_all(self) -> None:
        """Reset every connection."""
        self.closes.close()
        for transport in list(self.transports):
            transport.kill(End.of(Cause.SERVER_SHUTDOWN, "the server stops"))

    def _route_request(self, connection: AcceptedConnection, received: bytes, head_size: int) -> None:
        """Decide who serves a connection whose request head is whole."""
        if self.readers.is_closed:
            self.closes.refuse(connection, ServerRefusal.STOPPING)
            return
        head = received[:head_size]
        try:
            upgrade = read_upgrade(head, compression=self.settings.compression)
        except BadUpgrade as error:
            self.closes.refused["bad_handshake"] += 1
            log_refusal(connection.client, error.status, f"the handshake is not in order: {str(error).strip()}")
            self.closes.send_and_close(connection, error.response)
            return
        if upgrade is None:
            self.start_soon(self._serve_other, connection, received)
            return
        scope = self._scope_of(connection, upgrade)
        release = self._admit_client(connection, scope)
        if release is None:
            self.closes.refuse(connection, ServerRefusal.TOO_MANY_FROM_ADDRESS)
        elif self.server_names and not _is_for(self.server_names, scope):
            release()
            self.closes.refuse(connection, ServerRefusal.WRONG_HOST)
        else:
            self._serve(connection, upgrade, scope, received[head_size:], release)

    async def _serve_other(self, connection: AcceptedConnection, received: bytes) -> None:
        request = await self._serve_http(connection, received)
        if request is not None:
            self._route_request(connection, request.received, request.head_size)

    def _scope_of(self, connection: AcceptedConnection, upgrade: Upgrade) -> dict[str, Any]:
        scope = upgrade.scope()
        scope |= self._scope
        scope["scheme"] = "wss" if connection.is_secure else "ws"
        scope["client"] = connection.client
        scope["server"] = connection.server
        scope["state"] = self.state.copy()
        believe_proxies(scope, self.settings.trusted_proxies)
        return scope

    def _admit_client(self, connection: AcceptedConnection, scope: Scope) -> Callable[[], None] | None:
        """Find a place for the client behind a proxy. Returns what frees it; None if there is none."""
        client = scope["client"]
        if client is None or client == connection.client:
            return do_nothing
        return self.limits.admit_forwarded(client[0])

    def _serve(
        self,
        connection: AcceptedConnection,
        upgrade: Upgrade,
        scope: dict[str, Any],
        received: bytes,
        release: Callable[[], None],
    ) -> None:
        """Start the application for a WebSocket."""
        served = ServedConnection(self, connection, upgrade, scope, release)
        make_transport = TlsTransport if connection.is_secure else DirectTransport
        transport = served.transport = make_transport(
            scope,
            self.settings,
            connection.sock,
            self.poller,
            answer=served.answer,
            refuse=http_response if self.handshake_log is None else served.refuse,
            received=received,
            deflate=upgrade.deflate,
        )
        self.transports.add(transport)
        if self._own is not None:
            self.start_soon(served.run, served.serve, self._own)
        else:
            self.start_soon(served.run, served.serve_by_asgi, self._app)


def _is_for(server_names: Collection[str], scope: Scope) -> bool:
    hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
    return hosts[0] in server_names
