"""Registering, mounting and matching, as a client sees it. Each test_regression_... holds one known defect."""

import copy
import functools
from typing import Any

import pytest

from nexios_trio.application import NexiosApp, get_application
from nexios_trio.routing import HttpRoute, Router, WebSocketRoute, WebsocketRoute, WebsocketRoutes, WSRouter
from nexios_trio.websockets import WebSocket, WebSocketConsumer
from tests.asgi import connect, request, websocket_scope


async def hello(ws: WebSocket) -> None:
    await ws.accept()
    await ws.send_json({"path": ws.scope["path"], "params": ws.path_params})


async def other(ws: WebSocket) -> None:
    await ws.accept()
    await ws.send_json("other")


class Greeter(WebSocketConsumer):
    encoding = "text"

    async def on_receive(self, websocket: WebSocket, data: str) -> None:
        await websocket.send_text(f"{data} {websocket.path_params}")


async def answer(app: NexiosApp, target: str) -> Any:
    """The first message of a connection, or the status that refused it."""
    async with connect(app, target) as client:
        event = await client.event()
        if event["type"] == "websocket.http.response.start":
            return event["status"]
        assert event["type"] == "websocket.accept", event
        return await client.json()


async def params(app: NexiosApp, target: str) -> Any:
    found = await answer(app, target)
    return found["params"] if isinstance(found, dict) else found


# Registering


async def test_regression_app_websocket_is_a_decorator() -> None:
    app = get_application()
    router = Router()

    assert app.websocket("/a")(hello) is hello
    assert app.ws_route("/b")(hello) is hello
    assert router.websocket("/c")(hello) is hello
    assert router.ws_route("/d")(hello) is hello
    app.mount_router(router)
    for path in "/a", "/b", "/c", "/d":
        assert (await answer(app, path))["path"] == path


async def test_ws_route_as_a_call_returns_the_handler() -> None:
    app = NexiosApp()
    assert app.ws_route("/a", hello) is hello
    assert app.websocket("/b", handler=hello, name="b") is hello
    assert await params(app, "/a") == await params(app, "/b") == {}


@pytest.mark.parametrize(
    "add",
    [
        lambda routes, handler: routes.add_ws_route(WebsocketRoute("/a/{x}", handler)),
        lambda routes, handler: routes.add_ws_route(WebsocketRoutes("/a/{x}", handler)),
        lambda routes, handler: routes.add_ws_route(WebSocketRoute(path="/a/{x}", handler=handler)),
        lambda routes, handler: routes.add_ws_route("/a/{x}", handler),
        lambda routes, handler: routes.add_ws_route(path="/a/{x}", handler=handler),
        lambda routes, handler: routes.add_ws_route("/a/{x}", handler=handler),
        lambda routes, handler: routes.add_ws_route(handler, path="/a/{x}"),
    ],
)
async def test_regression_add_ws_route_takes_every_documented_form(add: Any) -> None:
    """On an application and on both routers, of every kind of handler."""
    for kind in (NexiosApp, Router, WSRouter):
        for handler in (hello, functools.partial(hello), Greeter, Greeter()):
            routes = kind()
            add(routes, handler)
            app = routes
            if not isinstance(routes, NexiosApp):
                app = NexiosApp()
                app.mount_router(routes)
            async with connect(app, "/a/1") as client:
                await client.accepted()
                if isinstance(handler, Greeter) or handler is Greeter:
                    await client.send("hi")
                    assert await client.text() == "hi {'x': '1'}", (kind, handler)
                else:
                    assert (await client.json())["params"] == {"x": "1"}, (kind, handler)


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((), {}),
        (("/a",), {}),
        ((hello,), {}),
        (("/a", "/b"), {}),
        (("/a", 7), {}),
        (("/a", hello), {"path": "/b"}),
        (({"path": "/a", "handler": hello},), {}),
        ((WebsocketRoute("/a", hello), hello), {}),
        ((WebsocketRoute("/a", hello),), {"path": "/b"}),
        ((Router(),), {}),
    ],
)
def test_regression_add_ws_route_refuses_anything_else_at_once(args: Any, kwargs: Any) -> None:
    with pytest.raises(TypeError, match="add_ws_route takes a WebsocketRoute|brings its own"):
        NexiosApp().add_ws_route(*args, **kwargs)


