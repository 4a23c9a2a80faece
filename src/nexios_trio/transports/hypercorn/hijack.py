"""The direct lane inside hypercorn's trio worker: its socket, taken over when a WebSocket is accepted.

An application that runs under hypercorn's own command gets plain ASGI, where a message costs several tasks and a
stalled peer cannot be let go of. When the version and every shape match (plain TCP, HTTP/1.1), `claim` follows the ASGI
`send` back to the connection behind it,

    WSStream.app_send -> H11Protocol.stream_send -> TCPServer.protocol_send, TCPServer.stream

and puts a `Claim` in the place of the connection's protocol, where it keeps what comes before the handshake is answered
(hypercorn would refuse it with 400, and if that meets our answer, the process ends). The handshake is answered through
hypercorn. Then `complete` takes the socket out of trio's stream. Hypercorn's reader waits on that socket, is told that
it is closed, and comes to us with nothing; or it comes with the last bytes that it has read. Only from then on do we
read, so nothing is lost or overtaken, and the reader is kept until the connection is over. Everything else happens on
the socket itself. Where anything differs, nothing is touched.
"""

import functools
import importlib.metadata
import logging
import socket
import sys
from typing import Any

import trio
from websockets.exceptions import InvalidHeaderFormat

from ...asgi_types import Headers
from ...config.settings import Settings
from ...protocol import deflate
from ..base import Transport
from ..direct import DirectTransport
from ..epoll import Poller
from ..forks import disown, own
from ..lazy_event import LazyEvent
from ..send_queue import Outbox
from ..timers import Timers

logger = logging.getLogger("nexios_trio.takeover")

# docs/decisions/003
SUPPORTED_VERSION = "0.18."  # of hypercorn; `tests/e2e/test_takeover.py` holds its shapes
_told: set[str] = set()  # why not, each said once per process


class TakenOver(DirectTransport):
    """A socket that was hypercorn's."""

    __slots__ = ()
    name = "takeover"


class Claim:
    """Stands for the protocol of one hypercorn connection, whose socket may become ours. `release` must follow."""

    def __init__(self, server: Any, protocol: Any, websocket: Any, *, is_lost: bool, extension: bytes | None) -> None:
        self._server: Any = server
        self._protocol: Any = server.protocol
        self._websocket: Any = websocket
        self._extension = extension  # the answer to an offer of compression
        self._received = bytes(protocol.connection.buffer)
        self._sock: socket.socket | None = None  # once it is ours
        self._transport: TakenOver | None = None
        self._settled = LazyEvent()  # who gets what is read
        self._has_arrived = False  # hypercorn's reader
        self._is_over = LazyEvent()
        self.is_lost = is_lost  # the peer is gone, or hypercorn is sending it away
        protocol.connection.buffer.clear()
        websocket.handshake.extensions = None  # hypercorn's compression would be another one than ours
        server.protocol = self

    @property
    def headers(self) -> Headers:
        """For the response to the handshake."""
        return [(b"sec-websocket-extensions", self._extension)] if self._extension is not None else []

    async def handle(self, event: Any) -> None:
        """Hypercorn's way in: its reader has read something (`data`, empty at the end), or the stream is `Closed`."""
        data: bytes = getattr(event, "data", b"")
        if data and not self._settled.is_set():
            self._received, data = self._received + data, b""
            await self._settled.wait()
        if self._is_over.is_set() and self._server is None:
            await trio.lowlevel.checkpoint()  # the connection was ours, and is over
        elif self._transport is not None:
            if not self._has_arrived:
                self._has_arrived = True
                self._transport.inherit(self._received + data)
            await self._is_over.wait()
        elif not data:
            self.is_lost = True
            await self._protocol.handle(event)

    def complete(
        self, asgi: Transport, outbox: Outbox | None, poller: Poller, timers: Timers, settings: Settings
    ) -> TakenOver | None:
        """The handshake is answered: go on for `asgi` on the socket. None when the peer has left meanwhile."""
        websocket, outer = self._websocket, self._server.stream.socket
        if self.is_lost or websocket.closed or outer.fileno() < 0:
            return None
        websocket.closed = True  # its pings end, and what its application still sends goes nowhere
        # Nobody looks at these again, and they are most of the connection's memory.
        websocket.send = websocket.connection = websocket.handshake = websocket.buffer = None
        self._sock = _detach(outer)
        own(self._sock)
        self._transport = TakenOver(asgi.scope, settings, self._sock, poller, deflate=self._extension is not None)
        self._server = self._protocol = self._websocket = None
        self._transport.adopt(asgi, outbox, timers)
        self._settled.set()
        return self._transport

    def release(self) -> None:
        """Hypercorn may end the connection."""
        if self._transport is None and self.is_lost:
            self._websocket.closed = True
            self._server.stream.socket.close()  # or one that was refused would stay open as long as its peer likes
        self._settled.set()
        self._is_over.set()
        if self._sock is not None:
            disown(self._sock)
        self._sock = self._transport = None  # hypercorn may keep this longer than the connection lasts


