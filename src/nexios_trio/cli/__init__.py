"""The command `nexios-trio`."""

from .main import main

__all__ = ["main"]
