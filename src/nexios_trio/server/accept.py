"""Accepting connections: how many at once, how many from one address, and never more than there are descriptors.

Every accepted socket is an `Arrival`, and whoever closes the socket says so with `leave`, so that its place is free.
"""

import logging
import os
import resource
import socket
from collections import Counter
from collections.abc import Callable
from errno import EMFILE, ENFILE, ENOBUFS, ENOMEM
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final

import attrs
import trio

from ..config.settings import Settings

logger = logging.getLogger("nexios_trio.server")

__all__ = ["Address", "Admission", "Arrival", "accept_forever", "parse_address", "room_for_connections"]

Address = tuple[str, int]

ACCEPTS: Final = 64  # connections accepted between two checkpoints
PAUSE: Final = 0.1  # seconds without accepting when the system has no descriptors left
RESERVE: Final = 64  # descriptors for everything but connections: files, database links, goodbyes
TOO_MANY: Final = (EMFILE, ENFILE, ENOBUFS, ENOMEM)


class Arrival:
    """One accepted connection: its socket, its two ends, and its place among the connections that are allowed.

    Args:
        client, server: host and port; None for a Unix socket.
        is_secure: what we read from it came through TLS.
    """

    __slots__ = ("_free", "client", "is_secure", "server", "sock")

    def __init__(
        self,
        sock: socket.socket,
        client: Address | None,
        server: Address | None,
        is_secure: bool = False,
        free: Callable[[], None] | None = None,
    ) -> None:
        self.sock = sock
        self.client = client
        self.server = server
        self.is_secure = is_secure
        self._free = free

    def leave(self) -> None:
        """Close the socket, if it still is open, and free the place."""
        self.sock.close()
        free, self._free = self._free, None
        if free is not None:
            free()


@attrs.define
class Admission:
    """Counts the connections of one server.

    Args:
        most: connections at once.
        most_per_address: from one address; None for no bound.
        is_exempt: addresses of which many may come, because they are proxies.
    """

    most: int
    most_per_address: int | None = None
    is_exempt: Callable[[str], bool] = lambda address: False
    total: int = 0
    _by_address: Counter[str] = attrs.field(factory=Counter)

    def admit(self, sock: socket.socket, peer: Any) -> Arrival | None:
        """The arrival of a socket that was just accepted from `peer`; None if there is no place for it."""
        client = parse_address(peer)
        if self.total >= self.most:
            return None
        counted = None
        if self.most_per_address is not None and client is not None and not self.is_exempt(client[0]):
            counted = _counted_as(client[0])
            if not self.has_room_for(counted):
                return None
            self._by_address[counted] += 1
        self.total += 1
        return Arrival(sock, client, parse_address(sock.getsockname()), free=lambda: self._free(counted))

    def has_room_for(self, counted: str) -> bool:
        return self.most_per_address is None or self._by_address[counted] < self.most_per_address

    def claim(self, address: str) -> Callable[[], None] | None:
        """Count a connection of an exempt peer, a proxy, for the address behind it. None if there is no place."""
        counted = _counted_as(address)
        if not self.has_room_for(counted):
            return None
        self._by_address[counted] += 1
        return lambda: self._free_address(counted)

    def _free(self, counted: str | None) -> None:
        self.total -= 1
        if counted is not None:
            self._free_address(counted)

    def _free_address(self, counted: str) -> None:
        self._by_address[counted] -= 1
        if not self._by_address[counted]:
            del self._by_address[counted]


def _counted_as(address: str) -> str:
    """The address, or the /64 of an IPv6 address: whoever has one has them all."""
    ip = parse_ip(address) if ":" in address else None
    return ip.exploded[:19] if isinstance(ip, IPv6Address) else address


def parse_address(address: Any) -> Address | None:
    """Host and port of a socket's end; None for a Unix socket. An IPv4 client of an IPv6 socket is an IPv4 client."""
    if not isinstance(address, tuple):
        return None
    host, port = address[:2]
    return plain(host), port


def plain(host: str) -> str:
    return host[7:] if host.startswith("::ffff:") and "." in host else host


def parse_ip(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(plain(text))
    except ValueError:
        return None


def room_for_connections(settings: Settings, each: int) -> int:
    """Count the connections that this process may hold, at `each` descriptors a connection.

    Never more than its file limit allows, whatever the settings say.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.max_connections
    if limit == resource.RLIM_INFINITY:
        return wanted if wanted is not None else 1_000_000
    most = max(1, (limit - _open_descriptors() - RESERVE) // each)
    if wanted is None:
        return most
    if wanted > most:
        logger.warning(
            "max_connections is %d, but the file limit of %d has room for %d: raise it (ulimit -n)", wanted, limit, most
        )
    return min(wanted, most)


def _open_descriptors() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return RESERVE


async def accept_forever(listener: socket.socket, receive: Callable[[socket.socket, Any], None]) -> None:
    """Call `receive(sock, peer)` for every connection. Cancellation: between two rounds; the listener stays open."""
    while True:
        await trio.lowlevel.wait_readable(listener)
        try:
            for _ in range(ACCEPTS):
                sock, peer = listener.accept()
                sock.setblocking(False)
                receive(sock, peer)
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno in TOO_MANY:
                logger.warning("cannot accept connections: %s", error.strerror)
                await trio.sleep(PAUSE)
            # else this one connection was gone before we got to it
