"""Can the server listen where it is told to?"""

import copy
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from errno import EADDRINUSE
from pathlib import Path
from typing import Final

from hypercorn.config import Config

from ...server.listeners import Listener, listed, open_listeners
from .findings import Finding, note, ok, wrong

__all__ = ["binds_of", "check_addresses", "is_local"]

LOOPBACK: Final = ("127.", "localhost", "[::1]", "::1")


def binds_of(config: Config) -> list[str]:
    """Return where the server is told to listen."""
    return [*listed(config.bind), *listed(config.insecure_bind)] if config.ssl_enabled else listed(config.bind)


def is_local(bind: str) -> bool:
    """Tell whether programs on this machine alone can connect."""
    return bind.isdecimal() or bind.startswith(LOOPBACK)


def check_addresses(config: Config, health_binds: Sequence[str]) -> Iterator[Finding]:
    """Bind to each address for a moment, but to Unix sockets: that would leave one behind."""
    binds = [*binds_of(config), *health_binds]
    for bind in binds:
        if bind.startswith("unix:"):
            yield _check_unix(bind, config)
    plain = copy.copy(config)
    plain.certfile = plain.keyfile = plain.ca_certs = None
    with ExitStack() as opened:  # all at a time: two may overlap
        others: list[Listener] = []
        for bind in binds:
            if not bind.startswith("unix:"):
                plain.bind = [bind]
                yield _try(bind, plain, opened, others)


def _try(bind: str, config: Config, opened: ExitStack, others: list[Listener]) -> Finding:
    try:
        found = opened.enter_context(open_listeners(config, others))
    except OSError as error:
        text = error.strerror or str(error)
        if error.errno == EADDRINUSE:
            return note("addresses", f"{text}; or it is this server, at work")
        return wrong("addresses", text)
    except ValueError as error:
        return wrong("addresses", str(error))
    others += found
    return ok("addresses", " and ".join(listener.address for listener in found))


def _check_unix(bind: str, config: Config) -> Finding:
    path = Path(bind.removeprefix("unix:"))
    if not path.parent.is_dir():
        return wrong("addresses", f"{bind}: there is no directory {path.parent}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        return wrong("addresses", f"{bind}: this user may not write to {path.parent}")
    if path.exists() and not stat.S_ISSOCK(path.stat().st_mode):
        return wrong("addresses", f"{bind}: {path} is there already, and no socket")
    if config.umask is None:
        text = "without --umask a proxy of another user cannot connect; 007 lets the group in, 000 everybody"
        return note("addresses", f"{bind}: {text}")
    return ok("addresses", f"{bind}, for {_who(config.umask)}")


def _who(umask: int) -> str:
    if not umask & stat.S_IWOTH:
        return f"everybody who can reach the directory (--umask {umask:03o})"
    return f"its group (--umask {umask:03o})" if not umask & stat.S_IWGRP else f"this user alone (--umask {umask:03o})"
