"""Accept connections from a listening socket, which several workers may share.

The kernel gives a connection to whoever asks first. So a worker that is ahead of the others lets some milliseconds pass
before it asks: one with fewer connections, which was woken by the same connection, takes it. Where nobody does, because
they stand still or have too much to do, it takes that one itself.
"""

import logging
import socket
from collections.abc import Callable
from errno import EMFILE, ENFILE, ENOBUFS, ENOMEM
from typing import Any, Final

import trio

from .worker_loads import WorkerLoad

logger = logging.getLogger("nexios_trio.server")

__all__ = ["accept_forever"]

MAX_ACCEPTS_PER_ROUND: Final = 64  # connections between two checkpoints
EXHAUSTED_PAUSE_SECONDS: Final = 0.1  # without accepting when the system has no descriptors left
EXHAUSTED: Final = (EMFILE, ENFILE, ENOBUFS, ENOMEM)
MAX_LEAD: Final = 4  # connections more than another worker has, before that one is given way to
LOOK_AGAIN_SECONDS: Final = 0.001
LOOKS_PER_CONNECTION: Final = 20  # of a worker that is ahead


async def accept_forever(
    listener: socket.socket, accept_connection: Callable[[socket.socket, Any], None], load: WorkerLoad | None = None
) -> None:
    """Call `accept_connection(sock, peer)` for every connection.

    Cancellation: between two rounds; the listener stays open.

    Args:
        load: of this worker, where there are others. Whoever counts the connections tells it.
    """
    if load is None:
        await _accept(listener, accept_connection, None)
    else:
        with load.accepting():
            await _accept(listener, accept_connection, _Turns(load))


async def _accept(
    listener: socket.socket, accept_connection: Callable[[socket.socket, Any], None], turns: "_Turns | None"
) -> None:
    while True:
        await trio.lowlevel.wait_readable(listener)
        most = MAX_ACCEPTS_PER_ROUND if turns is None else turns.share()
        if not most:
            await trio.sleep(LOOK_AGAIN_SECONDS)
            continue
        try:
            for _ in range(most):
                sock, peer = listener.accept()
                sock.setblocking(False)
                accept_connection(sock, peer)
                if turns is not None and turns.is_ahead:
                    break
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno in EXHAUSTED:
                logger.warning("cannot accept connections: %s", error.strerror)
                await trio.sleep(EXHAUSTED_PAUSE_SECONDS)
            # else this one connection was gone before we got to it


class _Turns:
    """How many connections a worker may take whenever it sees that there are some."""

    def __init__(self, load: WorkerLoad) -> None:
        self._load = load
        self._given_way = 0  # looks at which it took none, in a row
        self._looks: dict[int, int] = {}  # of the others, when that began

    @property
    def is_ahead(self) -> bool:
        return self._load.lead() > MAX_LEAD

    def share(self) -> int:
        """Return how many to take at this look: none where others are given way to, and one after a while of that."""
        self._load.look()
        if not self.is_ahead:
            self._given_way = 0
            return MAX_ACCEPTS_PER_ROUND
        if not self._given_way:
            self._looks = self._load.looks()
        self._given_way += 1
        if self._given_way < LOOKS_PER_CONNECTION:
            return 0
        self._given_way = 0
        self._load.overlook(self._looks)
        return 1
