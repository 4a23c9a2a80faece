"""How to call what makes up an application, and what serves it."""

import logging
from typing import Any

from trio.lowlevel import checkpoint

from nexios_trio import NexiosApp, Router, Settings, WebSocket, conflate, get_application, max_lag, serve
from nexios_trio.http import Request, Response, error_response, serve_request
from nexios_trio.logs import Guard, JsonFormatter, TextFormatter, guard_loggers, printable
from nexios_trio.middleware import (
    AuthenticationMiddleware,
    ConnectionRateLimitMiddleware,
    HeartbeatMiddleware,
    MessageRateLimitMiddleware,
    OriginMiddleware,
    OverflowMiddleware,
    token_in_cookie,
    token_in_first_message,
    token_in_subprotocol,
    wrap_asgi,
)
from nexios_trio.routing import HttpRoute
from tests.checkpoints.stage import Recipe
from tests.server.support import config

SCOPE: dict[str, Any] = {"type": "http", "method": "POST", "path": "/", "headers": [], "query_string": b""}


async def receive() -> dict[str, Any]:
    """A body that is there already."""
    return {"type": "http.request", "body": b"1", "more_body": False}


async def send(_: Any) -> None:
    await checkpoint()


async def handle_http(req: Any, res: Any) -> None:
    await checkpoint()


async def handle(ws: WebSocket) -> None:
    await ws.accept()


async def pass_on(ws: WebSocket, following: Any) -> None:
    await following(ws)


async def endpoint(ws: WebSocket) -> None:
    await checkpoint()


async def nobody(_: Any) -> None:
    await checkpoint()


def request() -> Request:
    return Request(SCOPE, receive, send, Settings())


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    await checkpoint()


def nothing_around(app: Any) -> Any:
    return asgi


def inner(app: Any) -> Any:
    return app


ROUTES: dict[str, Recipe] = {
    "Router.__init__": lambda s: Router(),
    "RouteTree.find_http": lambda s: list(s.app.find_http("/")),
    "RouteTree.find_websocket": lambda s: s.app.find_websocket("/"),
    "Routes.add_route": lambda s: s.app.add_route(HttpRoute("/x", handle_http, "GET")),
    "Routes.add_ws_middleware": lambda s: s.app.add_ws_middleware(pass_on),
    "Routes.add_ws_route": lambda s: s.app.add_ws_route("/x", handle),
    "Routes.mount": lambda s: NexiosApp().mount("/x", asgi),
    "Routes.mount_router": lambda s: s.app.mount_router(Router()),
    "Routes.mount_ws_router": lambda s: s.app.mount_ws_router(Router(), "/x"),
    "Routes.ws_route": lambda s: s.app.ws_route("/x")(handle),
    "Routes.delete": lambda s: s.app.delete("/x")(handle_http),
    "Routes.get": lambda s: s.app.get("/x")(handle_http),
    "Routes.patch": lambda s: s.app.patch("/x")(handle_http),
    "Routes.post": lambda s: s.app.post("/x")(handle_http),
    "Routes.put": lambda s: s.app.put("/x")(handle_http),
}

OBSERVED: dict[str, Recipe] = {
    "ObservedRoutes.add_readiness_check": lambda s: s.app.add_readiness_check("database", checkpoint),
    "ObservedRoutes.mount_health": lambda s: s.app.mount_health(),
    "ApiRoutes.mount_api": lambda s: s.app.mount_api("/api", key="correct-horse-battery-staple"),
    "ObservedRoutes.mount_metrics": lambda s: s.app.mount_metrics(),
    "ObservedRoutes.trace": lambda s: s.app.trace(),
}

