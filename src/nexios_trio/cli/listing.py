"""Which routes an application has."""

from ..application import NexiosApp
from ..routing import HttpRoute

__all__ = ["count_routes"]


def count_routes(app: NexiosApp) -> str:
    """Count the routes of each kind, as in `2 WebSocket, 1 HTTP`."""
    found = [registered.route for _, registered in app._walk(app.prefix)]
    https = sum(isinstance(route, HttpRoute) for route in found)
    return f"{len(found) - https} WebSocket, {https} HTTP"
