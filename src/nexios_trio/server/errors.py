"""How a server can fail as a whole. One connection's failure never gets here."""

import logging
from types import TracebackType

import starlette.websockets
import trio

from ..connections.asgi_side import PeerHasLeft
from ..exceptions import NexiosError

__all__ = [
    "ORDINARY",
    "ApplicationFailed",
    "DrainFailed",
    "ServerError",
    "ShutdownFailed",
    "StartupFailed",
    "contained",
    "sole",
]

# How a connection ends when the peer or the network does; no news.
ORDINARY = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)


class ServerError(NexiosError):
    """The server cannot start, or had to stop."""


class StartupFailed(ServerError):
    """The application's startup failed or took too long. Nothing was served."""


class ApplicationFailed(ServerError):
    """A task of the application failed while it was serving. Clients were sent away, then the server stopped."""


class DrainFailed(ServerError):
    """Handlers went on when `drain_timeout` was over. The log says where they stood; they were ended all the same."""


class ShutdownFailed(ServerError):
    """The application's shutdown failed or took too long. No connection was left by then."""


def sole(error: BaseException) -> BaseException:
    """The error itself where a group holds only one."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


# How an ASGI application ends whose peer has left: with our own exception, or Starlette's in its place.
_PEER_LEFT = (PeerHasLeft, starlette.websockets.WebSocketDisconnect)


class contained:  # noqa: N801  # a block, as `suppress`
    """Log whatever is raised in the block and go on behind it; cancellation and KeyboardInterrupt pass through.

    That a peer has left is no failure: see `PeerHasLeft`.

    A class, not a generator of `contextlib`, whose frame holds the error that passes through it: from Python 3.12 on,
    the connection whose error it is would be kept until a full collection.
    """

    def __init__(self, logger: logging.Logger, what: str) -> None:
        self._logger = logger
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if error is None:
            return False
        try:
            raise error
        except* _PEER_LEFT as errors:
            self._logger.debug("the peer has left: %r", sole(errors))
        except* (Exception, SystemExit) as errors:
            self._logger.error(self._what, exc_info=sole(errors))  # noqa: TRY400  # not the group around it
        finally:
            del error
        return True
