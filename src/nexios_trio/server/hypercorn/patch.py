"""hypercorn's own command, patched: whatever happens in one connection ends there.

Hypercorn lets every exception but OSError go on from a connection to the task that serves them all, and the process
ends. Some a client can bring about: a header that the parser chokes on, a frame that comes before the handshake is
answered, a ping that is due while the connection is being closed.
"""

import functools
import logging
from collections.abc import Callable, Coroutine
from importlib.metadata import version
from typing import Any

import trio
from hypercorn.trio.tcp_server import TCPServer

from ..errors import ORDINARY, sole

__all__ = ["contain_errors", "patch_tcp_server"]

logger = logging.getLogger("nexios_trio.server")

SUPPORTED = "0.18."  # of hypercorn; `tests/server/test_hypercorn.py` holds the class

Run = Callable[[Any], Coroutine[Any, Any, None]]


def patch_tcp_server() -> None:
    """Contain the errors of each connection that hypercorn's trio worker serves in this process; however often called.

    The method is replaced, not the class, by which the takeover recognizes it. Another version is left alone.
    """
    if version("hypercorn").startswith(SUPPORTED) and not hasattr(TCPServer.run, "__wrapped__"):
        setattr(TCPServer, "run", contain_errors(TCPServer.run))  # noqa: B010  # nothing else may be assigned to a method


def contain_errors(run: Run) -> Run:
    """Wrap `run`, of one connection, so that it never raises because of it.

    Cancellation and KeyboardInterrupt pass through.
    """

    @functools.wraps(run)
    async def contained_run(server: Any) -> None:
        try:
            await run(server)
        except* (*ORDINARY, trio.BusyResourceError) as errors:  # busy: hypercorn pings while it closes
            logger.debug("a connection ended", exc_info=errors)
        except* Exception as errors:
            _report(sole(errors))

    return contained_run


def _report(error: BaseException) -> None:
    # One line: what a client can cause as often as it likes must not fill the log.
    logger.warning("dropped a connection: %s: %r", type(error).__name__, str(error))
    logger.debug("it was dropped because of", exc_info=error)
