"""The chain: order, places of registration, and what a middleware can do."""

import functools
from typing import Any, ClassVar

import pytest

from nexios_trio.application import NexiosApp
from nexios_trio.middleware import Next
from nexios_trio.middleware.chain import as_middleware
from nexios_trio.routing import Router, WebsocketRoute
from nexios_trio.websockets import WebSocket, WebSocketConsumer
from tests.asgi import connect

Calls = list[tuple[str, Any]]


def noting(name: str, calls: Calls) -> Any:
    async def middleware(websocket: WebSocket, next: Next) -> Any:
        calls.append((name, websocket))
        result = await next(websocket)
        calls.append((f"/{name}", websocket))
        return result

    return middleware


async def accepting(ws: WebSocket) -> None:
    await ws.accept()


async def visit(app: Any, target: str = "/") -> None:
    async with connect(app, target) as client:
        await client.accepted()


async def test_regression_middleware_runs_in_every_place_in_order() -> None:
    calls: Calls = []

    class Consumer(WebSocketConsumer):
        middleware: ClassVar[Any] = [noting("consumer", calls)]

        async def on_connect(self, websocket: WebSocket) -> None:
            calls.append(("handler", websocket))
            await websocket.close()

    inner = Router("/i", middleware=[noting("inner", calls)])
    outer = Router("/o", routes=[inner])
    outer.add_ws_middleware(noting("outer", calls))
    app = NexiosApp(middleware=[noting("app 1", calls)])
    app.add_ws_middleware(noting("app 2", calls))
    app.mount_router(outer)
    route_middleware = [noting("route 1", calls), noting("route 2", calls)]
    inner.ws_route("/ws_route", Consumer, middleware=route_middleware)
    inner.add_ws_route("/add_ws_route", Consumer(), middleware=route_middleware)
    inner.add_ws_route(WebsocketRoute("/route", Consumer, middleware=route_middleware))
    inner.add_ws_route(Consumer.as_route("/as_route", middleware=route_middleware))

    order = ["app 1", "app 2", "outer", "inner", "route 1", "route 2", "consumer"]
    expected = [*order, "handler", *(f"/{name}" for name in reversed(order))]
    for path in "ws_route", "add_ws_route", "route", "as_route":
        calls.clear()
        async with connect(app, f"/o/i/{path}") as client:
            assert await client.denied() == 403
        assert [name for name, _ in calls] == expected, path
        assert len({id(websocket) for _, websocket in calls}) == 1


async def test_middleware_added_after_the_routes_counts() -> None:
    calls: Calls = []
    router = Router(routes=[WebsocketRoute("/", accepting)])
    app = NexiosApp(routes=[router])
    await visit(app)
    router.add_ws_middleware(noting("late", calls))
    app.add_ws_middleware(noting("later", calls))
    await visit(app)
    assert [name for name, _ in calls] == ["later", "late", "/late", "/later"]


class Counting:
    made = 0

    def __init__(self) -> None:
        type(self).made += 1
        self.calls = 0

    async def __call__(self, websocket: WebSocket, next: Next) -> Any:
        self.calls += 1
        websocket.state.calls = self.calls
        return await next(websocket)


async def test_a_class_is_instantiated_once() -> None:
    app = NexiosApp(middleware=[Counting])
    seen = []

    @app.ws_route("/")
    async def handler(ws: WebSocket) -> None:
        seen.append(ws.state.calls)
        await ws.accept()

    await visit(app)
    await visit(app)
    assert (Counting.made, seen) == (1, [1, 2])


async def test_middleware_sees_the_paths_parameters() -> None:
    seen = []

    async def middleware(websocket: WebSocket, next: Next) -> None:
        seen.append(dict(websocket.path_params))
        websocket.scope["path_params"]["room"] = "changed"
        await next(websocket)

    app = NexiosApp(middleware=[middleware])

    @app.ws_route("/{room}")
    async def handler(ws: WebSocket, room: str) -> None:
        seen.append({"handler": room})
        await ws.accept()

    await visit(app, "/a")
    assert seen == [{"room": "a"}, {"handler": "changed"}]


async def test_a_middleware_may_catch_what_the_handler_raises() -> None:
    async def middleware(websocket: WebSocket, next: Next) -> None:
        try:
            await next(websocket)
        except LookupError:
            await websocket.close(4100, "not found")

    app = NexiosApp(middleware=[middleware])

    @app.ws_route("/")
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        raise LookupError

    async with connect(app) as client:
        await client.accepted()
        assert await client.closed() == (4100, "not found")


class Refusing:
    def __init__(self, how: str) -> None:
        self.how = how

    async def __call__(self, websocket: WebSocket, next: Next) -> Any:
        if self.how == "close":
            await websocket.close(code=4001)
        elif self.how == "deny":
            await websocket.deny(429)
        elif self.how == "reject":
            await websocket.reject(4001, "no")


async def test_refusing_before_accept_is_an_http_response() -> None:
    routes = [WebsocketRoute(f"/{how}", accepting, [Refusing(how)]) for how in ("close", "deny", "return", "reject")]
    app = NexiosApp(routes=routes)
    for path, status in (("/close", 403), ("/deny", 429), ("/return", 403)):
        async with connect(app, path) as client:
            assert await client.denied() == status


async def test_reject_shows_the_client_its_code() -> None:
    app = NexiosApp(routes=[WebsocketRoute("/", accepting, [Refusing("reject")])])
    async with connect(app) as client:
        await client.accepted()
        assert await client.closed() == (4001, "no")


async def test_every_form_of_a_middleware() -> None:
    calls: Calls = []

    class Methods:
        async def method(self, websocket: WebSocket, next: Next) -> Any:
            calls.append(("method", websocket))
            return await next(websocket)

    async def with_more(name: str, websocket: WebSocket, next: Next) -> Any:
        calls.append((name, websocket))
        return await next(websocket)

    app = NexiosApp(middleware=[Methods().method, functools.partial(with_more, "partial")])
    app.ws_route("/", accepting)
    await visit(app)
    assert [name for name, _ in calls] == ["method", "partial"]


def plain(websocket: Any, next: Any) -> None: ...


async def one_parameter(websocket: Any) -> None: ...


class NeedsArguments:
    def __init__(self, limit: int) -> None: ...

    async def __call__(self, websocket: Any, next: Any) -> None: ...


class PlainAsgi:
    def __init__(self, app: Any) -> None: ...

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (7, "a middleware is an async function"),
        (plain, "plain is not async"),
        (one_parameter, r"one_parameter cannot be called with \(websocket, next\)"),
        (NeedsArguments, "NeedsArguments needs limit: register an instance"),
        (PlainAsgi, r"plain ASGI middleware: register wrap_asgi\(PlainAsgi\)"),
        (PlainAsgi(None), "PlainAsgi cannot be called with"),
    ],
)
def test_what_is_no_middleware_is_refused_at_registration(wrong: Any, problem: str) -> None:
    with pytest.raises(TypeError, match=problem):
        as_middleware(wrong)
    for register in (
        lambda: NexiosApp(middleware=[wrong]),
        lambda: NexiosApp().add_ws_middleware(wrong),
        lambda: Router(middleware=[wrong]),
        lambda: NexiosApp().ws_route("/", accepting, middleware=[wrong]),
        lambda: NexiosApp(routes=[WebsocketRoute("/", accepting, [wrong])]),
    ):
        with pytest.raises(TypeError, match=problem):
            register()


def test_middleware_not_in_a_list() -> None:
    with pytest.raises(TypeError, match="a list of middleware"):
        NexiosApp(middleware=Counting)  # type: ignore[arg-type]
