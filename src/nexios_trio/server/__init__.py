"""Our own runner: WebSockets on their sockets, HTTP through hypercorn."""

from .errors import ApplicationFailed, ServerError, ShutdownFailed, StartupFailed
from .run import serve

__all__ = ["ApplicationFailed", "ServerError", "ShutdownFailed", "StartupFailed", "serve"]
