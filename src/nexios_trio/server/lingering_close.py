"""Send a last response to a connection that will not be served, and close it without losing the response.

Closing a socket with unread bytes sends a reset, which may overtake the answer. So the answer goes out, our half is
closed, and what still comes is thrown away until the peer hangs up; for a moment, and for so many at a time.
"""

import logging
import socket
from collections import Counter
from typing import Final

import trio

from ..core.causes import ServerRefusal
from ..core.proxy_headers import Address
from ..logs.fields import client_name
from ..transports.epoll import PEER_LEFT, READ, Poller
from ..transports.timers import Timer, Timers
from .connection_limits import AcceptedConnection
from .request_head import http_response

__all__ = ["LingeringCloses", "log_refusal"]

logger = logging.getLogger("nexios_trio.server")

LINGER_SECONDS: Final = 1.0
MAX_LINGERING: Final = 32  # at a time: some are beyond the connection limit, and use its reserve of descriptors
RECEIVE_BYTES: Final = 65536


class LingeringCloses:
    """The connections that were refused and have not hung up yet. Owned by one server."""

    def __init__(self, poller: Poller, timers: Timers) -> None:
        self.poller = poller
        self.timers = timers
        self._lingering: set[LingeringClose] = set()
        self.refused: Counter[str] = Counter()  # by why, since the server began

    def refuse(self, connection: AcceptedConnection, why: ServerRefusal) -> None:
        """Answer with an HTTP error that is no secret, say why in the log, and close."""
        self.refused[why.name.lower()] += 1
        log_refusal(connection.client, why.status, why.explain())
        response = http_response(why.status, ((b"content-type", b"text/plain"),), f"{why.text}\n".encode())
        self.send_and_close(connection, response)

    def send_and_close(self, connection: AcceptedConnection, response: bytes) -> None:
        """Send a short response and close. Owns the connection from here on."""
        try:
            connection.sock.send(response)
            connection.sock.shutdown(socket.SHUT_WR)
        except OSError:
            connection.close()
            return
        if len(self._lingering) >= MAX_LINGERING:
            connection.close()
            return
        lingering = LingeringClose(self, connection)
        self._lingering.add(lingering)
        lingering.begin()

    def discard(self, lingering: "LingeringClose") -> None:
        self._lingering.discard(lingering)

    def close(self) -> None:
        """Close them all now."""
        for lingering in list(self._lingering):
            lingering.close()


def log_refusal(client: Address | None, status: int, why: str) -> None:
    """Log a request that no application sees, once for a flood of them."""
    logger.info("refused with %d: %s", status, why, extra={"client": client_name(client), "status": status})


class LingeringClose:
    """One of them. Owned by the poller."""

    __slots__ = ("_all", "_connection", "_timer", "interest")

    def __init__(self, all_closes: LingeringCloses, connection: AcceptedConnection) -> None:
        self._all = all_closes
        self._connection = connection
        self.interest = 0
        self._timer = Timer(self.close)

    def begin(self) -> None:
        self._all.poller.watch(self._connection.sock, self, READ | PEER_LEFT)
        self._all.timers.set(self._timer, trio.current_time() + LINGER_SECONDS)

    def ready(self, events: int) -> None:
        try:
            data = self._connection.sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()

    def failed(self, error: Exception) -> None:
        self.close()

    def close(self) -> None:
        self._all.poller.forget(self._connection.sock)
        self._all.timers.retire(self._timer)
        self._all.discard(self)
        self._connection.close()
