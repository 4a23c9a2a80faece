"""A WebSocket that an application serves, as its server sees it."""

import logging
import time
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Any, Protocol

from ..application import NexiosApp
from ..asgi_types import ASGIApp, Headers
from ..config.settings import Settings
from ..connections.access import ConnectionAccess
from ..logs.access import AccessLog
from ..transports.base import TRANSPORT_EXTENSION
from ..transports.direct import DirectTransport
from ..transports.server_context import DirectOffer, IdleConnection
from ..transports.timers import Timers, do_nothing
from .asgi_adapter import AsgiAdapter
from .connection_limits import AcceptedConnection
from .errors import contained
from .idle_connections import IdleConnections
from .request_head import http_response
from .server_settings import ServerSettings
from .upgrade import Upgrade

__all__ = ["HandshakeLog", "ServedConnection"]

logger = logging.getLogger("nexios_trio.server")

# Scope, status, headers of the response, seconds
HandshakeLog = Callable[[Any, int, Headers, float], Awaitable[None]]


class Server(Protocol):
    """The server, as far as its connections know it."""

    adopted: ServerSettings
    timers: Timers
    idle: IdleConnections
    access_log: AccessLog | None
    handshake_log: HandshakeLog | None
    transports: set[DirectTransport]
    start_soon: Callable[..., None]


class ServedConnection:
    """One of them, from its request to its end. One object, since every idle connection has it.

    To an application of ours that nothing stands before it is the `ConnectionHost`.

    Args:
        release: frees the place of the client behind a proxy.
    """

    __slots__ = (
        "_access",
        "_begun",
        "_connection",
        "_idle",
        "_offer",
        "_release",
        "_scope",
        "_server",
        "_upgrade",
        "transport",
    )

    transport: DirectTransport

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
        self._begun = None if server.handshake_log is None else time.monotonic()
        self._access: ConnectionAccess | None = None
        self._offer: DirectOffer | None = None  # to an application that is called by ASGI
        self._idle: IdleConnection | None = None

    # The application

    async def run(self, function: Callable[..., Awaitable[bool]], *args: Any) -> None:
        """Run `function` in a task of the connection, which is over when it returns True.

        Cancellation: goes on to `function`, which ends the connection.
        """
        is_over = True
        try:
            with contained(logger, "the application failed"):
                is_over = await function(*args)
        finally:
            if is_over:
                self.over()

    def serve(self, app: NexiosApp) -> Awaitable[bool]:
        """Begin an application of ours, by itself where that can be."""
        try:
            task = app._serve_directly(self.transport, self)
        except Exception:
            task = None  # it raises it once more
        return self.serve_by_asgi(app) if task is None else task

    async def serve_by_asgi(self, app: ASGIApp) -> bool:
        """Run any application. Checkpoint, cancellation: as `AsgiAdapter.run`. Returns True."""
        adapter = AsgiAdapter(
            self.transport, self._server.timers, self.apply_settings, is_ours=isinstance(app, NexiosApp)
        )
        self._offer = self._scope["extensions"][TRANSPORT_EXTENSION] = adapter.offer
        log = self._server.access_log
        self._access = None if log is None else ConnectionAccess(log, self._scope)
        await adapter.run(app, do_nothing)
        return True

    def start_task(self, context: Context, function: Callable[..., Awaitable[bool]], *args: Any) -> None:
        """Run another task of a connection that was idle. As `ConnectionHost` has it."""
        context.copy().run(self._server.start_soon, self.run, function, *args)
        idle, self._idle = self._idle, None
        if idle is not None:
            self._server.idle.discard(idle)

    def idle(self, connection: IdleConnection) -> None:
        """Keep a connection without a task. As `ConnectionHost` has it."""
        self._idle = connection
        self._server.idle.add(connection)

    async def leave(self) -> None:
        """Close the socket. As `ConnectionHost` has it."""
        await self.transport.leave()

    # The handshake

    def answer(self, subprotocol: str | None, headers: Headers) -> bytes:
        """Return the answer to the handshake. Called by the transport."""
        if self._access is not None and not self._is_ours:
            self._access.accepted(self._scope)
        self._log(101, headers)
        upgrade, self._upgrade = self._upgrade, None
        assert upgrade is not None  # or it would be answered twice
        return upgrade.answer(subprotocol, headers)

    def refuse(self, status: int, headers: Headers, body: bytes) -> bytes:
        """Return an HTTP error in its place."""
        self._log(status, headers)
        return http_response(status, headers, body)

    @property
    def _is_ours(self) -> bool:
        """An application of ours has it, which writes its lines of the access log itself."""
        return self._offer is None or self._offer.is_ours

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
        if self._access is not None and not self._is_ours and transport.end is not None:
            self._access.over(self._scope, transport.end, transport.inbox.received, transport.counts)
        self._connection.close()
        self._release()
        # An error that an application keeps leads to its tasks' frames, and here, which must not lead on to a socket.
        del self.transport, self._connection, self._release
