"""Middleware in all its places, and what comes with the package."""

from types import SimpleNamespace
from typing import Any

from nexios_trio.middleware import (
    AuthenticationMiddleware,
    ConnectionRateLimitMiddleware,
    MessageRateLimitMiddleware,
    OriginMiddleware,
    token_in_cookie,
    token_in_first_message,
    token_in_subprotocol,
)
from nexios_trio.routing import Router
from nexios_trio.websockets import WebSocket, WebSocketConsumer


class Place:
    """Notes in the connection's state that it was here."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def __call__(self, websocket: WebSocket, next: Any) -> Any:
        seen = getattr(websocket.state, "seen", ())
        websocket.state.seen = (*seen, self.name)
        return await next(websocket)


router = Router(prefix="/middleware", middleware=[Place("router")])


async def refuse(websocket: WebSocket, next: Any) -> None:
    await websocket.close(4001)


def verify(token: str) -> Any:
    return SimpleNamespace(id=1, name="ada") if token == "right" else None


async def greet(ws: WebSocket) -> None:
    await ws.accept()
    await ws.send_text(f"hello {ws.user.name}")


async def echo(ws: WebSocket) -> None:
    await ws.accept()
    async for text in ws.iter_text():
        await ws.send_text(text)


class Seen(WebSocketConsumer):
    middleware = (Place("consumer"),)

    async def on_connect(self, ws: WebSocket) -> None:
        await ws.accept()
        await ws.send_json(ws.state.seen)


router.add_ws_route(Seen.as_route("/order", middleware=[Place("route 1"), Place("route 2")]))
router.ws_route("/refused", echo, middleware=[refuse])
router.ws_route("/cookie", greet, middleware=[AuthenticationMiddleware(token_in_cookie("token", verify))])
router.ws_route("/message", greet, middleware=[AuthenticationMiddleware(token_in_first_message(verify))])
router.ws_route("/subprotocol", greet, middleware=[AuthenticationMiddleware(token_in_subprotocol(verify))])
router.ws_route(
    "/connections", echo, middleware=[ConnectionRateLimitMiddleware(1, 3600, key=lambda ws: ws.query_params["who"])]
)
router.ws_route("/messages", echo, middleware=[MessageRateLimitMiddleware(rate=0.001, burst=3)])
router.ws_route("/own-pages", echo, middleware=[OriginMiddleware()])
