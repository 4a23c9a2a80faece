"""One task that watches many sockets: a private epoll descriptor, itself watched by trio.

A task per socket that waits, wakes and waits again costs several times what one message does. Here one task wakes when
anything is ready and calls whoever is; none of them may block.
"""

import logging
import select
import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager
from time import perf_counter
from typing import Protocol

import trio

logger = logging.getLogger("nexios_trio.poller")

IS_AVAILABLE = sys.platform == "linux"
MAX_EVENTS = 256  # asked for at a time
LONG = 0.002  # seconds between two checkpoints: other tasks should not wait longer because some peers keep us busy

# Elsewhere nothing is watched, and these only have to exist.
READ = select.EPOLLIN if IS_AVAILABLE else 0
WRITE = select.EPOLLOUT if IS_AVAILABLE else 0
PEER_LEFT = select.EPOLLRDHUP if IS_AVAILABLE else 0
BROKEN = select.EPOLLHUP | select.EPOLLERR if IS_AVAILABLE else 0


class Watched(Protocol):
    """Who owns a socket."""

    def ready(self, events: int) -> None:
        """Some of READ, WRITE, PEER_LEFT, BROKEN happened. Must not block."""

    def failed(self, error: Exception) -> None:
        """`ready` raised, which is a mistake of ours. Let go of the socket."""


class Poller:
    """Sockets and their owners. Owned by the block that runs it; closed when that ends."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._owners: dict[int, Watched] = {}

    def __len__(self) -> int:
        return len(self._owners)

    def watch(self, sock: socket.socket, owner: Watched, events: int) -> None:
        fd = sock.fileno()
        self._epoll.register(fd, events)
        self._owners[fd] = owner

    def change(self, sock: socket.socket, events: int, owner: Watched | None = None) -> None:
        fd = sock.fileno()
        self._epoll.modify(fd, events)
        if owner is not None:
            self._owners[fd] = owner

    def forget(self, sock: socket.socket) -> None:
        """Stop watching; must come before the socket is closed. A no-op for one that is not watched."""
        fd = sock.fileno()
        if self._owners.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    async def run(self) -> None:
        """Call the owners of what is ready, for ever. Cancellation: between two rounds."""
        owners = self._owners
        poll = self._epoll.poll
        descriptor = self._epoll.fileno()
        while True:
            await trio.lowlevel.wait_readable(descriptor)
            ready = [(fd, events, owners.get(fd)) for fd, events in poll(0, MAX_EVENTS)]
            pause_at = perf_counter() + LONG
            for fd, events, owner in ready:
                if perf_counter() > pause_at:
                    await trio.lowlevel.checkpoint()
                    pause_at = perf_counter() + LONG
                if owner is None or owners.get(fd) is not owner:  # gone meanwhile
                    continue
                try:
                    owner.ready(events)
                except Exception as error:
                    logger.exception("a connection failed")
                    owner.failed(error)

    def close(self) -> None:
        self._owners.clear()
        self._epoll.close()


@contextmanager
def open_poller() -> Generator[Poller]:
    """A poller that is closed with the block."""
    poller = Poller()
    try:
        yield poller
    finally:
        poller.close()
