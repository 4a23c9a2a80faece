"""The real-time layer for Trio: WebSockets, channels and groups, in which nothing outlives its block."""

# The house, each layer importing only from those before it:
#   exceptions, status   what can go wrong, and the numbers for it;   logs   who says it, and how
#   core                 pure decisions: messages, lifecycle, groups, history, deadlines, overflow
#   transports           how one peer is reached;   engines   how other processes are
#   websockets           connections, channels, boxes, consumers, middleware
#   routing, http        which handler
#   application          NexiosApp
#   serving, testing     our runner, and the testing kit;   cli

from .application import NexiosApp, get_application
from .core.messages import Position
from .core.overflow import conflate, max_lag
from .core.settings import Settings
from .exceptions import NexiosError, NotAuthorized, WebSocketDisconnect, WebSocketException
from .logs import guard_loggers
from .routing import Router, WebSocketRoute, WebsocketRoute, WebsocketRoutes, WSRouter
from .serving import serve
from .websockets import (
    Channel,
    ChannelBox,
    ChannelGroup,
    ChannelRegistry,
    WebSocket,
    WebSocketConsumer,
    open_channel,
)

__all__ = [
    "Channel",
    "ChannelBox",
    "ChannelGroup",
    "ChannelRegistry",
    "NexiosApp",
    "NexiosError",
    "NotAuthorized",
    "Position",
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
