"""Our own runner: hypercorn for HTTP, the direct lane for WebSockets."""

from .errors import ApplicationFailed, ServerError, ShutdownFailed, StartupFailed
from .run import serve

__all__ = ["ApplicationFailed", "ServerError", "ShutdownFailed", "StartupFailed", "serve"]
