"""Listening sockets, from the binds of hypercorn's configuration: `HOST:PORT`, `unix:PATH`, `fd://NUMBER`."""

import fcntl
import logging
import os
import socket
import stat
from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager
from errno import EACCES, EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EBADF, ECONNREFUSED, ENOENT, ENOTSOCK
from pathlib import Path
from typing import Any, Final

import attrs
from hypercorn.config import Config

from ..transports.forks import disown, own

__all__ = ["DEFAULT_HOST", "DEFAULT_PORT", "Listener", "backlog_of", "listed", "open_listeners"]

logger = logging.getLogger("nexios_trio.server")

FIRST_FREE_DESCRIPTOR: Final = 3
DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8000
BACKLOG: Final = 4096  # hypercorn's own default of 100 makes a storm of connections wait for seconds

_ACCEPTED: Final = "a bind is HOST:PORT, unix:PATH or fd://NUMBER"
_ADVICE: Final = {
    EADDRINUSE: "another program listens there; stop it, or bind to another port (0 for any that is free)",
    EACCES: "this is not permitted; ports below 1024 need a privilege, and a Unix socket a directory to write in",
    EADDRNOTAVAIL: "this machine has no such address; 0.0.0.0 and [::] stand for all it has",
    EBADF: "there is no such descriptor; a supervisor has to pass it on",
    ENOTSOCK: "this descriptor is not a socket",
}


@attrs.frozen(eq=False)
class Listener:
    """A bound socket that does not listen yet."""

    sock: socket.socket
    is_secure: bool

    @property
    def address(self) -> str:
        """For people: with the port that the system chose."""
        scheme = "https" if self.is_secure else "http"
        name = self.sock.getsockname()
        if not isinstance(name, tuple):
            return f"{scheme}://unix:{os.fsdecode(name)}"
        host = f"[{name[0]}]" if ":" in name[0] else name[0]
        return f"{scheme}://{host}:{name[1]}"


@contextmanager
def open_listeners(config: Config, beside: Iterable[Listener] = ()) -> Generator[list[Listener]]:
    """Bind the sockets of `bind` and `insecure_bind`; they are closed with the block.

    Args:
        beside: those that have other binds already.
    Raises:
        OSError: an address that cannot be bound. ValueError: one that cannot be read, or that is listed twice. The text
            says which, and what to change.
    """
    binds = [(bind, config.ssl_enabled) for bind in listed(config.bind)]
    if config.ssl_enabled:
        binds += [(bind, False) for bind in listed(config.insecure_bind)]
    targets = [_read(bind, is_secure) for bind, is_secure in binds]
    with ExitStack() as stack:
        listeners: list[Listener] = []
        for addresses in targets:
            opened: list[Listener] = []
            for target in addresses:
                sock = _open(target, opened, [each for others in targets for each in others], config, stack)
                if sock is not None:
                    _check_overlap(target, sock, [*beside, *listeners, *opened])
                    opened.append(Listener(sock, target.is_secure))
            listeners += opened
        yield listeners


def backlog_of(config: Config) -> int:
    """Return how many connections may wait to be accepted."""
    given = "backlog" in vars(config) or config.backlog != Config.backlog
    return config.backlog if given else BACKLOG


def listed(binds: str | Iterable[str]) -> list[str]:
    """Return the binds of an option, which is one text or several."""
    return [binds] if isinstance(binds, str) else list(binds)


@attrs.frozen
class Target:
    """One socket to bind.

    Args:
        bind: what it was read from; a host name may stand for several.
        family: None for an inherited descriptor.
        address: host and port, a path, or the number of a descriptor.
        is_one_of_several: the name stands for other addresses too, and this machine may lack some.
    """

    bind: str
    is_secure: bool
    family: int | None
    address: Any
    is_one_of_several: bool = False


def _read(bind: str, is_secure: bool) -> list[Target]:
    if bind.startswith("fd://"):
        return [Target(bind, is_secure, None, _number(bind))]
    if bind.startswith("unix:"):
        return [Target(bind, is_secure, socket.AF_UNIX, bind.removeprefix("unix:"))]
    host, port = _parse(bind)
    if not host:
        return [Target(bind, is_secure, socket.AF_INET, ("", port))]
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise OSError(error.errno, f"cannot listen on {bind}: {error.strerror}") from None
    addresses = dict.fromkeys((family, address) for family, _, _, _, address in found)
    if host.lower() == "localhost":  # which browsers take for both, whatever the machine's tables say
        addresses |= dict.fromkeys(((socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET6, ("::1", port, 0, 0))))
    return [Target(bind, is_secure, family, address, len(addresses) > 1) for family, address in addresses]


