"""The real-time layer for Trio: WebSockets, channels and groups, in which nothing outlives its block."""

# The house, each layer importing only from those before it (docs/guides/design.md):
#   exceptions, status, logs            ground floor
#   core, config, protocol, pubsub      pure decisions and data
#   transports, engines                 how a peer is reached, and other processes
#   groups, connections, channels, middleware, validation
#   routing, http, consumer, application
#   server, testing, cli                around the application

from .application import NexiosApp, get_application
from .config.settings import Settings
from .core.message import Position
from .core.overflow import conflate, max_lag
from .exceptions import NexiosError, NotAuthorized, WebSocketDisconnect, WebSocketException
from .logs import guard_loggers
from .routing import Router, WebSocketRoute, WebsocketRoute, WebsocketRoutes, WSRouter
from .server import serve
from .websockets import (
    OLDEST,
    Channel,
    ChannelBox,
    ChannelGroup,
    ChannelRegistry,
    PresenceChange,
    PresenceChanges,
    PresentConnection,
    PresentUser,
    Resumed,
    WebSocket,
    WebSocketConsumer,
    open_channel,
)

__all__ = [
    "OLDEST",
    "Channel",
    "ChannelBox",
    "ChannelGroup",
    "ChannelRegistry",
    "NexiosApp",
    "NexiosError",
    "NotAuthorized",
    "Position",
    "PresenceChange",
    "PresenceChanges",
    "PresentConnection",
    "PresentUser",
    "Resumed",
    "Router",
    "Settings",
    "WSRouter",
    "WebSocket",
    "WebSocketConsumer",
    "WebSocketDisconnect",
    "WebSocketException",
    "WebSocketRoute",
    "WebsocketRoute",
    "WebsocketRoutes",
    "conflate",
    "get_application",
    "max_lag",
    "open_channel",
    "serve",
]

__version__ = "0.1.0"

guard_loggers()
