"""A connection as an object with methods."""

from .consumer import WebSocketConsumer, WebSocketEndpoint

__all__ = ["WebSocketConsumer", "WebSocketEndpoint"]
