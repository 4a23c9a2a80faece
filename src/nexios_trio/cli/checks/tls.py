"""Are the files of TLS there, and do they fit together?"""

import os
import stat
from collections.abc import Iterator

from hypercorn.config import Config

from ...server.hypercorn.http_server import tls_context
from .findings import Finding, note, ok, wrong

__all__ = ["check_tls"]


def check_tls(config: Config) -> Iterator[Finding]:
    """Read them as the server does."""
    if not config.ssl_enabled:
        return
    try:
        tls_context(config)
    except OSError as error:
        yield wrong("tls", error.strerror or str(error))
        return
    yield ok("tls", f"{config.certfile!s} and {config.keyfile!s} fit together")
    mode = os.stat(str(config.keyfile)).st_mode
    if mode & stat.S_IROTH:
        yield note("tls", f"everybody on this machine can read the private key: chmod o-r {config.keyfile!s}")
