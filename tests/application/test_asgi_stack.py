"""`add_middleware`: plain ASGI middleware around everything that an application answers."""

from typing import Any

import pytest
from starlette.middleware.sessions import SessionMiddleware

from nexios_trio import Channel, ChannelBox, NexiosApp, WebSocket
from nexios_trio.exceptions import LifecycleError
from tests.asgi import connect, lifespan, request


class Noting:
    """Notes what passes, under its name."""

    def __init__(self, app: Any, seen: list[str], name: str = "") -> None:
        self.app = app
        self.seen = seen
        self.name = name

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen.append(f"{self.name}>{scope['type']}")

        async def own_send(event: Any) -> None:
            self.seen.append(f"{self.name}<{event['type']}")
            await send(event)

        await self.app(scope, receive, own_send)


def make_app(**options: Any) -> NexiosApp:
    app = NexiosApp(**options)

    @app.get("/")
    async def page(req: Any, res: Any) -> str:
        return "page"

    @app.ws_route("/")
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        await ChannelBox.add_channel_to_group(Channel(ws, "text"), "room")
        await ChannelBox.group_send("room", "to all")
        await ws.send_text("to one")

    return app


async def test_it_sees_requests_websockets_and_the_lifespan() -> None:
    app, seen = make_app(), list[str]()
    app.add_middleware(Noting, seen=seen)
    async with lifespan(app):
        assert seen == [">lifespan", "<lifespan.startup.complete"]
        seen.clear()
        assert (await request(app)).body == b"page"
        assert seen == [">http", "<http.response.start", "<http.response.body"]
        seen.clear()
        async with connect(app) as client:
            await client.accepted()
            assert [await client.text(), await client.text()] == ["to all", "to one"]
        assert seen == [">websocket", "<websocket.accept", "<websocket.send"]  # group messages go past it
        seen.clear()
    assert seen == ["<lifespan.shutdown.complete"]


async def test_the_first_is_outermost() -> None:
    app, seen = make_app(), list[str]()
    for name in "abc":
        app.add_middleware(Noting, seen=seen, name=name)
    await request(app)
    assert seen[:4] == ["a>http", "b>http", "c>http", "c<http.response.start"]
    seen.clear()
    async with connect(app) as client:
        await client.accepted()
    assert seen[:4] == ["a>websocket", "b>websocket", "c>websocket", "c<websocket.accept"]


@pytest.mark.parametrize(
    ("target", "headers", "status"),
    [("/nowhere", (), 404), ("/..", (), 400), ("/", [(b"origin", b"https://evil.example")], 403)],
)
async def test_it_sees_refusals(target: str, headers: Any, status: int) -> None:
    app, seen = make_app(), list[str]()
    app.add_middleware(Noting, seen=seen)
    async with connect(app, target, headers=headers) as client:
        assert await client.denied() == status
    assert seen == [">websocket", "<websocket.http.response.start", "<websocket.http.response.body"]


async def test_it_may_answer_by_itself_and_send_elsewhere() -> None:
    class Guarding:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if scope["path"] == "/secret":
                kind = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
                await send({"type": f"{kind}.start", "status": 418, "headers": []})
                await send({"type": f"{kind}.body", "body": b""})
            else:
                await self.app({**scope, "path": "/", "raw_path": b"/"}, receive, send)

    app = make_app()
    app.add_middleware(Guarding)
    assert (await request(app, "/secret")).status == 418
    assert (await request(app, "/anywhere")).body == b"page"
    async with connect(app, "/secret") as client:
        assert await client.denied() == 418
    async with connect(app, "/anywhere") as client:
        await client.accepted()


async def test_it_is_around_what_is_mounted() -> None:
    """Also where the application inside is one of ours."""
    seen: list[str] = []
    app = NexiosApp()
    app.mount("/in", make_app())
    app.add_middleware(Noting, seen=seen)
    assert (await request(app, "/in")).body == b"page"
    async with connect(app, "/in") as client:
        await client.accepted()
        assert [await client.text(), await client.text()] == ["to all", "to one"]
    assert "<websocket.accept" in seen


async def test_what_it_puts_into_the_scope_is_the_handler_s() -> None:
    app = NexiosApp()
    app.add_middleware(SessionMiddleware, secret_key="secret")

    @app.ws_route("/")
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        await ws.send_json(ws.session)

    @app.get("/login")
    async def login(req: Any, res: Any) -> str:
        req.session["user"] = "ann"
        return "in"

    cookie = (await request(app, "/login")).headers["set-cookie"].partition(";")[0]
    async with connect(app, headers=[(b"cookie", cookie.encode())]) as client:
        await client.accepted()
        assert await client.json() == {"user": "ann"}


async def test_mistakes_are_told_where_they_are_made() -> None:
    app = make_app()
    with pytest.raises(TypeError, match="secret_key"):
        app.add_middleware(SessionMiddleware)
    with pytest.raises(TypeError, match="ASGI middleware class, not 7"):
        app.add_middleware(7)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="scope, receive and send"):
        app.add_middleware(lambda app: "none")
    async with lifespan(app):
        with pytest.raises(LifecycleError, match="middleware was added while the application runs"):
            app.add_middleware(Noting, seen=[])
    assert (await request(app)).body == b"page"
