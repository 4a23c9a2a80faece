"""A client in memory, and what lies between it and an application."""

from .client import Client
from .connect import connect

__all__ = ["Client", "connect"]
