"""A tree of routes as a list."""

from functools import partial

from starlette.staticfiles import StaticFiles

from nexios_trio import NexiosApp, Router, WebSocketConsumer
from nexios_trio.routing.listing import ListedRoute, list_routes

HERE = __name__


class Check:
    async def __call__(self, websocket, next):
        return await next(websocket)


async def outer(websocket, next):
    return await next(websocket)


class Room(WebSocketConsumer):
    middleware = [Check]


async def page(req, res):
    pass


async def echo(ws, room, size=0):
    pass


def test_what_is_mounted_is_listed_where_it_is_reached(tmp_path):
    inner = Router("/rooms", middleware=[Check()])
    inner.ws_route("/{room}", partial(echo, size=3), name="room")
    inner.get("/")(page)
    other = NexiosApp()
    other.ws_route("/consumer", Room)
    app = NexiosApp(middleware=[outer])
    app.post("/page")(page)
    app.mount_router(inner)
    app.mount_ws_router(inner, "/again")
    app.mount("/static", StaticFiles(directory=tmp_path), name="files")
    app.mount("/other", other)
    assert list_routes(app) == [
        ListedRoute("POST", "/page", f"{HERE}.page"),
        ListedRoute("WebSocket", "/rooms/{room}", f"{HERE}.echo", ("outer", "Check"), "room"),
        ListedRoute("GET", "/rooms", f"{HERE}.page"),
        ListedRoute("WebSocket", "/again/{room}", f"{HERE}.echo", ("outer", "Check"), "room"),
        ListedRoute("GET", "/again", f"{HERE}.page"),
        ListedRoute("mount", "/static", "starlette.staticfiles.StaticFiles", ("outer",), "files"),
        ListedRoute("mount", "/other", "nexios_trio.application.app.NexiosApp", ("outer",)),
        ListedRoute("WebSocket", "/other/consumer", f"{HERE}.Room", ("outer", "Check")),
    ]


def test_no_routes():
    assert list_routes(NexiosApp()) == []