def test_a_decorator_without_its_path() -> None:
    app: Any = NexiosApp()
    with pytest.raises(TypeError, match=r"ws_route needs a path, as in @app.ws_route\('/ws'\)"):
        app.ws_route(hello)
    with pytest.raises(TypeError, match="get needs a path"):
        app.get(hello)


@pytest.mark.parametrize("path", ["ws", "/a//b", "/{id:number}", "/{a}{a}"])
def test_a_path_that_is_none(path: str) -> None:
    with pytest.raises(ValueError, match=r"slash|segment|convertor|twice"):
        NexiosApp().add_ws_route(path, hello)


def test_one_route_class_with_three_names() -> None:
    assert WebsocketRoutes is WebsocketRoute
    assert WebSocketRoute is WebsocketRoute
    route = WebsocketRoute("/a", hello, ["m"], "name")
    assert (route.path, route.handler, route.middleware, route.name) == ("/a", hello, ("m",), "name")
    assert WebsocketRoute("/a", hello).middleware == ()


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        ((7, hello), "a route's path is a str"),
        (("/a", "handler"), "a handler is an async function"),
        (("/a", hello, "middleware"), "middleware is a list"),
        (("/a", hello, Greeter), "middleware is a list"),
        (("/a", hello, (), 7), "a route's name"),
    ],
)
def test_a_route_that_is_none(args: Any, problem: str) -> None:
    with pytest.raises(TypeError, match=problem):
        WebsocketRoute(*args)


async def test_one_route_in_two_routers() -> None:
    route = WebsocketRoute("/a", hello)
    app = NexiosApp(routes=[route, Router("/b", routes=[route])])
    assert await params(app, "/a") == await params(app, "/b/a") == {}


# Handlers and parameters


async def test_regression_path_parameters_are_passed_by_name() -> None:
    app = NexiosApp()

    @app.ws_route("/rooms/{room_name}/{id:int}")
    async def room(websocket: WebSocket, id: int, room_name: str, **rest: Any) -> None:
        await websocket.accept()
        await websocket.send_json([room_name, id, rest])

    assert await answer(app, "/rooms/a/7") == ["a", 7, {}]


async def test_kwargs_get_all_path_parameters() -> None:
    app = NexiosApp()

    @app.ws_route("/{a}/{b:float}")
    async def handler(ws: WebSocket, **params: Any) -> None:
        await ws.accept()
        await ws.send_json(params)

    assert await answer(app, "/x/1.5") == {"a": "x", "b": 1.5}


async def unsuppliable(ws: WebSocket, room: str, user: str) -> None: ...


def test_regression_a_parameter_that_the_path_does_not_supply_is_refused_at_registration() -> None:
    app = NexiosApp()
    with pytest.raises(TypeError, match=r"unsuppliable has the parameter user.*'/\{room\}'"):
        app.ws_route("/{room}", unsuppliable)
    with pytest.raises(TypeError, match="user"):
        app.add_ws_route(WebsocketRoute("/{room}", unsuppliable))
    with pytest.raises(TypeError, match="user"):
        NexiosApp(routes=[WebsocketRoute("/{room}", unsuppliable)])


def test_a_routers_parameters_are_checked_once_nothing_can_supply_them_any_more() -> None:
    router = Router("/r/{room}")
    router.ws_route("/", unsuppliable)  # a router further out may have {user}
    Router("/u/{user}").mount_router(router)
    app = NexiosApp()
    with pytest.raises(TypeError, match="user"):
        app.mount_router(router)
    assert app.find_websocket("/r/1") is None

    outer = Router("/v/{user}")
    outer.mount_router(router)
    app.mount_router(outer)
    assert app.find_websocket("/v/1/r/2") is not None
    with pytest.raises(TypeError, match="elsewhere"):

        @router.ws_route("/x")
        async def late(ws: WebSocket, elsewhere: str) -> None: ...

    assert app.find_websocket("/v/1/r/2/x") is None


