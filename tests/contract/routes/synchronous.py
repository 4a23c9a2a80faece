"""Consumers whose `on_receive` is a plain function."""

from typing import Any

import trio
from attrs import frozen

from nexios_trio.middleware import HeartbeatMiddleware, MessageRateLimitMiddleware
from nexios_trio.routing import Router
from nexios_trio.websockets import InvalidMessage, SecureChannel, WebSocket, WebSocketConsumer
from tests.contract.routes.reports import board

router = Router(prefix="/synchronous")


class Noting(WebSocketConsumer):
    """Notes every call of its hooks; knows a few tricks."""

    count = 0

    async def on_connect(self, ws: WebSocket) -> None:
        board.post(ws.path_params["key"], "connect")

    def on_receive(self, ws: WebSocket, data: Any) -> None:
        self.count += 1
        board.post(ws.path_params["key"], ["receive", data.hex() if isinstance(data, bytes) else data])
        if data == "fail":
            raise LookupError("secret")
        if data == "close":
            ws.close_nowait(4003, "asked to")
            return
        ws.send_nowait(str(self.count))

    async def on_disconnect(self, ws: WebSocket, code: int) -> None:
        board.post(ws.path_params["key"], ["disconnect", code])


class Json(Noting):
    encoding = "json"


class Text(Noting):
    encoding = "text"


class Bytes(Noting):
    encoding = "bytes"


class Slow(Noting):
    """What comes during `on_connect` waits for its end."""

    async def on_connect(self, ws: WebSocket) -> None:
        await ws.accept()
        await ws.send_text("hello")
        await trio.sleep(0.05)
        await super().on_connect(ws)


class Echo(WebSocketConsumer):
    def on_receive(self, ws: WebSocket, data: str | bytes) -> None:
        ws.send_nowait(data)


@frozen
class Move:
    x: int


class Typed(WebSocketConsumer):
    message_type = Move

    def on_receive(self, ws: WebSocket, data: Move) -> None:
        self.channel.send_nowait(data.x)


class Lenient(WebSocketConsumer):
    message_type = Move

    def on_receive(self, ws: WebSocket, data: Move) -> None:
        self.channel.send_nowait(data.x)

    def on_invalid(self, ws: WebSocket, error: InvalidMessage) -> None:
        self.channel.send_nowait("invalid")

    def on_decode_error(self, ws: WebSocket, error: ValueError) -> None:
        self.channel.send_nowait("not decoded")


class Room(WebSocketConsumer):
    encoding = "json"

    async def on_connect(self, ws: WebSocket) -> None:
        await ws.accept()
        self.room = ws.path_params["room"]

    def on_receive(self, ws: WebSocket, data: Any) -> None:
        match data:
            case "join":
                self.channel.send_nowait(self.join_nowait(self.room).value)
            case "leave":
                self.channel.send_nowait(self.leave_nowait(self.room).value)
            case _:
                self.broadcast_nowait(["group", data], self.room)
                self.channel.send_nowait(["direct", data])


class Working(WebSocketConsumer):
    """Gives what has to wait to a task."""

    def on_receive(self, ws: WebSocket, data: str | bytes) -> None:
        ws.start_soon(self.work, ws, data)

    async def work(self, ws: WebSocket, data: str) -> None:
        await trio.lowlevel.checkpoint()
        if data == "fail":
            raise LookupError("secret")
        await ws.send_text(data.upper())


class Locked(SecureChannel):
    async def verify_token(self, token: str) -> Any:
        return "ann" if token == "right" else None


class Guarded(WebSocketConsumer):
    encoding = "json"
    channel_class = Locked
    channel: Locked

    async def on_connect(self, ws: WebSocket) -> None:
        await self.channel.authenticate(ws.query_params.get("token"))

    def on_receive(self, ws: WebSocket, data: Any) -> None:
        self.channel.send_nowait(data)
        self.channel.revoke()


router.add_ws_route("/any/{key}", Noting)
router.add_ws_route("/json/{key}", Json)
router.add_ws_route(Text.as_route("/text/{key}"))
router.add_ws_route("/bytes/{key}", Bytes())
router.add_ws_route("/slow/{key}", Slow)
router.add_ws_route("/echo", Echo)
router.add_ws_route("/typed", Typed)
router.add_ws_route("/lenient", Lenient)
router.add_ws_route("/room/{room}", Room)
router.add_ws_route("/working", Working)
router.add_ws_route("/guarded", Guarded)
router.add_ws_route("/limited", Echo, middleware=[MessageRateLimitMiddleware(rate=0.001, burst=3)])
router.add_ws_route("/heartbeat", Echo, middleware=[HeartbeatMiddleware(interval=60.0, timeout=120.0)])
