"""The direct lane inside hypercorn's trio worker: its socket, taken over when a WebSocket is accepted.

An application that runs under hypercorn's own command gets plain ASGI, where a message costs several tasks and a
stalled peer cannot be let go of. When the version and every shape match (plain TCP, HTTP/1.1), `claim` follows the ASGI
`send` back to the connection behind it,

    WSStream.app_send -> H11Protocol.stream_send -> TCPServer.protocol_send, TCPServer.stream

and puts a `Claim` in the place of the connection's protocol. What hypercorn still reads goes to our parser, and
hypercorn then waits until we are done; everything else happens on the socket itself. Where anything differs, nothing is
touched.
"""

import functools
import importlib.metadata
import logging
import socket
import sys
from typing import Any

import trio

from ..core.settings import Settings
from .base import Transport
from .direct import DirectTransport
from .outbox import Outbox
from .poller import Poller
from .sweeper import Sweeper

logger = logging.getLogger("nexios_trio.takeover")

SUPPORTED = "0.18."  # of hypercorn; `tests/e2e/test_takeover.py` holds its shapes
_told: set[str] = set()  # why not, each said once per process


class Claim:
    """Stands for the protocol of one hypercorn connection: takes what is read, and keeps the connection open."""

    def __init__(self, server: Any, websocket: Any) -> None:
        self._server = server
        self._websocket: Any = websocket
        self._protocol: Any = server.protocol
        self._held: list[Any] = []  # what was read while it was not settled who gets it
        self._transport: DirectTransport | None = None
        self._is_over = trio.Event()
        server.protocol = self

    async def handle(self, event: Any) -> None:
        """Hypercorn's way in: `RawData` or `Closed`."""
        if self._transport is None:
            self._held.append(event)
            await trio.lowlevel.checkpoint()
            return
        self._take(event)
        await self._is_over.wait()

    def complete(
        self, asgi: Transport, outbox: Outbox | None, poller: Poller, sweeper: Sweeper | None, settings: Settings
    ) -> DirectTransport:
        """The handshake is answered: the socket is ours, and so is what `asgi` has begun."""
        websocket: Any = self._websocket
        websocket.closed = True  # its pings end, and what its application still sends goes nowhere
        # Nobody looks at these again, and they are most of the connection's memory.
        websocket.send = websocket.connection = websocket.handshake = websocket.buffer = None
        self._websocket = self._protocol = None
        self._transport = direct = DirectTransport(
            asgi.scope,
            settings,
            _Socket(self._server.stream.socket, self._is_over),  # type: ignore[arg-type]  # what is used of one
            poller,
        )
        direct.adopt(asgi, outbox, sweeper)
        for event in self._held:
            self._take(event)
        return direct

    def abandon(self) -> None:
        """The handshake was not answered, so the peer is gone; what it sent is of no use to anybody."""
        self._server.protocol = self._protocol

    def _take(self, event: Any) -> None:
        if self._transport is not None:
            data = getattr(event, "data", b"")  # Closed has none
            self._transport.inherit(data)


class _Socket:
    """The socket inside trio's, closed through trio so that whoever waits for it is told."""

    def __init__(self, outer: trio.socket.SocketType, is_over: trio.Event) -> None:
        inner: socket.socket = outer._sock  # type: ignore[attr-defined]
        self._outer = outer
        self._is_over = is_over
        self.send, self.recv, self.fileno = inner.send, inner.recv, inner.fileno
        self.setsockopt, self.shutdown = inner.setsockopt, inner.shutdown

    def close(self) -> None:
        self._outer.close()
        self._is_over.set()


def claim(send: Any) -> Claim | None:
    """The connection behind an ASGI `send`, if it is one of hypercorn's that we know how to take over.

    Its handshake must be answered next, and `complete` or `abandon` must follow without a checkpoint in between.
    """
    if "hypercorn.protocol.ws_stream" not in sys.modules:
        return None
    version = _version()
    if not version.startswith(SUPPORTED):
        return _no(f"hypercorn is {version}, supported is {SUPPORTED}x")
    return _follow(send)


@functools.cache
def _version() -> str:
    return importlib.metadata.version("hypercorn")


def _follow(send: Any) -> Claim | None:
    from hypercorn.protocol.h11 import H11Protocol, H11WSConnection
    from hypercorn.protocol.ws_stream import Handshake, WSStream
    from hypercorn.trio.tcp_server import TCPServer

    websocket = getattr(send, "__self__", None)
    if type(websocket) is not WSStream or send.__func__ is not WSStream.app_send:
        return _no("something stands between hypercorn and the application")
    protocol: Any = getattr(websocket.send, "__self__", None)
    if type(protocol) is not H11Protocol or type(protocol.connection) is not H11WSConnection or protocol.ssl:
        return _no("the connection is not plain HTTP/1.1")
    server: Any = getattr(protocol.send, "__self__", None)
    is_server = isinstance(server, TCPServer)
    if not is_server or getattr(protocol.send, "__func__", None) is not TCPServer.protocol_send:
        return _no("the connection is not of the trio worker")
    if type(server.stream) is not trio.SocketStream or type(_inner(server.stream)) is not socket.socket:
        return _no("the connection is not a plain socket")
    if getattr(server.protocol, "protocol", None) is not protocol or type(websocket.handshake) is not Handshake:
        return _no("the connection's protocol was replaced")
    websocket.handshake.extensions = None  # no compression: ours would need another agreement
    return Claim(server, websocket)


def _inner(stream: trio.SocketStream) -> Any:
    return getattr(stream.socket, "_sock", None)


def _no(reason: str) -> Claim | None:
    if reason not in _told:
        _told.add(reason)
        logger.info("WebSockets go the plain ASGI way: %s", reason)
    return None
