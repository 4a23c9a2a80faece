"""The command `nexios-trio`: one file for each of its commands."""

from .main import main

__all__ = ["main"]
