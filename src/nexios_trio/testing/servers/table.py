"""The servers that we can stand in for."""

from typing import Literal

from .base import Server
from .hypercorn import HypercornServer
from .runner import DirectServer

__all__ = ["SERVERS", "Server", "ServerName"]

ServerName = Literal["hypercorn", "direct"]

SERVERS: dict[str, type[Server]] = {"hypercorn": HypercornServer, "direct": DirectServer}
