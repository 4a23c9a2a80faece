"""A WebSocket that an application serves, as its server sees it."""

import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from ..asgi_types import Headers
from ..config.settings import Settings
from ..connections.access import ConnectionAccess
from ..logs.access import AccessLog
from ..transports.direct import DirectTransport
from ..transports.server_context import DirectOffer
from .connection_limits import AcceptedConnection
from .request_head import http_response
from .server_settings import ServerSettings
from .upgrade import Upgrade

__all__ = ["HandshakeLog", "ServedConnection"]

# Scope, status, headers of the response, seconds
HandshakeLog = Callable[[Any, int, Headers, float], Awaitable[None]]


class Server(Protocol):
    """The server, as far as its connections know it."""

    adopted: ServerSettings
    access_log: AccessLog | None
    handshake_log: HandshakeLog | None
    transports: set[DirectTransport]
    start_soon: Callable[..., None]


class ServedConnection:
    """One of them, from its request to its end. One object, since every idle connection has it.

    Args:
        release: frees the place of the client behind a proxy.
    """

    __slots__ = ("_access", "_begun", "_connection", "_release", "_scope", "_server", "_upgrade", "offer", "transport")

    transport: DirectTransport
    offer: DirectOffer

    def __init__(
        self,
        server: Server,
        connection: AcceptedConnection,
        upgrade: Upgrade,
        scope: dict[str, Any],
        release: Callable[[], None],
    ) -> None:
        self._server = server
        self._connection = connection
        self._upgrade: Upgrade | None = upgrade  # until it is answered
        self._scope = scope
        self._release = release
        self._access = None if server.access_log is None else ConnectionAccess(server.access_log, scope)
        self._begun = None if server.handshake_log is None else time.monotonic()

    def answer(self, subprotocol: str | None, headers: Headers) -> bytes:
        """Return the answer to the handshake. Called by the transport."""
        if self._access is not None and not self.offer.is_ours:  # an application of ours writes its lines itself
            self._access.accepted(self._scope)
        self._log(101, headers)
        upgrade, self._upgrade = self._upgrade, None
        assert upgrade is not None  # or it would be answered twice
        return upgrade.answer(subprotocol, headers)

    def refuse(self, status: int, headers: Headers, body: bytes) -> bytes:
        """Return an HTTP error in its place."""
        self._log(status, headers)
        return http_response(status, headers, body)

    def _log(self, status: int, headers: Headers) -> None:
        log = self._server.handshake_log
        if log is not None and self._begun is not None:
            self._server.start_soon(log, self._scope, status, headers, time.monotonic() - self._begun)

    def apply_settings(self, settings: Settings) -> None:
        """Go by the application's settings, before the handshake is answered."""
        upgrade = self._upgrade
        if upgrade is not None and not self._server.adopted.is_explicit and settings is not self.transport.settings:
            upgrade.negotiate_again(compression=settings.compression)
            self.transport.use_settings(settings, deflate=upgrade.deflate)

    def over(self) -> None:
        """Let go of the connection: the application has returned."""
        transport = self.transport
        self._server.transports.discard(transport)
        if self._access is not None and not self.offer.is_ours and transport.end is not None:
            self._access.over(self._scope, transport.end, transport.inbox.received, transport.counts)
        self._connection.close()
        self._release()
