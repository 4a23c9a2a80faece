"""Consumers: their hooks, encodings and groups."""

from typing import Any

from nexios_trio.routing import Router
from nexios_trio.websockets import WebSocket, WebSocketConsumer
from tests.contract.routes.reports import board

router = Router(prefix="/consumers")


class Noting(WebSocketConsumer):
    """Notes every call of its hooks; knows a few tricks."""

    def __init__(self, greeting: str = "hi") -> None:
        super().__init__()
        self.greeting = greeting
        self.count = 0

    async def on_connect(self, ws: WebSocket) -> None:
        board.post(ws.path_params["key"], ["connect", self.greeting])

    async def on_receive(self, ws: WebSocket, data: Any) -> None:
        self.count += 1
        board.post(ws.path_params["key"], ["receive", data.hex() if isinstance(data, bytes) else data])
        if data == "fail":
            raise LookupError("secret")
        if data == "close":
            await ws.close(4003, "asked to")
        await ws.send_json(self.count)

    async def on_disconnect(self, ws: WebSocket, code: int) -> None:
        board.post(ws.path_params["key"], ["disconnect", code])


class Json(Noting):
    encoding = "json"


class Text(Noting):
    encoding = "text"


class Bytes(Noting):
    encoding = "bytes"


class Room(WebSocketConsumer):
    encoding = "json"

    async def on_connect(self, ws: WebSocket) -> None:
        self.room = ws.path_params["room"]
        await ws.accept()
        await self.join_group(self.room)
        await self.tell("came", 0)

    async def on_receive(self, ws: WebSocket, data: Any) -> None:
        await self.broadcast(data, self.room, save_history=True, exclude=self.channel)

    async def on_disconnect(self, ws: WebSocket, close_code: int) -> None:
        await self.tell("left", -1)

    async def tell(self, what: str, change: int) -> None:
        await self.broadcast([what, len(await self.group(self.room)) + change], self.room)


router.add_ws_route("/any/{key}", Noting)
router.add_ws_route("/json/{key}", Json)
router.add_ws_route(Text.as_route("/text/{key}", greeting="hello"))
router.add_ws_route(path="/bytes/{key}", handler=Bytes("an instance"))
router.add_ws_route("/room/{room}", Room)
