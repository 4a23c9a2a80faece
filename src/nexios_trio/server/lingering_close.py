"""The last words to a connection that will not be served.

Closing a socket with unread bytes sends a reset, which may overtake the answer. So the answer goes out, our half is
closed, and what still comes is thrown away until the peer hangs up; for a moment, and for so many at a time.
"""

import logging
import socket
from typing import Final

import trio

from ..transports.epoll import PEER_LEFT, READ, Poller
from ..transports.timers import Timer, Timers
from .accept import Arrival
from .request_head import http_response

__all__ = ["Farewells"]

logger = logging.getLogger("nexios_trio.server")

LINGER: Final = 1.0  # seconds
MOST: Final = 32  # at a time: some are beyond the connection limit, and use its reserve of descriptors
RECEIVE_SIZE: Final = 65536


class Farewells:
    """The connections that were sent away and have not hung up yet. Owned by one server."""

    def __init__(self, poller: Poller, timers: Timers) -> None:
        self.poller = poller
        self.timers = timers
        self._lingering: set[Lingering] = set()

    def refuse(self, arrival: Arrival, status: int, text: str) -> None:
        """Answer with an HTTP error that is no secret, and close."""
        fields = {"client": arrival.client[0] if arrival.client else None, "code": status, "reason": text.strip()}
        logger.info("a request was refused with %d: %s", status, text.strip(), extra=fields)
        self.say(arrival, http_response(status, ((b"content-type", b"text/plain"),), text.encode()))

    def say(self, arrival: Arrival, response: bytes) -> None:
        """Send a short response and close. Owns the arrival from here on."""
        try:
            arrival.sock.send(response)
            arrival.sock.shutdown(socket.SHUT_WR)
        except OSError:
            arrival.leave()
            return
        if len(self._lingering) >= MOST:
            arrival.leave()
            return
        lingering = Lingering(self, arrival)
        self._lingering.add(lingering)
        lingering.begin()

    def discard(self, lingering: "Lingering") -> None:
        self._lingering.discard(lingering)

    def end(self) -> None:
        """Close them all."""
        for lingering in list(self._lingering):
            lingering.end()


class Lingering:
    """One of them. Owned by the poller."""

    __slots__ = ("_arrival", "_farewells", "_timer", "interest")

    def __init__(self, farewells: Farewells, arrival: Arrival) -> None:
        self._farewells = farewells
        self._arrival = arrival
        self.interest = 0
        self._timer = Timer(self.end)

    def begin(self) -> None:
        self._farewells.poller.watch(self._arrival.sock, self, READ | PEER_LEFT)
        self._farewells.timers.set(self._timer, trio.current_time() + LINGER)

    def ready(self, events: int) -> None:
        try:
            data = self._arrival.sock.recv(RECEIVE_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.end()

    def failed(self, error: Exception) -> None:
        self.end()

    def end(self) -> None:
        self._farewells.poller.forget(self._arrival.sock)
        self._farewells.timers.retire(self._timer)
        self._farewells.discard(self)
        self._arrival.leave()
