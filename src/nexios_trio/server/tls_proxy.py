"""TLS: what the peer says through it arrives on a pair of sockets, and the WebSocket server has one end of the pair.

So a WebSocket over TLS has everything that the direct transport gives, and everything else reaches hypercorn, as
without TLS. The price is two more descriptors, two tasks, and a copy.
"""

import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final

import attrs
import trio

from ..core.proxy_headers import plain_address
from ..logs.fields import client_name
from ..transports.forks import disown, own
from ..transports.progress import SEND_BUFFER_BYTES, bound_send_buffer
from .connection_limits import AcceptedConnection
from .cycles import break_cycles
from .errors import ORDINARY, contained
from .hypercorn.stream import ConnectionStream
from .lingering_close import log_refusal
from .server_settings import ServerSettings
from .socket_stream import SocketStream
from .websocket_server import WebSocketServer

__all__ = ["DESCRIPTORS_PER_CONNECTION", "TlsProxy"]

logger = logging.getLogger("nexios_trio.server")

DESCRIPTORS_PER_CONNECTION: Final = 3
RECEIVE_BYTES: Final = 65536


@attrs.frozen(eq=False)
class TlsProxy:
    """The TLS connections of one server. Their tasks live in the nursery that `start_soon` belongs to.

    Args:
        handshake_timeout: seconds for TLS alone; the request's own come after it.
    """

    _context: ssl.SSLContext
    _adopted: ServerSettings
    _handshake_timeout: float
    _server: WebSocketServer
    _start_soon: Callable[..., None]

    def accept_connection(self, sock: socket.socket, peer: Any) -> None:
        """Serve a socket that was just accepted."""
        connection = self._server.limits.admit(sock, peer)
        if connection is None:
            sock.close()  # nothing can be said before TLS is up
            why = self._server.limits.refusal
            log_refusal(plain_address(peer), why.status, why.explain())
            return
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._start_soon(self._serve, connection)

    async def _serve(self, connection: AcceptedConnection) -> None:
        settings = self._adopted.settings
        if (
            settings.send_buffer is not None or settings.overflow.eager
        ):  # else the kernel's buffer here is the large one
            bound_send_buffer(connection.sock, settings.send_buffer or SEND_BUFFER_BYTES)
        under = ConnectionStream(connection.sock, b"", settings)
        try:
            with contained(logger, "a TLS connection failed"):
                await self._proxy(connection, under)
        finally:
            under.abort()
            connection.close()

    async def _proxy(self, connection: AcceptedConnection, under: ConnectionStream) -> None:
        stream = trio.SSLStream(under, self._context, server_side=True, https_compatible=True)
        try:
            await self._proxy_through(stream, connection)
        finally:
            break_cycles(stream)

    async def _proxy_through(self, stream: trio.SSLStream[ConnectionStream], connection: AcceptedConnection) -> None:
        self._server.tls_handshakes += 1
        with trio.move_on_after(self._handshake_timeout) as scope:
            try:
                await stream.do_handshake()
            except ORDINARY as error:
                _log_failure(connection, str(error.__cause__ or error))
                return
            finally:
                self._server.tls_handshakes -= 1
        if scope.cancelled_caught:
            _log_failure(connection, f"it took longer than {self._handshake_timeout:g} s")
            return
        near, far = socket.socketpair()
        far.setblocking(False)
        own(near)
        try:
            await self._pump(stream, near, far, connection)
        finally:
            disown(near)

    async def _pump(
        self,
        stream: trio.SSLStream[ConnectionStream],
        near: socket.socket,
        far: socket.socket,
        connection: AcceptedConnection,
    ) -> None:
        async with SocketStream(trio.socket.from_stdlib_socket(near)) as inside:
            self._server.read_request(AcceptedConnection(far, connection.client, connection.server, is_secure=True))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_pump_in, stream, inside)
                await _pump_out(inside, stream)
                nursery.cancel_scope.cancel(reason="the server has closed the connection")


def _log_failure(connection: AcceptedConnection, why: str) -> None:
    """At INFO for a mistake of ours or of the client's, not for noise."""
    level = logging.INFO if "HTTP_REQUEST" in why else logging.DEBUG
    what = "http or ws was spoken to a port with TLS" if level == logging.INFO else f"no TLS handshake: {why}"
    logger.log(level, what, extra={"client": client_name(connection.client)})


async def _pump_in(peer: trio.SSLStream[Any], inside: SocketStream) -> None:
    """From the peer to the server. When the server stops reading, so do we, and TCP pushes back."""
    try:
        while data := await peer.receive_some(RECEIVE_BYTES):
            await inside.send_all(data)
        await inside.send_eof()
    except ORDINARY:
        await inside.aclose()  # which wakes the other one


async def _pump_out(inside: SocketStream, peer: trio.SSLStream[Any]) -> None:
    """From the server to the peer, until the server closes; then TLS is closed too."""
    try:
        while data := await inside.receive_some(RECEIVE_BYTES):
            await peer.send_all(data)
        await peer.aclose()
    except ORDINARY:
        await inside.aclose()
