"""Clients that reconnect, resume and call by themselves: they speak the Centrifuge client protocol."""

from .client import RealtimeClient
from .endpoint import Realtime
from .registrations import Connected

__all__ = ["Connected", "Realtime", "RealtimeClient"]
