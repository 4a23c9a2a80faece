"""A connection whose request has not come yet: a socket, a buffer and an alarm, and no task."""

import re
from collections.abc import Callable
from typing import Final

import trio

from ..config.settings import Settings
from ..core.causes import ServerRefusal
from ..transports.epoll import PEER_LEFT, READ, Poller
from ..transports.timers import Timer, Timers
from ..transports.tls_socket import RECORD_BYTES
from .connection_limits import AcceptedConnection
from .lingering_close import LingeringCloses
from .server_settings import ServerSettings

__all__ = ["OnRequest", "RequestReader", "RequestReaders"]

_NO_REQUEST = re.compile(rb"[^A-Za-z\r\n]")  # as a first byte: a TLS hello, or noise

TLS_HANDSHAKE: Final = 22  # the first byte of a client that speaks TLS

# Called with a connection, what it has sent, and the length of the request's head in that.
# `WebSocketServer` puts its `_route_request` here.
OnRequest = Callable[[AcceptedConnection, bytes, int], None]


class RequestReaders:
    """The connections of one server whose first request is not whole yet.

    Args:
        on_request: owns the connection from its call on.
    """

    def __init__(
        self, adopted: ServerSettings, poller: Poller, timers: Timers, closes: LingeringCloses, on_request: OnRequest
    ) -> None:
        self._adopted = adopted
        self.poller = poller
        self.timers = timers
        self.closes = closes
        self.on_request = on_request
        self._reading: set[RequestReader] = set()
        self.is_closed = False

    @property
    def settings(self) -> Settings:
        return self._adopted.settings

    def __len__(self) -> int:
        return len(self._reading)

    def read(self, connection: AcceptedConnection) -> None:
        """Wait for the request of a connection, which is ours until then."""
        if self.is_closed:
            connection.close()
            return
        reader = RequestReader(self, connection)
        self._reading.add(reader)
        reader.begin()

    def is_reading(self, reader: "RequestReader") -> bool:
        return reader in self._reading

    def discard(self, reader: "RequestReader") -> None:
        self._reading.discard(reader)

    def close(self) -> None:
        """Close them all, and whatever comes later."""
        self.is_closed = True
        for reader in list(self._reading):
            reader.close()


class RequestReader:
    """One of them. Owned by the poller, until the head is whole or too late."""

    __slots__ = ("_all", "_connection", "_received", "_timer", "interest")

    def __init__(self, readers: RequestReaders, connection: AcceptedConnection) -> None:
        self._all = readers
        self._connection = connection
        self._received = b""
        self.interest = 0
        self._timer: Timer | None = None  # while we wait

    def begin(self) -> None:
        """Read what has come with the connection, which often is the whole request; else wait for it."""
        self._all.poller.serve_at_once(self)
        if not self._all.is_reading(self):
            return
        self._timer = Timer(self._time_out)
        self._all.poller.watch(self._connection.sock, self, READ | PEER_LEFT, newcomer=True)
        self._all.timers.set(self._timer, trio.current_time() + self._all.settings.handshake_timeout)

    def ready(self, events: int) -> None:
        """Read what has come. Called by the poller."""
        if not events & READ:
            self.close()
            return
        try:
            data = self._connection.sock.recv(max(self._all.settings.max_handshake_size, RECORD_BYTES))
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._received += data
            self._look_for_end()
        else:
            self.close()

    def failed(self, error: Exception) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection without an answer."""
        self._stop_reading()
        self._connection.close()

    def _look_for_end(self) -> None:
        size = _head_size(self._received)
        if (size or len(self._received)) > self._all.settings.max_handshake_size:
            self._refuse(ServerRefusal.HEAD_TOO_BIG)
        elif size:
            self._stop_reading()
            self._all.on_request(self._connection, self._received, size)
        elif _NO_REQUEST.match(self._received):
            is_tls = self._received[0] == TLS_HANDSHAKE
            self._refuse(ServerRefusal.TLS_WITHOUT if is_tls else ServerRefusal.NO_REQUEST)

    def _time_out(self) -> None:
        if self._received:
            self._refuse(ServerRefusal.TOO_SLOW)
        else:
            self.close()

    def _refuse(self, why: ServerRefusal) -> None:
        self._stop_reading()
        self._all.closes.refuse(self._connection, why)

    def _stop_reading(self) -> None:
        if self._timer is not None:
            self._all.poller.forget(self._connection.sock)
            self._all.timers.retire(self._timer)
        self._all.discard(self)


def _head_size(received: bytes) -> int:
    """Return how long the head is, with the empty line that ends it; 0 while that has not come.

    Some clients end lines with LF alone. The request is hypercorn's then, whatever it asks for.
    """
    crlf, lf = received.find(b"\n\r\n"), received.find(b"\n\n")
    if lf >= 0 and not 0 <= crlf < lf:
        return lf + 2
    return crlf + 3 if crlf >= 0 else 0
