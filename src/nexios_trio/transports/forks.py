"""Close the server's sockets in processes that are forked from it.

A child that somebody forks, as `multiprocessing` does, has a copy of every descriptor. A connection would stay open for
its peer as long as the child lives, whoever closes it here, and a stopped server's port would go on being taken.
"""

import os
import socket

__all__ = ["disown", "own"]

_owned: set[socket.socket] = set()


def own(sock: socket.socket) -> None:
    """Note a socket of this process alone. `disown` must follow."""
    _owned.add(sock)


def disown(sock: socket.socket) -> None:
    """Forget a socket that is closed."""
    _owned.discard(sock)


def _close_all() -> None:
    for sock in _owned:
        sock.close()
    _owned.clear()


os.register_at_fork(after_in_child=_close_all)
