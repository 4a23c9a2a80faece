"""The import path of the documents for the WebSocket."""

from ..connections.websocket import WebSocket, WebSocketDisconnect, WebSocketException, WebSocketState

__all__ = ["WebSocket", "WebSocketDisconnect", "WebSocketException", "WebSocketState"]