def _open(
    target: Target, opened: list[Listener], targets: list[Target], config: Config, stack: ExitStack
) -> socket.socket | None:
    """Return the bound socket; None for an address that this machine lacks, where the same name stands for others."""
    try:
        if target.family is None:
            sock = stack.enter_context(_inherited(target))
        elif target.family == socket.AF_UNIX:
            sock = stack.enter_context(socket.socket(socket.AF_UNIX))
            _bind_unix(sock, target.address, config)
        else:
            sock = stack.enter_context(socket.socket(target.family))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if _has_ipv4_beside_it(target, targets):
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            _bind(sock, target.address, opened)
    except OSError as error:
        if target.is_one_of_several and opened and error.errno in (EADDRNOTAVAIL, EAFNOSUPPORT):
            return None
        if target.family == socket.AF_UNIX and error.errno == ENOENT:
            advice = f"there is no directory {Path(target.address).parent}; make it first"
        elif target.family == socket.AF_UNIX and error.errno == EADDRINUSE:
            advice = "another program listens there; stop it, or bind to another path"
        else:
            advice = _ADVICE.get(error.errno or 0, error.strerror or str(error))
        raise OSError(error.errno, f"cannot listen on {target.bind}: {advice}") from None
    sock.setblocking(False)
    own(sock)
    stack.callback(disown, sock)
    return sock


def _bind(sock: socket.socket, address: Any, opened: list[Listener]) -> None:
    """Bind; where the system is to choose the port, take the one of the name's other addresses if it is free."""
    if address[1] == 0 and opened:
        try:
            sock.bind((address[0], opened[0].sock.getsockname()[1], *address[2:]))
            return
        except OSError as error:
            if error.errno != EADDRINUSE:
                raise
    sock.bind(address)


def _has_ipv4_beside_it(target: Target, targets: list[Target]) -> bool:
    """Tell whether this is all of IPv6, and IPv4 has a bind of its own on the same port: then it is IPv6 alone."""
    if target.family != socket.AF_INET6 or target.address[0] != "::" or not target.address[1]:
        return False
    return any(other.family == socket.AF_INET and other.address[1] == target.address[1] for other in targets)


def _check_overlap(target: Target, sock: socket.socket, listeners: list[Listener]) -> None:
    """Raise ValueError where the kernel would refuse to listen on both, which it does not say before."""
    for other in listeners:
        if sock.family == other.sock.family and _overlap(sock.getsockname(), other.sock.getsockname()):
            raise ValueError(f"cannot listen on {target.bind}: it overlaps with {other.address}, which is listed too")


def _overlap(one: Any, other: Any) -> bool:
    if not isinstance(one, tuple):
        return bool(one == other)
    wildcards = ("0.0.0.0", "::")
    same_host = one[0] == other[0] or one[0] in wildcards or other[0] in wildcards
    return bool(same_host and one[1] == other[1])


def _parse(bind: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`, `HOST`, `PORT`, `[HOST]:PORT`."""
    if bind.isascii() and bind.isdigit():
        host, port = DEFAULT_HOST, bind
    elif bind.startswith("["):
        host, _, rest = bind[1:].partition("]")
        port = rest.removeprefix(":")
    elif bind.count(":") > 1:
        host, port = bind, ""
    else:
        host, _, port = bind.partition(":")
    if not port:
        return host, DEFAULT_PORT
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"cannot listen on {bind}: {_ACCEPTED}")
    return host, int(port)


def _number(bind: str) -> int:
    number = bind.removeprefix("fd://")
    if not number.isascii() or not number.isdigit():
        raise ValueError(f"cannot listen on {bind}: {_ACCEPTED}")
    return int(number)


def _inherited(target: Target) -> socket.socket:
    """Return the socket of an inherited descriptor. One of the standard ones is copied: workers need those."""
    number: int = target.address
    if number < FIRST_FREE_DESCRIPTOR:
        number = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE_DESCRIPTOR)
    sock = socket.socket(fileno=number)
    if sock.type != socket.SOCK_STREAM:
        sock.close()
        raise ValueError(f"cannot listen on {target.bind}: this is not a stream socket")
    return sock


def _bind_unix(sock: socket.socket, path: str, config: Config) -> None:
    """Bind to `path`, in place of a socket that a dead program left there."""
    if os.path.exists(path) and stat.S_ISSOCK(os.stat(path).st_mode):
        if _is_answered(path):
            raise OSError(EADDRINUSE, os.strerror(EADDRINUSE))
        os.remove(path)
    before = os.umask(config.umask) if config.umask is not None else None
    try:
        sock.bind(path)
    finally:
        if before is not None:
            os.umask(before)
    if not stat.S_IMODE(os.stat(path).st_mode) & (stat.S_IWGRP | stat.S_IWOTH):
        logger.info(
            "only this user can connect to %s, and a proxy of another user cannot (it says 502): "
            "--umask 007 lets its group in, --umask 000 whoever can reach the directory",
            path,
        )
    if config.user is not None and config.group is not None:
        os.chown(path, config.user, config.group)


def _is_answered(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        return probe.connect_ex(path) != ECONNREFUSED
