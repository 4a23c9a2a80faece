"""Listening sockets, from the binds of a hypercorn configuration: `HOST:PORT`, `unix:PATH` and `fd://NUMBER`."""

import os
import socket
import stat
from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager
from errno import EACCES, EADDRINUSE, EADDRNOTAVAIL, EBADF, ECONNREFUSED, ENOTSOCK
from typing import Final

import attrs
from hypercorn.config import Config

__all__ = ["Listener", "backlog_of", "open_listeners"]

DEFAULT_PORT: Final = 8000
BACKLOG: Final = 4096  # hypercorn's own default of 100 makes a storm of connections wait for seconds

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
def open_listeners(config: Config) -> Generator[list[Listener]]:
    """The sockets of `bind` and `insecure_bind`, bound; closed with the block.

    Raises:
        OSError: an address that cannot be bound; ValueError: one that cannot be read. The text says which, and what to
            change.
    """
    with ExitStack() as stack:
        opened = [Listener(_open(bind, config, stack), config.ssl_enabled) for bind in _list(config.bind)]
        if config.ssl_enabled:
            opened += [Listener(_open(bind, config, stack), False) for bind in _list(config.insecure_bind)]
        yield opened


def backlog_of(config: Config) -> int:
    """Return how many connections may wait to be accepted."""
    given = "backlog" in vars(config) or config.backlog != Config.backlog
    return config.backlog if given else BACKLOG


def _list(binds: str | Iterable[str]) -> list[str]:
    return [binds] if isinstance(binds, str) else list(binds)


def _open(bind: str, config: Config, stack: ExitStack) -> socket.socket:
    try:
        if bind.startswith("fd://"):
            sock = stack.enter_context(_inherited(bind))
        elif bind.startswith("unix:"):
            sock = stack.enter_context(socket.socket(socket.AF_UNIX))
            _bind_unix(sock, bind.removeprefix("unix:"), config)
        else:
            host, port = _parse(bind)
            sock = stack.enter_context(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port))
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, error.strerror or str(error))
        raise OSError(error.errno, f"cannot listen on {bind}: {advice}") from None
    sock.setblocking(False)
    return sock


def _parse(bind: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`, `HOST`, `[HOST]:PORT`."""
    if bind.startswith("["):
        host, _, rest = bind[1:].partition("]")
        port = rest.removeprefix(":")
    elif bind.count(":") > 1:
        host, port = bind, ""
    else:
        host, _, port = bind.partition(":")
    if not port:
        return host, DEFAULT_PORT
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"cannot listen on {bind}: a bind is HOST:PORT, unix:PATH or fd://NUMBER")
    return host, int(port)


def _inherited(bind: str) -> socket.socket:
    number = bind.removeprefix("fd://")
    if not number.isascii() or not number.isdigit():
        raise ValueError(f"cannot listen on {bind}: a bind is HOST:PORT, unix:PATH or fd://NUMBER")
    sock = socket.socket(fileno=int(number))
    if sock.type != socket.SOCK_STREAM:
        sock.close()
        raise ValueError(f"cannot listen on {bind}: this is not a stream socket")
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
    if config.user is not None and config.group is not None:
        os.chown(path, config.user, config.group)


def _is_answered(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        return probe.connect_ex(path) != ECONNREFUSED