def _detach(outer: trio.socket.SocketType) -> socket.socket:
    """The socket inside trio's, for which it counts as closed from here on."""
    trio.lowlevel.notify_closing(outer)
    sock = socket.socket(outer.family, outer.type, outer.proto, fileno=outer.detach())
    sock.setblocking(False)
    return sock


def claim(receive: Any, send: Any, settings: Settings) -> Claim | None:
    """The connection behind ASGI's `receive` and `send`, if it is one of hypercorn's that we know how to take over."""
    if "hypercorn.trio.tcp_server" not in sys.modules:
        return None
    try:
        if not _version().startswith(SUPPORTED_VERSION):
            raise Mismatch(f"hypercorn is {_version()}, supported is {SUPPORTED_VERSION}x")
        return _follow(receive, send, settings)
    except Mismatch as mismatch:
        reason = str(mismatch)
    except (AttributeError, ImportError) as error:
        reason = f"hypercorn is not as expected: {error}"
    if reason not in _told and _serves_this_task():
        _told.add(reason)
        logger.info("WebSockets go the plain ASGI way: %s", reason)
    return None


def _serves_this_task() -> bool:
    """Tell whether hypercorn has called the application: it may be imported, and the server be another one."""
    task: trio.lowlevel.Task | None = trio.lowlevel.current_task()
    while task is not None:
        if task.name.startswith("hypercorn."):
            return True
        task = task.parent_nursery.parent_task if task.parent_nursery is not None else None
    return False


class Mismatch(Exception):
    """Not a connection that can be taken over. Says why."""


@functools.cache
def _version() -> str:
    return importlib.metadata.version("hypercorn")


def _follow(receive: Any, send: Any, settings: Settings) -> Claim | None:
    import h11
    from hypercorn.protocol import ProtocolWrapper
    from hypercorn.protocol.h11 import H11Protocol, H11WSConnection
    from hypercorn.protocol.ws_stream import ASGIWebsocketState, Handshake, WSStream
    from hypercorn.trio.tcp_server import TCPServer

    between = "something stands between hypercorn and the application"
    _owner(receive, trio.MemoryReceiveChannel, "receive", between)
    websocket = _owner(send, WSStream, "app_send", between)
    protocol = _owner(websocket.send, H11Protocol, "stream_send", "the connection is not HTTP/1.1")
    server = _owner(protocol.send, TCPServer, "protocol_send", "the server is not hypercorn's trio worker")
    _exactly(server.stream, trio.SocketStream, "the connection is not a plain socket")
    changed = "the connection's protocol is not as expected"
    _exactly(server.protocol, ProtocolWrapper, changed)
    _exactly(protocol.connection, H11WSConnection, changed)
    _exactly(protocol.connection.buffer, bytearray, changed)
    _exactly(protocol.connection.h11_connection, h11.Connection, changed)
    _exactly(websocket.handshake, Handshake, changed)
    if server.protocol.protocol is not protocol or protocol.stream is not websocket or protocol.ssl:
        raise Mismatch(changed)
    if websocket.closed or websocket.state is not ASGIWebsocketState.HANDSHAKE or server.stream.socket.fileno() < 0:
        return None  # the peer has left
    is_answered = protocol.connection.h11_connection.our_state is not h11.SEND_RESPONSE
    extension = _answer_offers(websocket.handshake.extensions) if settings.compression else None
    return Claim(server, protocol, websocket, is_lost=is_answered, extension=extension)


def _owner(method: Any, owner: type, name: str, otherwise: str) -> Any:
    """The object that a bound method belongs to, if it is the one and not an override or something around it."""
    found = getattr(method, "__self__", None)
    if type(found) is not owner or method.__func__ is not getattr(owner, name):
        raise Mismatch(otherwise)
    return found


def _exactly(value: object, kind: type, otherwise: str) -> None:
    if type(value) is not kind:
        raise Mismatch(otherwise)


def _answer_offers(extensions: list[str] | None) -> bytes | None:
    try:
        return deflate.answer_offers(extensions or ())
    except InvalidHeaderFormat:
        return None