def test_a_handler_that_is_not_async_is_refused_at_registration() -> None:
    with pytest.raises(TypeError, match="not async"):
        NexiosApp().ws_route("/", lambda ws: None)


async def test_a_consumer_class_is_new_for_each_connection() -> None:
    class Counter(WebSocketConsumer):
        count = 0

        async def on_connect(self, websocket: WebSocket) -> None:
            await websocket.accept()
            self.count += 1
            await websocket.send_json(self.count)

    app = NexiosApp()
    app.ws_route("/class")(Counter)
    app.ws_route("/instance", Counter())
    app.add_ws_route(Counter.as_route("/route"))
    for path in "/class", "/instance", "/route":
        assert await answer(app, path) == await answer(app, path) == 1


async def test_regression_as_route_passes_its_arguments_on() -> None:
    class Greeting(WebSocketConsumer):
        def __init__(self, greeting: str) -> None:
            super().__init__()
            self.greeting = greeting

        async def on_connect(self, websocket: WebSocket) -> None:
            await websocket.accept()
            await websocket.send_json(self.greeting)

    app = NexiosApp(routes=[Greeting.as_route("/a", greeting="hi", name="route"), WebsocketRoute("/b", Greeting("ho"))])
    with pytest.raises(TypeError, match=r"Greeting.as_route\(path, greeting=...\)"):
        app.ws_route("/c", Greeting)
    assert (await answer(app, "/a"), await answer(app, "/b")) == ("hi", "ho")


@pytest.mark.parametrize("key", ["path_params", "route_params"])
async def test_regression_path_params_are_a_dict_in_the_scope_and_always_there(key: str) -> None:
    seen = []

    async def handler(ws: WebSocket) -> None:
        seen.append((type(ws.scope[key]), dict(ws.scope[key]), ws.path_params is ws.scope[key]))
        await ws.accept()
        await ws.send_json(None)

    app = NexiosApp(routes=[WebsocketRoute("/a", handler), WebsocketRoute("/b/{x:int}", handler)])
    await answer(app, "/a")
    await answer(app, "/b/3")
    assert seen == [(dict, {}, True), (dict, {"x": 3}, True)]


async def test_regression_query_params_are_in_the_scope() -> None:
    app = NexiosApp()

    @app.ws_route("/")
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        query = ws.scope["query_params"]
        assert query is ws.query_params
        await ws.send_json([query.get("a"), query.getlist("a"), query.get("none", "default")])

    assert await answer(app, "/?a=1&a=2") == ["2", ["1", "2"], "default"]


async def test_parameters_of_a_framework_further_out_are_kept() -> None:
    app = NexiosApp(routes=[WebsocketRoute("/{x}", hello)])
    async with connect(app, "/1", path_params={"tenant": "t"}) as client:
        await client.accepted()
        assert (await client.json())["params"] == {"tenant": "t", "x": "1"}


# Routers and mounting


async def test_regression_ws_router_without_a_prefix_can_be_mounted() -> None:
    app = NexiosApp()
    router = WSRouter()
    app.mount_ws_router(router)
    router.ws_route("/ws")(hello)
    assert await params(app, "/ws") == {}


@pytest.mark.parametrize("kind", [Router, WSRouter])
async def test_regression_a_list_of_routes_as_first_argument(kind: Any) -> None:
    app = NexiosApp()
    app.mount_ws_router(kind([WebsocketRoutes("/ws", hello), WebsocketRoutes("/ws2", other)]))
    assert await params(app, "/ws") == {}
    assert await answer(app, "/ws2") == "other"


async def test_a_prefix_as_first_argument() -> None:
    app = NexiosApp()
    router = Router("/ws/")
    router.add_ws_route(path="/chat", handler=hello)
    app.mount_router(router, "chat")
    assert await params(app, "/ws/chat") == {}
    assert await answer(app, "/chat") == 404


@pytest.mark.parametrize("prefix", ["ws", "ws/", "{x}"])
def test_a_prefix_without_its_slash(prefix: str) -> None:
    for make in (Router, lambda prefix: Router(prefix=prefix), lambda p: NexiosApp().mount_ws_router(Router(), p)):
        with pytest.raises(ValueError, match="a prefix begins with a slash"):
            make(prefix)


