"""The documented import path of the server."""

from ..server import ApplicationFailed, DrainFailed, ServerError, ShutdownFailed, StartupFailed, serve

__all__ = ["ApplicationFailed", "DrainFailed", "ServerError", "ShutdownFailed", "StartupFailed", "serve"]
