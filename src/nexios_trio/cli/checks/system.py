"""What the system allows, and what is installed."""

import platform
import re
import resource
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, requires
from pathlib import Path
from typing import Any, Final

from hypercorn.config import Config

from ...config.settings import Settings
from ...server.connection_limits import descriptor_room
from ...server.listeners import backlog_of
from ...transports.epoll import IS_AVAILABLE
from ..loading import find_nexios_app
from .findings import Finding, note, ok, wrong

__all__ = ["check_extras", "check_limits", "check_system"]

FEW_CONNECTIONS: Final = 1024  # as many descriptors are the default of most systems, and too few for a busy server
FOR_DEVELOPERS: Final = frozenset({"dev", "docs", "plots"})
SOMAXCONN: Final = Path("/proc/sys/net/core/somaxconn")


def check_limits(config: Config, settings: Settings) -> Iterator[Finding]:
    """Compare the file limit, which `ulimit -n` shows, with the connections that there may be."""
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    room, wanted = descriptor_room(), settings.max_connections
    here = f"ulimit -n {most}, or " if most not in (limit, resource.RLIM_INFINITY) else ""
    raise_it = f"raise it ({here}LimitNOFILE= in systemd)"
    if wanted is not None and wanted > room:
        yield wrong("files", f"max_connections is {wanted}, the file limit of {limit} has room for {room}: {raise_it}")
    elif wanted is None and limit <= FEW_CONNECTIONS:
        yield note("files", f"the file limit of {limit} has room for {room} connections: {raise_it}")
    else:
        yield ok("files", f"the file limit of {limit} has room for {room if wanted is None else wanted} connections")
    backlog = backlog_of(config)
    if SOMAXCONN.exists() and int(SOMAXCONN.read_text()) < backlog:
        waiting = SOMAXCONN.read_text().strip()
        yield note("files", f"{waiting} connections may wait to be accepted, of {backlog}: sysctl net.core.somaxconn")


def check_system(app: Any, workers: int) -> Iterator[Finding]:
    """Say which lane WebSockets take, and whether workers share their groups."""
    if not IS_AVAILABLE:
        yield note("system", f"{platform.system()} has no epoll: WebSockets go the plain ASGI way, for development")
    ours = find_nexios_app(app)
    if workers == 1 or ours is None:
        return
    if ours.box.has_default_engine:
        yield ok("workers", f"{workers} workers share their groups and histories")
    elif ours.box.engine.is_local:
        yield note(
            "workers",
            f"{workers} workers have groups of their own: the box was given an engine of one process,"
            f" {type(ours.box.engine).__name__}; without one it gets what they share",
        )


def check_extras(*, needs_reload: bool) -> Iterator[Finding]:
    """Say which extras are installed."""
    wanted: dict[str, list[str]] = {}
    for requirement in requires("nexios-trio") or []:
        found = re.fullmatch(r"([\w.-]+)[^;]*;.*\bextra == ['\"](\w+)['\"].*", requirement)
        if found is not None and found[2] not in FOR_DEVELOPERS:
            wanted.setdefault(found[2], []).append(found[1])
    missing = {extra: [name for name in names if not _is_installed(name)] for extra, names in wanted.items()}
    if needs_reload and missing.get("reload"):
        yield wrong("extras", "--reload needs watchfiles: pip install 'nexios-trio[reload]'")
    present = [extra for extra in wanted if not missing[extra]]
    absent = [f"{extra} (pip install 'nexios-trio[{extra}]')" for extra in wanted if missing[extra]]
    yield ok("extras", f"installed: {', '.join(present) or 'none'}; not: {', '.join(absent) or 'none'}")


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True