def test_paths_and_prefixes_that_are_no_text() -> None:
    app: Any = NexiosApp()
    with pytest.raises(TypeError, match="a prefix is a str"):
        app.mount_ws_router(Router(), 7)
    with pytest.raises(TypeError, match="a route's path is a str"):
        app.add_route(HttpRoute(app, hello))


def test_two_prefixes_or_two_lists() -> None:
    with pytest.raises(TypeError, match="two prefixes"):
        Router("/a", prefix="/b")
    with pytest.raises(TypeError, match="two lists"):
        Router([], routes=[])


@pytest.mark.parametrize("mount", [NexiosApp().mount_router, Router("/b").mount_router])
def test_regression_a_prefix_given_to_mount_router_is_refused(mount: Any) -> None:
    with pytest.raises(TypeError, match=r"use Router\(prefix='/...'\)"):
        mount(Router(), "/prefix")
    with pytest.raises(TypeError, match=r"use Router\(prefix='/...'\)"):
        mount(Router(), prefix="/prefix")


@pytest.mark.parametrize("thing", [NexiosApp(), "/a", None, hello])
def test_only_routers_can_be_mounted(thing: Any) -> None:
    for mount in NexiosApp().mount_router, NexiosApp().mount_ws_router:
        with pytest.raises(TypeError, match="only a Router can be mounted"):
            mount(thing)


async def test_regression_mount_ws_router_replaces_the_prefix_for_this_mount_only() -> None:
    app = NexiosApp()
    router = WSRouter(prefix="/ws")
    router.add_ws_route("/ws", hello)
    app.mount_ws_router(router, "/ws-overide")
    assert await params(app, "/ws-overide/ws") == {}
    assert await answer(app, "/ws/ws") == 404
    assert router.prefix == "/ws"

    app.mount_ws_router(router)
    app.mount_ws_router(router, "/third/{x}")
    for path, found in (("/ws-overide/ws", {}), ("/ws/ws", {}), ("/third/1/ws", {"x": "1"})):
        assert await params(app, path) == found


async def test_a_mounted_router_is_live() -> None:
    app = NexiosApp()
    outer, inner = Router("/o"), Router("/i")
    app.mount_router(outer)
    assert await answer(app, "/o/i/late") == 404
    outer.mount_router(inner)
    assert await answer(app, "/o/i/late") == 404
    inner.ws_route("/late", hello)
    assert await params(app, "/o/i/late") == {}


def test_a_router_inside_itself() -> None:
    router, inner = Router("/a"), Router("/b")
    router.mount_router(inner)
    for mount in (lambda: router.mount_router(router), lambda: inner.mount_router(router)):
        with pytest.raises(ValueError, match="inside itself"):
            mount()


# Matching


async def test_regression_a_prefix_does_not_take_longer_segments() -> None:
    app = NexiosApp(
        routes=[Router("/ws", routes=[WebsocketRoute("/{rest:path}", hello)]), WebsocketRoute("/wsfoo", other)]
    )
    assert await answer(app, "/wsfoo") == "other"
    assert await answer(app, "/wsbar") == 404
    assert await params(app, "/ws/foo") == {"rest": "foo"}


async def test_regression_a_route_equal_to_its_prefix() -> None:
    app = NexiosApp(routes=[Router("/ws", routes=[WebsocketRoute("/ws", hello)])])
    assert await params(app, "/ws/ws") == {}
    assert await answer(app, "/ws") == 404
    assert await answer(app, "/ws/ws/ws") == 404


async def test_regression_parameters_in_prefixes_work_and_merge() -> None:
    room = Router("/rooms/{room}")
    tenant = Router("/tenants/{tenant:int}")

    @room.ws_route("/users/{user}")
    async def handler(ws: WebSocket, tenant: int, room: str, user: str) -> None:
        await ws.accept()
        await ws.send_json([tenant, room, user, ws.path_params])

    tenant.mount_router(room)
    app = NexiosApp(routes=[tenant])
    merged = {"tenant": 7, "room": "a", "user": "u"}
    assert await answer(app, "/tenants/7/rooms/a/users/u") == [7, "a", "u", merged]
    assert await answer(app, "/tenants/x/rooms/a/users/u") == 404