APPLICATION: dict[str, Recipe] = {
    "NexiosApp.__init__": lambda s: NexiosApp(),
    "NexiosApp.__call__": lambda s: s.app(SCOPE, receive, send),
    "NexiosApp.add_middleware": lambda s: NexiosApp().add_middleware(nothing_around),
    "NexiosApp.on_shutdown": lambda s: s.app.on_shutdown(Router),
    "NexiosApp.on_startup": lambda s: s.app.on_startup(Router),
    "NexiosApp.running": lambda s: NexiosApp().running(),
    "ReachesUsers.user": lambda s: s.app.user("ann"),
    "NexiosApp.start_soon": lambda s: s.app.start_soon(checkpoint),
    "Settings.describe": lambda s: Settings().describe(),
    "Settings.evolve": lambda s: Settings().evolve(debug=True),
    "Settings.from_environ": lambda s: Settings.from_environ({}),
    "get_application": lambda s: get_application(),
    "conflate": lambda s: conflate(str),
    "max_lag": lambda s: max_lag(1),
    "serve": lambda s: serve(s.app, config(), shutdown_trigger=checkpoint),
}

HTTP: dict[str, Recipe] = {
    "Request.__init__": lambda s: request(),
    "Request.body": lambda s: request().body(),
    "Request.json": lambda s: request().json(),
    "Request.stream": lambda s: request().stream(),
    "Request.text": lambda s: request().text(),
    "Response.__init__": lambda s: Response(),
    "Response.__call__": lambda s: Response()(SCOPE, receive, send),
    "Response.bytes": lambda s: Response().bytes(b"x"),
    "Response.html": lambda s: Response().html("x"),
    "Response.json": lambda s: Response().json(1),
    "Response.status": lambda s: Response().status(404),
    "Response.text": lambda s: Response().text("x"),
    "error_response": lambda s: error_response(404),
    "serve_request": lambda s: serve_request(s.app, SCOPE, receive, send, Settings()),
}

MIDDLEWARE: dict[str, Recipe] = {
    "AuthenticationMiddleware.__init__": lambda s: AuthenticationMiddleware(nobody),
    "AuthenticationMiddleware.__call__": lambda s: AuthenticationMiddleware(nobody)(s.ws, endpoint),
    "ConnectionRateLimitMiddleware.__init__": lambda s: ConnectionRateLimitMiddleware(),
    "ConnectionRateLimitMiddleware.__call__": lambda s: ConnectionRateLimitMiddleware()(s.ws, endpoint),
    "ConnectionRateLimitMiddleware.admit": lambda s: ConnectionRateLimitMiddleware().admit("x", 0),
    "HeartbeatMiddleware.__init__": lambda s: HeartbeatMiddleware(),
    "HeartbeatMiddleware.__call__": lambda s: HeartbeatMiddleware()(s.ws, endpoint),
    "OverflowMiddleware.__init__": lambda s: OverflowMiddleware("drop_oldest"),
    "OverflowMiddleware.__call__": lambda s: OverflowMiddleware("drop_oldest")(s.ws, endpoint),
    "MessageRateLimitMiddleware.__init__": lambda s: MessageRateLimitMiddleware(),
    "MessageRateLimitMiddleware.__call__": lambda s: MessageRateLimitMiddleware()(s.ws, endpoint),
    "OriginMiddleware.__init__": lambda s: OriginMiddleware(),
    "OriginMiddleware.__call__": lambda s: OriginMiddleware()(s.ws, endpoint),
    "token_in_cookie": lambda s: token_in_cookie("x", dict),
    "token_in_first_message": lambda s: token_in_first_message(dict),
    "token_in_subprotocol": lambda s: token_in_subprotocol(dict),
    "wrap_asgi": lambda s: wrap_asgi(inner),
}

LOGS: dict[str, Recipe] = {
    "Guard.__init__": lambda s: Guard(),
    "Guard.filter": lambda s: Guard().filter(logging.makeLogRecord({"levelno": logging.INFO})),
    "Guard.reset": lambda s: Guard().reset(),
    "JsonFormatter.__init__": lambda s: JsonFormatter(),
    "JsonFormatter.format": lambda s: JsonFormatter().format(logging.makeLogRecord({})),
    "TextFormatter.__init__": lambda s: TextFormatter(),
    "TextFormatter.format": lambda s: TextFormatter().format(logging.makeLogRecord({})),
    "guard_loggers": lambda s: guard_loggers(),
    "printable": lambda s: printable("x"),
}

RECIPES = {**ROUTES, **OBSERVED, **APPLICATION, **HTTP, **MIDDLEWARE, **LOGS}
