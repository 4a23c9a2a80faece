"""Routes, routers and their prefixes, registered as documents 000, 001, 002 and 003 do."""

import pytest

from nexios_trio import NexiosApp, get_application
from nexios_trio.routing import Router, WebsocketRoute, WebsocketRoutes, WSRouter
from nexios_trio.testing import Denied, run_app
from nexios_trio.testing.client import connect
from nexios_trio.websockets.base import WebSocket
from nexios_trio.websockets.consumers import WebSocketConsumer
from tests.documents.catalogue import covers


async def ws_handler(ws):
    await ws.accept()
    await ws.send_text("one")


async def ws_handler2(ws):
    await ws.accept()
    await ws.send_text("two")


async def first_word(app, path):
    async with run_app(app), connect(app, path) as client:
        return await client.receive_text()


async def is_missing(app, path):
    with pytest.raises(Denied) as refused:
        await first_word(app, path)
    return refused.value.status == 404


@covers("000 routes: a decorator on the application", "001 routes: a decorator on the application")
async def test_a_decorator_on_the_application():
    app = NexiosApp()

    @app.ws_route("/ws")
    async def greet(ws):
        await ws.accept()
        await ws.send_text("hello")

    assert await first_word(app, "/ws") == "hello"


@covers(
    "000 routes: a WebsocketRoute added to the application", "001 routes: a WebsocketRoutes added to the application"
)
@pytest.mark.parametrize("route_class", [WebsocketRoute, WebsocketRoutes])
async def test_a_route_object(route_class):
    app = NexiosApp()
    app.add_ws_route(route_class("/ws", ws_handler))
    assert await first_word(app, "/ws") == "one"


@covers("000 routes: a router with a prefix, mounted")
async def test_a_router_with_a_prefix():
    app = NexiosApp()
    router = Router(prefix="/ws")
    router.add_ws_route(path="/chat", handler=ws_handler)
    app.mount_router(router)
    assert await first_word(app, "/ws/chat") == "one"
    assert await is_missing(app, "/chat")


@covers("001 routes: a WSRouter mounted at a prefix")
async def test_a_router_for_websockets_mounted_at_a_prefix():
    app = NexiosApp()
    router = WSRouter()
    router.add_ws_route("/ws", ws_handler)
    app.mount_ws_router(router, "/ws")
    assert await first_word(app, "/ws/ws") == "one"
    assert await is_missing(app, "/ws")


@covers("001 routes: a WSRouter made of a list")
async def test_a_router_made_of_a_list():
    app = NexiosApp()
    router = WSRouter([WebsocketRoutes("/ws", ws_handler), WebsocketRoutes("/ws2", ws_handler2)])
    app.mount_ws_router(router)
    assert await first_word(app, "/ws") == "one"
    assert await first_word(app, "/ws2") == "two"


@covers("001 routes: a mount that replaces the prefix")
async def test_a_mount_replaces_the_prefix():
    app = NexiosApp()
    router = WSRouter(prefix="/ws")
    router.add_ws_route("/ws", ws_handler)
    router.add_ws_route("/ws2", ws_handler2)
    app.mount_ws_router(router, "/ws-overide")
    assert await first_word(app, "/ws-overide/ws") == "one"
    assert await first_word(app, "/ws-overide/ws2") == "two"
    assert await is_missing(app, "/ws/ws")


@covers("002 second part: an endpoint on a WSRouter")
async def test_a_router_mounted_before_it_has_routes(capsys):
    app = get_application()
    ws_router = WSRouter()
    app.mount_ws_router(ws_router)

    @ws_router.ws_route("/ws")
    async def repeat(ws: WebSocket):
        await ws.accept()
        try:
            while True:
                data = await ws.receive_text()
                await ws.send_text(f"You said: {data}")
        except Exception as e:
            print(f"over: {e}")

    async with run_app(app), connect(app, "/ws") as client:
        await client.send_text("hi")
        assert await client.receive_text() == "You said: hi"
        await client.send_text("there")
        assert await client.receive_text() == "You said: there"
    assert "over: " in capsys.readouterr().out


@covers("003 routes: a consumer as a route")
async def test_a_consumer_as_a_route():
    class ChatConsumer(WebSocketConsumer):
        encoding = "text"

        async def on_receive(self, websocket, data):
            await websocket.send_text(data.upper())

    app = NexiosApp()
    chat_route = ChatConsumer.as_route("/chat")
    app.add_ws_route(chat_route)
    assert isinstance(chat_route, WebsocketRoutes)
    async with run_app(app), connect(app, "/chat") as client:
        await client.send_text("psst")
        assert await client.receive_text() == "PSST"
