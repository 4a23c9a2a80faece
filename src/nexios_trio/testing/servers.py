"""The servers that we can stand in for."""

from typing import Literal

from .hypercorn import HypercornServer
from .lane import DirectServer
from .server import App, Server

__all__ = ["SERVERS", "App", "Server", "ServerName"]

ServerName = Literal["hypercorn", "direct"]

SERVERS: dict[str, type[Server]] = {"hypercorn": HypercornServer, "direct": DirectServer}