def test_a_parameter_twice_on_the_way() -> None:
    router = Router("/{id}")
    with pytest.raises(ValueError, match="'id' comes twice"):
        router.ws_route("/{id}", hello)
    inner = Router("/x", routes=[WebsocketRoute("/{id}", hello)])
    with pytest.raises(ValueError, match="'id' comes twice"):
        router.mount_router(inner)
    assert router.find_websocket("/1/x/2") is None


async def test_regression_the_search_goes_on_after_a_router_without_a_match() -> None:
    first = Router("/ws", routes=[WebsocketRoute("/a", hello)])
    second = Router("/ws", routes=[WebsocketRoute("/b", other)])
    app = NexiosApp(routes=[Router(routes=[first]), second, WebsocketRoute("/ws/c", other)])
    assert await answer(app, "/ws/b") == await answer(app, "/ws/c") == "other"


async def test_regression_the_callers_scope_is_not_changed() -> None:
    app = NexiosApp(routes=[Router("/ws/{x}", routes=[WebsocketRoute("/{y}", hello)])])
    scope = websocket_scope("/ws/1/2")
    before = copy.deepcopy(scope)
    async with connect(lambda _, receive, send: app(scope, receive, send), "/") as client:
        await client.accepted()
    assert scope == before


async def test_the_first_registered_wins() -> None:
    app = NexiosApp()
    app.ws_route("/{x}", hello)
    app.ws_route("/a", other)
    app.ws_route("/b/c", other)
    app.ws_route("/b/{x}", hello)
    assert await params(app, "/a") == {"x": "a"}
    assert await answer(app, "/b/c") == "other"


async def test_http_and_websocket_on_one_path() -> None:
    app = NexiosApp()
    app.ws_route("/both", hello)

    @app.get("/both")
    async def page(req: Any, res: Any) -> str:
        return "page"

    assert await params(app, "/both") == {}
    assert (await request(app, "/both")).body == b"page"
    assert (await request(app, "/both", "POST")).status == 405


async def test_the_root_of_a_router_with_and_without_a_slash() -> None:
    for path in "/", "":
        app = NexiosApp(routes=[Router("/ws", routes=[WebsocketRoute(path, hello)])])
        assert await params(app, "/ws") == await params(app, "/ws/") == {}
        assert await answer(app, "/ws/x") == 404


async def test_an_encoded_slash_reaches_the_handler_in_its_parameter() -> None:
    app = NexiosApp(routes=[WebsocketRoute("/{room}", hello), WebsocketRoute("/{a}/{b}", other)])
    assert await params(app, "/a%2Fb") == {"room": "a/b"}
    assert await answer(app, "/a/b") == "other"


# HTTP routes of routers


async def test_http_routes_in_routers() -> None:
    router = Router("/api/{version:int}")

    @router.get("/users/{name}")
    async def user(req: Any, res: Any, version: int, name: str) -> Any:
        return [version, name, req.path_params]

    async def made(req: Any, res: Any) -> Any:
        return "made"

    router.add_route(HttpRoute("/users", made, "POST"))
    app = NexiosApp(routes=[router])
    assert (await request(app, "/api/2/users/u")).json() == [2, "u", {"version": 2, "name": "u"}]
    assert (await request(app, "/api/2/users", "POST")).body == b"made"


def test_http_routes_that_are_none() -> None:
    app = NexiosApp()

    async def needs(req: Any, res: Any, id: int) -> None: ...

    with pytest.raises(TypeError, match="id"):
        app.get("/")(needs)
    with pytest.raises(TypeError, match="takes no response"):
        app.get("/")(hello)
    with pytest.raises(ValueError, match="method is one of GET, POST"):
        HttpRoute("/", needs, "FETCH")
    with pytest.raises(TypeError, match="a route is a WebsocketRoute"):
        app.add_route("/")
