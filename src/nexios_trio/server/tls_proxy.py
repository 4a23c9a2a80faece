"""TLS, relayed: what the peer says through TLS arrives on a pair of sockets, and the lane has one end of it.

So a WebSocket over TLS has everything that the direct lane gives, and everything else reaches hypercorn, as without
TLS. The price is two more descriptors, two tasks, and a copy.
"""

import socket
import ssl
from collections.abc import Callable
from typing import Any

import attrs
import trio

from ..config.settings import Settings
from .accept import Arrival
from .errors import ORDINARY, contained
from .hypercorn.http1 import logger
from .hypercorn.stream import ServedStream
from .websocket_server import Lane

__all__ = ["DESCRIPTORS", "TlsRelays"]

DESCRIPTORS = 3  # for each connection
RECEIVE_SIZE = 65536


@attrs.frozen(eq=False)
class TlsRelays:
    """The TLS connections of one server. Their tasks live in the nursery that `start_soon` belongs to.

    Args:
        handshake_timeout: seconds for TLS alone; the lane's own comes after it.
    """

    _context: ssl.SSLContext
    _settings: Settings
    _handshake_timeout: float
    _lane: Lane
    _start_soon: Callable[..., None]

    def receive(self, sock: socket.socket, peer: Any) -> None:
        """Serve an accepted socket."""
        arrival = self._lane.admission.admit(sock, peer)
        if arrival is None:
            sock.close()  # nothing can be said before TLS is up
            return
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._start_soon(self._serve, arrival)

    async def _serve(self, arrival: Arrival) -> None:
        under = ServedStream(arrival.sock, b"", self._settings.write_timeout)
        try:
            with contained(logger, "a TLS connection failed"):
                await self._relay(arrival, under)
        finally:
            under.abort()
            arrival.leave()

    async def _relay(self, arrival: Arrival, under: ServedStream) -> None:
        stream = trio.SSLStream(under, self._context, server_side=True, https_compatible=True)
        try:
            await self._relay_through(stream, arrival)
        finally:
            vars(stream).clear()  # it refers to itself: 19 KiB that only a full collection would find

    async def _relay_through(self, stream: trio.SSLStream[ServedStream], arrival: Arrival) -> None:
        try:
            with trio.fail_after(self._handshake_timeout):
                await stream.do_handshake()
        except (*ORDINARY, trio.TooSlowError):
            return
        near, far = socket.socketpair()
        far.setblocking(False)
        async with trio.SocketStream(trio.socket.from_stdlib_socket(near)) as inside:
            self._lane.welcome(Arrival(far, arrival.client, arrival.server, is_secure=True))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_pump_in, stream, inside)
                await _pump_out(inside, stream)
                nursery.cancel_scope.cancel(reason="the lane has closed the connection")


async def _pump_in(peer: trio.SSLStream[Any], inside: trio.SocketStream) -> None:
    """From the peer to the lane. When the lane stops reading, so do we, and TCP pushes back."""
    try:
        while data := await peer.receive_some(RECEIVE_SIZE):
            await inside.send_all(data)
        await inside.send_eof()
    except ORDINARY:
        await inside.aclose()  # which wakes the other one


async def _pump_out(inside: trio.SocketStream, peer: trio.SSLStream[Any]) -> None:
    """From the lane to the peer, until the lane closes; then TLS says goodbye too."""
    try:
        while data := await inside.receive_some(RECEIVE_SIZE):
            await peer.send_all(data)
        await peer.aclose()
    except ORDINARY:
        await inside.aclose()
