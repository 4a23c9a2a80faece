"""Our own runner: WebSockets on their sockets, HTTP through hypercorn."""

from .errors import ApplicationFailed, DrainFailed, ServerError, ShutdownFailed, StartupFailed
from .run import serve

__all__ = ["ApplicationFailed", "DrainFailed", "ServerError", "ShutdownFailed", "StartupFailed", "serve"]
