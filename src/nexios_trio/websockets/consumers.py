"""The import path of the documents for consumers."""

from ..consumer import WebSocketConsumer, WebSocketEndpoint

__all__ = ["WebSocketConsumer", "WebSocketEndpoint"]
