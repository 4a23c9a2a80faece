"""How many connections there may be: at once, from one address, and never more than there are descriptors.

Every accepted socket is an `AcceptedConnection`, and whoever closes the socket does it through its `close`, so that its
place is free.
"""

import logging
import os
import resource
import socket
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import attrs

from ..config.settings import Settings
from ..core.causes import ServerRefusal
from ..core.proxy_headers import Address, limit_key, plain_address
from ..transports.forks import disown, own

logger = logging.getLogger("nexios_trio.server")

__all__ = ["AcceptedConnection", "ConnectionLimits", "connection_capacity", "descriptor_room"]

# Descriptors for everything but connections: files, database links, refusals
RESERVED_DESCRIPTORS: Final = 64
UNLIMITED: Final = 1_000_000  # connections, where the system sets no limit


class AcceptedConnection:
    """One accepted connection: its socket, its two ends, and its place among the connections that are allowed.

    Args:
        client, server: host and port; None for a Unix socket.

    `is_secure`: it speaks TLS.
    """

    __slots__ = ("_key", "_limits", "client", "is_secure", "server", "sock")

    def __init__(
        self,
        sock: socket.socket,
        client: Address | None,
        server: Address | None,
        limits: "ConnectionLimits | None" = None,
        key: str | None = None,
    ) -> None:
        self.sock = sock
        self.client = client
        self.server = server
        self.is_secure = False
        self._limits = limits  # that count it, with the key of its address
        self._key = key
        own(sock)

    def encrypt_with(self, sock: socket.socket) -> None:
        """Go on with a socket for TLS, which has taken the descriptor of the one before."""
        disown(self.sock)
        self.sock = sock
        self.is_secure = True
        own(sock)

    def close(self) -> None:
        """Close the socket, if it still is open, and free the place."""
        self.sock.close()
        disown(self.sock)
        limits, self._limits = self._limits, None
        if limits is not None:
            limits.release(self._key)


@attrs.define
class ConnectionLimits:
    """Counts the connections of one server.

    Args:
        most: connections at once.
        most_per_address: from one address, or one /64 of IPv6; None for no bound.
        is_exempt: addresses of which many may come, because they are proxies.
        on_change: called with the number of connections.
    """

    most: int
    most_per_address: int | None = None
    is_exempt: Callable[[str], bool] = lambda address: False
    on_change: Callable[[int], None] | None = None
    total: int = 0
    _by_key: Counter[str] = attrs.field(factory=Counter)
    _last_server: Address | None = attrs.field(default=None, init=False)

    def admit(self, sock: socket.socket, peer: Any) -> AcceptedConnection | None:
        """The connection of a socket that was just accepted from `peer`; None if there is no place for it."""
        client = plain_address(peer)
        if self.total >= self.most:
            return None
        key = None
        if self.most_per_address is not None and client is not None and not self.is_exempt(client[0]):
            key = limit_key(client[0])
            if not self._has_room_for(key):
                return None
            self._by_key[key] += 1
        self.total += 1
        if self.on_change is not None:
            self.on_change(self.total)
        return AcceptedConnection(sock, client, self._server_of(sock), limits=self, key=key)

    def _server_of(self, sock: socket.socket) -> Address | None:
        """Return our end of a connection: mostly the same object for all of them."""
        server = plain_address(sock.getsockname())
        if server != self._last_server:
            self._last_server = server
        return self._last_server

    @property
    def refusal(self) -> ServerRefusal:
        """Return why `admit` has just found no place."""
        return ServerRefusal.TOO_MANY if self.total >= self.most else ServerRefusal.TOO_MANY_FROM_ADDRESS

    def admit_forwarded(self, address: str) -> Callable[[], None] | None:
        """Count a connection of an exempt peer, a proxy, for the address behind it. None if there is no place.

        Returns what frees the place.
        """
        key = limit_key(address)
        if not self._has_room_for(key):
            return None
        self._by_key[key] += 1
        return lambda: self._release_key(key)

    def _has_room_for(self, key: str) -> bool:
        return self.most_per_address is None or self._by_key[key] < self.most_per_address

    def release(self, key: str | None) -> None:
        """Count a connection no more."""
        self.total -= 1
        if self.on_change is not None:
            self.on_change(self.total)
        if key is not None:
            self._release_key(key)

    def _release_key(self, key: str) -> None:
        self._by_key[key] -= 1
        if not self._by_key[key]:
            del self._by_key[key]


def connection_capacity(settings: Settings, connected: int = 0) -> int:
    """Count the connections that this process may hold.

    Never more than its file limit allows, whatever the settings say.

    Args:
        connected: connections that hold descriptors already.
    """
    wanted, most = settings.max_connections, descriptor_room(connected)
    if wanted is None:
        return most
    if wanted > most:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        logger.warning(
            "max_connections is %d, but the file limit of %d has room for %d: raise it (ulimit -n)", wanted, limit, most
        )
    return min(wanted, most)


def descriptor_room(connected: int = 0) -> int:
    """Count the connections that the file limit of this process has room for; arguments as above."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return UNLIMITED
    return max(1, limit - _open_descriptors() - RESERVED_DESCRIPTORS + connected)


def _open_descriptors() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return RESERVED_DESCRIPTORS
