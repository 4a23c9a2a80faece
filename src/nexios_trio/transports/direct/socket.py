"""The socket, and what the poller watches it for."""

import socket
import struct
from typing import cast

import trio

from ...config.settings import Settings
from ..base import Scope, Transport
from ..epoll import PEER_LEFT, READ, Poller, Watched

RECEIVE_SIZE = 1536  # one read of the shortest frames keeps the others waiting for a third of a millisecond
SKIM_SIZE = 65536
# SO_LINGER on, 0 seconds: closing sends a reset and drops what the kernel holds
RESET = struct.pack("ii", 1, 0)


class Wire(Transport):
    """One non-blocking socket of ours."""

    __slots__ = (
        "_gone",
        "_is_gone",
        "_is_watched",
        "_may_read",
        "_poller",
        "_sock",
        "_sock_recv",
        "_sock_send",
        "interest",
    )

    def __init__(self, scope: Scope, settings: Settings, sock: socket.socket, poller: Poller) -> None:
        super().__init__(scope, settings)
        self._sock = sock
        self._sock_send = sock.send
        self._sock_recv = sock.recv
        self._poller = poller
        self.interest = 0
        self._is_watched = False
        self._may_read = True
        self._is_gone = False  # the socket is closed
        self._gone: trio.Event | None = None  # somebody waits for that

    def _watch(self, events: int) -> None:
        if not self._may_read:
            events &= ~(READ | PEER_LEFT)
        if self._is_gone or events == self.interest:
            return
        if self._is_watched:
            self._poller.change(self._sock, events)
        else:
            self._poller.watch(self._sock, cast(Watched, self), events)
            self._is_watched = True

    def _skim(self) -> None:
        """Throw away what has come: closing a socket with unread bytes sends a reset, which overtakes our goodbye."""
        try:
            for _ in range(16):
                self._sock_recv(SKIM_SIZE)
        except OSError:
            pass

    def _shut_down_writing(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._let_go(reset=True)

    def _let_go(self, *, reset: bool) -> None:
        """Close the socket."""
        if self._is_gone:
            return
        self._is_gone = True
        self._poller.forget(self._sock)
        if reset:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._sock.close()
        if self._gone is not None:
            self._gone.set()

    def _abort(self) -> None:
        self._let_go(reset=True)
