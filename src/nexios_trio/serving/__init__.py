"""The documented import path of the server."""

from ..server import ApplicationFailed, ServerError, ShutdownFailed, StartupFailed, serve

__all__ = ["ApplicationFailed", "ServerError", "ShutdownFailed", "StartupFailed", "serve"]
