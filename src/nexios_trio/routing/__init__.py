"""Which handler serves a request, with which parameters."""

from ..websockets.route import WebSocketRoute, WebsocketRoute, WebsocketRoutes
from .entries import HttpRoute
from .routes import Router, WSRouter

__all__ = ["HttpRoute", "Router", "WSRouter", "WebSocketRoute", "WebsocketRoute", "WebsocketRoutes"]
