"""Accept connections from a listening socket."""

import logging
import socket
from collections.abc import Callable
from errno import EMFILE, ENFILE, ENOBUFS, ENOMEM
from typing import Any, Final

import trio

logger = logging.getLogger("nexios_trio.server")

__all__ = ["accept_forever"]

MAX_ACCEPTS_PER_ROUND: Final = 64  # connections between two checkpoints
EXHAUSTED_PAUSE_SECONDS: Final = 0.1  # without accepting when the system has no descriptors left
EXHAUSTED: Final = (EMFILE, ENFILE, ENOBUFS, ENOMEM)


async def accept_forever(listener: socket.socket, accept_connection: Callable[[socket.socket, Any], None]) -> None:
    """Call `accept_connection(sock, peer)` for every connection.

    Cancellation: between two rounds; the listener stays open.
    """
    while True:
        await trio.lowlevel.wait_readable(listener)
        try:
            for _ in range(MAX_ACCEPTS_PER_ROUND):
                sock, peer = listener.accept()
                sock.setblocking(False)
                accept_connection(sock, peer)
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno in EXHAUSTED:
                logger.warning("cannot accept connections: %s", error.strerror)
                await trio.sleep(EXHAUSTED_PAUSE_SECONDS)
            # else this one connection was gone before we got to it
