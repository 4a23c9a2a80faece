"""The socket of one peer, the state that it is in, and what the poller watches it for."""

import socket
import struct
from abc import abstractmethod
from typing import Final, cast

import trio
from trio.lowlevel import checkpoint

from ...asgi_types import Scope
from ...config.settings import Settings
from ..base import Transport
from ..epoll import PEER_LEFT, READ, Poller, Watched
from .states import State, Step, next_state

# docs/decisions/005
RECEIVE_BYTES: Final = 1536  # one read of the shortest frames keeps the others waiting for a third of a millisecond
DISCARD_BYTES: Final = 65536
DISCARD_READS: Final = 16
# SO_LINGER on, 0 seconds: closing sends a reset and drops what the kernel holds
LINGER_RESET: Final = struct.pack("ii", 1, 0)


class DirectSocket(Transport):
    """One non-blocking socket of ours. Whoever has `own`ed it (`forks`) disowns it, later than it is closed."""

    __slots__ = (
        "_is_watched",
        "_may_read",
        "_moved",
        "_poller",
        "_sock",
        "_sock_recv",
        "_sock_send",
        "interest",
        "state",
    )

    def __init__(self, scope: Scope, settings: Settings, sock: socket.socket, poller: Poller) -> None:
        super().__init__(scope, settings)
        self._sock = sock
        self._sock_send = sock.send
        self._sock_recv = sock.recv
        self._poller = poller
        self.interest = 0
        self.state = State.CONNECTING
        self._is_watched = False
        self._may_read = True  # nobody else reads from the socket
        self._moved: trio.Event | None = None  # somebody waits for the next change of state

    @abstractmethod
    def _plant_write_now(self) -> None:
        """Tell the memberships how they can be written to: the state is CLEAR from now on, or no longer."""

    def _move(self, step: Step) -> None:
        """Raises: LifecycleError for what cannot happen now."""
        before = self.state
        after = next_state(before, step)
        if after is before:
            return
        self.state = after
        if before is State.CLEAR or after is State.CLEAR:
            self._plant_write_now()
        moved, self._moved = self._moved, None
        if moved is not None:
            moved.set()

    async def _until_gone(self) -> None:
        """Until the socket is closed. Checkpoint: if it is not."""
        while self.state is not State.GONE:
            await self._until_moved()

    async def _until_flushed(self) -> None:
        """Until the kernel has everything, or the socket is closed. Checkpoint: always."""
        if self.state.is_flushed:
            await checkpoint()
        while not self.state.is_flushed:
            await self._until_moved()

    async def _until_moved(self) -> None:
        if self._moved is None:
            self._moved = trio.Event()
        await self._moved.wait()

    def _watch(self, events: int) -> None:
        if not self._may_read:
            events &= ~(READ | PEER_LEFT)
        if self.state is State.GONE or events == self.interest:
            return
        if self._is_watched:
            self._poller.change(self._sock, events)
        else:  # from here on the poller's task calls `Reader.ready`
            self._poller.watch(self._sock, cast(Watched, self), events)
            self._is_watched = True

    def _discard_received(self) -> None:
        """Throw away what has come: closing a socket with unread bytes sends a reset, which overtakes our goodbye."""
        try:
            for _ in range(DISCARD_READS):
                self._sock_recv(DISCARD_BYTES)
        except OSError:
            pass

    def _shut_down_writing(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._let_go(reset=True)

    def _let_go(self, *, reset: bool) -> None:
        """Close the socket."""
        if self.state is State.GONE:
            return
        self._move(Step.LET_GO)
        self._poller.forget(self._sock)
        if reset:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
        self._sock.close()

    def _abort(self) -> None:
        self._let_go(reset=True)
