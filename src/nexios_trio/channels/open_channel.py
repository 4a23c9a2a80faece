"""`open_channel`: a connection's channel for the length of a block."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from trio.lowlevel import checkpoint

from ..connections.websocket import WebSocket
from ..core.payloads import PayloadTypeEnum
from .channel import Channel

__all__ = ["open_channel"]


@asynccontextmanager
async def open_channel(
    websocket: WebSocket,
    payload_type: str | PayloadTypeEnum = "json",
    expires: float | None = None,
    *,
    close_on_expire: bool = False,
    subprotocol: str | None = None,
    positions: bool = False,
) -> AsyncGenerator[Channel]:
    """Accept the connection if that is still to do, and have a channel for the length of the block.

    At the end of the block the channel has left every group, and the connection is closed with 1000.

    Checkpoint: on entry and exit. Raises: as `WebSocket.accept` and `Channel`.
    """
    channel = Channel(websocket, payload_type, expires, close_on_expire=close_on_expire, positions=positions)
    try:
        if websocket.is_connected():
            await checkpoint()
        else:
            await websocket.accept(subprotocol)
        yield channel
    finally:
        channel.release()
    await channel.close()
