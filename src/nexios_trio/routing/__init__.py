"""Which handler serves a request, with which parameters."""

from .entries import HttpRoute
from .route import WebSocketRoute, WebsocketRoute, WebsocketRoutes
from .routes import Router, WSRouter

__all__ = ["HttpRoute", "Router", "WSRouter", "WebSocketRoute", "WebsocketRoute", "WebsocketRoutes"]
