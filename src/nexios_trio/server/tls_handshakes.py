"""TLS handshakes that are under way: a socket and an alarm each, and no task.

Each step is a newcomer's turn (docs/decisions/005): who is connected comes first, and who stalls costs nobody anything.
OpenSSL's state is made for the client's first bytes, so that a connection that says nothing costs a descriptor.
"""

import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import trio

from ..core.proxy_headers import Address
from ..logs.fields import client_name
from ..transports.epoll import PEER_LEFT, READ, WRITE, Poller
from ..transports.timers import Timer, Timers
from ..transports.tls_socket import TlsSocket
from .connection_limits import AcceptedConnection

__all__ = ["TlsHandshakes"]

logger = logging.getLogger("nexios_trio.server")

DISCARD_BYTES: Final = 65536


class TlsHandshakes:
    """Those of one server.

    Args:
        on_done: owns the connection from its call on.
    """

    def __init__(self, poller: Poller, timers: Timers, on_done: Callable[[AcceptedConnection], None]) -> None:
        self.poller = poller
        self.timers = timers
        self.on_done = on_done
        self._underway: set[TlsHandshake] = set()
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._underway)

    def begin(self, connection: AcceptedConnection, context: ssl.SSLContext, timeout: float) -> None:
        """Wait for a client's handshake, so many seconds. The connection is ours until it is done."""
        if self._is_closed:
            connection.close()
            return
        handshake = TlsHandshake(self, connection, context, timeout)
        self._underway.add(handshake)
        handshake.begin()

    def discard(self, handshake: "TlsHandshake") -> None:
        self._underway.discard(handshake)

    def close(self) -> None:
        """Close them all, and whatever comes later."""
        self._is_closed = True
        for handshake in list(self._underway):
            handshake.close()


class TlsHandshake:
    """One of them. Owned by the poller, until it is done or too late."""

    __slots__ = ("_all", "_connection", "_context", "_timeout", "_timer", "interest")

    def __init__(
        self, handshakes: TlsHandshakes, connection: AcceptedConnection, context: ssl.SSLContext, timeout: float
    ) -> None:
        self._all = handshakes
        self._connection = connection
        self._context = context
        self._timeout = timeout
        self.interest = 0
        self._timer = Timer(self._time_out)

    def begin(self) -> None:
        self._all.timers.set(self._timer, trio.current_time() + self._timeout)
        self._all.poller.watch(self._connection.sock, self, READ | PEER_LEFT, newcomer=True)

    def ready(self, events: int) -> None:
        """Go a step further. Called by the poller."""
        if not events & (READ | WRITE):
            self.close()
            return
        try:
            self._step()
        except ssl.SSLWantReadError:
            self._watch(READ | PEER_LEFT)
        except ssl.SSLWantWriteError:
            self._watch(WRITE)
        except OSError as error:
            self._fail(str(error))
        else:
            self._stop()
            self._all.on_done(self._connection)

    def _step(self) -> None:
        connection = self._connection
        sock = connection.sock
        if not isinstance(sock, TlsSocket):
            self._all.poller.forget(sock)
            sock = self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            connection.encrypt_with(sock)
            self._all.poller.watch(sock, self, READ | PEER_LEFT, newcomer=True)
        sock.do_handshake()

    def _watch(self, events: int) -> None:
        if events != self.interest:
            self._all.poller.change(self._connection.sock, events)

    def failed(self, error: Exception) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection without an answer."""
        self._stop()
        self._connection.close()

    def _time_out(self) -> None:
        self._fail(f"it took longer than {self._timeout:g} s")

    def _fail(self, why: str) -> None:
        _log_failure(self._connection.client, why)
        with suppress(OSError):  # closing with unread bytes would send a reset, which overtakes OpenSSL's alert
            socket.socket.recv(self._connection.sock, DISCARD_BYTES)
        self.close()

    def _stop(self) -> None:
        self._all.poller.forget(self._connection.sock)
        self._all.timers.retire(self._timer)
        self._all.discard(self)


def _log_failure(client: Address | None, why: str) -> None:
    """At INFO for a mistake of ours or of the client's, not for noise."""
    level = logging.INFO if "HTTP_REQUEST" in why else logging.DEBUG
    what = "http or ws was spoken to a port with TLS" if level == logging.INFO else f"no TLS handshake: {why}"
    logger.log(level, what, extra={"client": client_name(client)})
