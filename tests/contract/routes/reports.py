"""How the application under test says what its handlers saw."""

import json
import math
from collections import defaultdict
from collections.abc import Awaitable
from typing import Any

import trio

from nexios_trio.routing import Router
from nexios_trio.websockets import WebSocket, WebSocketDisconnect

router = Router()

# What may be documented, the more special first.
_KINDS = (WebSocketDisconnect, json.JSONDecodeError, ValueError, TypeError, RuntimeError)


async def outcome(call: Awaitable[Any]) -> Any:
    """What a call gives, or the documented name of what it raises."""
    try:
        return await call
    except Exception as error:
        return next((kind.__name__ for kind in _KINDS if isinstance(error, kind)), type(error).__name__)


class Board:
    """Notes under a key, written by one connection's handler and read, in order, by another's."""

    def __init__(self) -> None:
        self._channels: defaultdict[str, Any] = defaultdict(lambda: trio.open_memory_channel[Any](math.inf))

    def post(self, key: str, note: Any) -> None:
        self._channels[key][0].send_nowait(note)

    async def read(self, key: str) -> Any:
        return await self._channels[key][1].receive()


board = Board()


@router.ws_route("/notes/{key}")
async def notes(ws: WebSocket, key: str) -> None:
    """Sends the next note whenever it is asked."""
    await ws.accept()
    async for _ in ws:
        await ws.send_json(await board.read(key))
