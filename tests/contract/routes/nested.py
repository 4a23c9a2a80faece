"""Routers in routers, prefixes with parameters, mounts that replace a prefix. Each handler says who it is."""

from typing import Any

from nexios_trio.http import Request, Response
from nexios_trio.routing import Router, WebsocketRoutes, WSRouter
from nexios_trio.websockets import WebSocket

router = Router("/nested")


def named(name: str) -> Any:
    async def handler(ws: WebSocket, **params: Any) -> None:
        await ws.accept()
        await ws.send_json([name, params])

    return handler


# Mounted before it has routes, twice, the second time under another prefix.
rooms = WSRouter(prefix="/rooms/{room}")
router.mount_ws_router(rooms)
router.mount_ws_router(rooms, "/other")
rooms.add_ws_route("/user/{id:int}", named("user"))
rooms.add_ws_route(path="/", handler=named("root"))

# Two routers at one prefix: where the first has no match, the search goes on.
first = Router(prefix="/shared")
first.add_ws_route(WebsocketRoutes("/one", named("one")))
second = Router([WebsocketRoutes("/one", named("shadowed")), WebsocketRoutes("/two", named("two"))], prefix="/shared")
router.mount_router(first)
router.mount_router(second)
router.add_ws_route("/shared/{rest:path}", named("rest"))

# A route equal to its prefix, and one path for both protocols.
same = WSRouter(prefix="/ws")
same.ws_route("/ws", named("ws"))
router.mount_ws_router(same)
router.websocket("/both", named("both"))


@router.get("/both")
async def both(req: Request, res: Response) -> str:
    return "http"
