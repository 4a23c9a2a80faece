"""A connection whose request has not come yet: a socket, a buffer and an alarm, and no task."""

import re
from collections.abc import Callable

import trio

from ..config.settings import Settings
from ..transports.epoll import PEER_LEFT, READ, Poller
from ..transports.timers import Timer, Timers
from .accept import Arrival
from .lingering_close import Farewells

__all__ = ["Greeting", "Greetings"]

# Some clients end lines with LF alone. The request is hypercorn's then, whatever it asks for.
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_NO_REQUEST = re.compile(rb"[^A-Za-z\r\n]")  # as a first byte: a TLS hello, or noise

Greeted = Callable[[Arrival, bytes, int], None]


class Greetings:
    """The connections of one server that have not said what they want.

    Args:
        greeted: called with the arrival, what was received, and the length of the request's head.
    """

    def __init__(
        self, settings: Settings, poller: Poller, timers: Timers, farewells: Farewells, greeted: Greeted
    ) -> None:
        self.settings = settings
        self.poller = poller
        self.timers = timers
        self.farewells = farewells
        self.greeted = greeted
        self._present: set[Greeting] = set()
        self.is_closed = False

    def __len__(self) -> int:
        return len(self._present)

    def begin(self, arrival: Arrival) -> None:
        if self.is_closed:
            arrival.leave()
            return
        greeting = Greeting(self, arrival)
        self._present.add(greeting)
        greeting.begin()

    def discard(self, greeting: "Greeting") -> None:
        self._present.discard(greeting)

    def close(self) -> None:
        """Close them all, and whatever comes later."""
        self.is_closed = True
        for greeting in list(self._present):
            greeting.drop()


class Greeting:
    """One of them. Owned by the poller, until the head is whole or too late."""

    __slots__ = ("_all", "_arrival", "_received", "_timer", "interest")

    def __init__(self, greetings: Greetings, arrival: Arrival) -> None:
        self._all = greetings
        self._arrival = arrival
        self._received = b""
        self.interest = 0
        self._timer = Timer(self._too_late)

    def begin(self) -> None:
        self._all.poller.watch(self._arrival.sock, self, READ | PEER_LEFT, newcomer=True)
        self._all.timers.set(self._timer, trio.current_time() + self._all.settings.handshake_timeout)

    def ready(self, events: int) -> None:
        if not events & READ:
            self.drop()
            return
        try:
            data = self._arrival.sock.recv(self._all.settings.max_handshake_size)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._received += data
            self._look()
        else:
            self.drop()

    def failed(self, error: Exception) -> None:
        self.drop()

    def drop(self) -> None:
        self._leave()
        self._arrival.leave()

    def _look(self) -> None:
        found = _HEAD_END.search(self._received)
        size = found.end() if found is not None else len(self._received)
        if size > self._all.settings.max_handshake_size:
            self._refuse(431, "the request head is too large\n")
        elif found is not None:
            self._leave()
            self._all.greeted(self._arrival, self._received, size)
        elif _NO_REQUEST.match(self._received):
            self._refuse(400, "this is not an HTTP request\n")

    def _too_late(self) -> None:
        if self._received:
            self._refuse(408, "the request took too long\n")
        else:
            self.drop()

    def _refuse(self, status: int, text: str) -> None:
        self._leave()
        self._all.farewells.refuse(self._arrival, status, text)

    def _leave(self) -> None:
        self._all.poller.forget(self._arrival.sock)
        self._all.timers.retire(self._timer)
        self._all.discard(self)
