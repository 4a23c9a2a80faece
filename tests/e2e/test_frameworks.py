"""Next to other frameworks, theirs in ours and ours in theirs, on hypercorn's trio worker and our runner: real sockets."""

import json
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import fastapi
import litestar
import pytest
import quart
import starlette.authentication as authentication
import trio
from hypercorn.middleware.dispatcher import TrioDispatcherMiddleware
from litestar.params import FromPath
from quart_trio import QuartTrio
from starlette.applications import Starlette
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket as StarletteWebSocket

from nexios_trio import ChannelBox, NexiosApp, WebSocket, open_channel
from tests.e2e.hosts import SERVERS, Server, served
from tests.server.support import DEADLINE, Raw, ask, websocket

Calls = list[str]


async def get(port: int, path: str, *headers: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body. The connection stays open, as a browser's does."""
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", *headers]
    async with Raw(await trio.open_tcp_stream("127.0.0.1", port)) as client:
        await client.send("\r\n".join(lines).encode() + b"\r\n\r\n")
        head = (await client.until(b"\r\n\r\n")).decode().splitlines()
        found = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-1])}
        return int(head[0].split()[1]), found, await client.exactly(int(found.get("content-length", "0")))


async def handshake(port: int, path: str, *headers: str) -> int:
    """The status that a WebSocket handshake is answered with."""
    async with Raw(await trio.open_tcp_stream("127.0.0.1", port)) as client:
        return int((await client.handshake(path, *headers)).split()[1])


# Theirs in ours


def starlette_app(calls: Calls) -> Any:
    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncGenerator[None]:
        calls.append("up")
        yield
        calls.append("down")

    async def page(request: Any) -> PlainTextResponse:
        return PlainTextResponse(str(request.url_for("page", name="x")))

    async def echo(ws: StarletteWebSocket) -> None:
        await ws.accept()
        async for text in ws.iter_text():
            await ws.send_text(text)

    routes = [Route("/page/{name}", page, name="page"), WebSocketRoute("/echo", echo)]
    return Starlette(routes=routes, lifespan=lifespan)


def fastapi_app(calls: Calls) -> Any:
    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncGenerator[None]:
        calls.append("up")
        yield
        calls.append("down")

    app = fastapi.FastAPI(lifespan=lifespan)

    @app.get("/page/{name}", name="page")
    async def page(name: str, request: fastapi.Request) -> Any:
        return fastapi.responses.PlainTextResponse(str(request.url_for("page", name=name)))

    @app.websocket("/echo")
    async def echo(ws: fastapi.WebSocket) -> None:
        await ws.accept()
        async for text in ws.iter_text():
            await ws.send_text(text)

    return app


def litestar_app(calls: Calls) -> Any:
    @litestar.get("/page/{name:str}", media_type="text/plain")
    async def page(name: FromPath[str], request: litestar.Request[Any, Any, Any]) -> str:
        return str(request.url)

    @litestar.websocket("/echo")
    async def echo(socket: litestar.WebSocket[Any, Any, Any]) -> None:
        await socket.accept()
        async for text in socket.iter_data("text"):
            await socket.send_text(text)

    up, down = (lambda: calls.append("up")), (lambda: calls.append("down"))
    return litestar.Litestar([page, echo], on_startup=[up], on_shutdown=[down])


def quart_app(calls: Calls) -> Any:
    app = QuartTrio("quart")

    @app.route("/page/<name>")
    async def page(name: str) -> Any:
        return quart.request.url, {"content-type": "text/plain"}

    @app.websocket("/echo")
    async def echo() -> None:
        while True:
            await quart.websocket.send(await quart.websocket.receive())

    @app.before_serving
    async def up() -> None:
        calls.append("up")

    @app.after_serving
    async def down() -> None:
        calls.append("down")

    return app


FRAMEWORKS = pytest.mark.parametrize(
    "make",
    [starlette_app, fastapi_app, litestar_app, quart_app],
    ids=lambda make: make.__name__.removesuffix("_app"),
)


@SERVERS
@FRAMEWORKS
async def test_mounted_in_ours(serve: Server, make: Callable[[Calls], Any]) -> None:
    calls: Calls = []
    app = NexiosApp(drain_jitter=0)
    app.mount("/other", make(calls))
    async with served(app, serve) as (port, _):
        assert calls == ["up"]
        status, _, body = await get(port, "/other/page/x")
        assert (status, body.decode()) == (200, "http://localhost/other/page/x")
        assert (await get(port, "/other/nowhere"))[0] == 404
        async with websocket(port, "/other/echo") as client:
            assert await ask(client, "hello") == "hello"
        assert await handshake(port, "/other/nowhere") in (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)
    assert calls == ["up", "down"]


@SERVERS
async def test_a_group_send_from_another_framework_s_handler(serve: Server) -> None:
    """Mounted, it runs in our application, so the functions of `ChannelBox` find the groups; also from a thread."""
    app, other = NexiosApp(drain_jitter=0), fastapi.FastAPI()

    @app.ws_route("/news")
    async def news(ws: WebSocket) -> None:
        async with open_channel(ws, payload_type="text") as channel, channel.member("news"):
            await channel.send("joined")
            await channel.receive()

    @other.get("/tell")
    async def tell() -> str:
        return (await ChannelBox.group_send("news", "from a handler")).name

    @other.get("/tell/from/a/thread")
    def tell_from_a_thread() -> str:
        return trio.from_thread.run(ChannelBox.group_send, "news", "from a thread").name

    app.mount("/api", other)
    async with served(app, serve) as (port, _), websocket(port, "/news") as client:
        with trio.fail_after(DEADLINE):
            assert await client.get_message() == "joined"
            for path, message in [("/tell", "from a handler"), ("/tell/from/a/thread", "from a thread")]:
                assert (await get(port, f"/api{path}"))[2] == b'"GROUP_SEND"'
                assert await client.get_message() == message


@SERVERS
async def test_static_files(serve: Server, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<h1>start</h1>")
    (tmp_path / "app.js").write_text("go()")
    (tmp_path.parent / "secret").write_text("secret")
    app = NexiosApp(drain_jitter=0)
    app.mount("/static", StaticFiles(directory=tmp_path))
    app.mount("/", StaticFiles(directory=tmp_path, html=True))
    async with served(app, serve) as (port, _):
        status, headers, body = await get(port, "/static/app.js")
        assert (status, body) == (200, b"go()")
        assert headers["content-type"].startswith("text/javascript")
        assert (await get(port, "/static/app.js", f"If-None-Match: {headers['etag']}"))[0] == 304
        assert (await get(port, "/"))[2] == b"<h1>start</h1>"
        for path in ("/static/none", "/static/", "/static/%2e%2e/secret", "/static/..%2fsecret", "/static/%00"):
            status, _, body = await get(port, path)
            assert status in (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND), path
            assert b"secret" not in body
        assert await handshake(port, "/static/app.js") == HTTPStatus.FORBIDDEN


# Ours in theirs


def echo_app(calls: Calls) -> NexiosApp:
    app = NexiosApp(drain_jitter=0)
    app.on_startup(lambda: calls.append("up"))
    app.on_shutdown(lambda: calls.append("down"))

    @app.ws_route("/echo/{room}")
    async def echo(ws: WebSocket, room: str) -> None:
        await ws.accept()
        async for text in ws.iter_text():
            await ws.send_text(f"{room}: {text}")

    @app.get("/page")
    async def page(req: Any, res: Any) -> str:
        return "ours"

    return app


def in_starlette(app: NexiosApp) -> Any:
    @asynccontextmanager
    async def lifespan(host: Any) -> AsyncGenerator[Any]:
        async with app.running() as state:
            yield state

    return Starlette(routes=[Mount("/live", app)], lifespan=lifespan)


def in_fastapi(app: NexiosApp) -> Any:
    @asynccontextmanager
    async def lifespan(host: Any) -> AsyncGenerator[Any]:
        async with app.running() as state:
            yield state

    host = fastapi.FastAPI(lifespan=lifespan)
    host.mount("/live", app)
    return host


def in_litestar(app: NexiosApp) -> Any:
    @asynccontextmanager
    async def lifespan(host: Any) -> AsyncGenerator[None]:
        async with app.running():
            yield

    mounted = litestar.asgi("/live", is_mount=True, copy_scope=True)(app)
    return litestar.Litestar([mounted], lifespan=[lifespan])


def beside_quart(app: NexiosApp) -> Any:
    mounts: Any = {"/live": app, "": QuartTrio("quart")}
    return TrioDispatcherMiddleware(mounts)


HOSTS = pytest.mark.parametrize("host", [in_starlette, in_fastapi, in_litestar, beside_quart], ids=lambda f: f.__name__)


@SERVERS
@HOSTS
async def test_mounted_in_theirs(
    serve: Server, host: Callable[[NexiosApp], Any], caplog: pytest.LogCaptureFixture
) -> None:
    calls: Calls = []
    async with served(host(echo_app(calls)), serve) as (port, _):
        assert calls == ["up"]
        assert (await get(port, "/live/page"))[2] == b"ours"
        async with websocket(port, "/live/echo/tea") as client:
            assert await ask(client, "hello") == "tea: hello"
        assert await handshake(port, "/live/nowhere") == HTTPStatus.NOT_FOUND
    assert calls == ["up", "down"]
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


# Starlette's middleware around ours


class ByToken(authentication.AuthenticationBackend):
    async def authenticate(self, conn: Any) -> Any:
        name = conn.headers.get("authorization", "").removeprefix("Bearer ")
        if name == "bad":
            raise authentication.AuthenticationError("bad token")
        return (authentication.AuthCredentials(["in"]), authentication.SimpleUser(name)) if name else None


def guarded_app() -> NexiosApp:
    app = NexiosApp(drain_jitter=0, allowed_origins=["https://app.example"])
    app.add_middleware(CORSMiddleware, allow_origins=["https://app.example"], allow_credentials=True)
    app.add_middleware(SessionMiddleware, secret_key="secret")
    app.add_middleware(AuthenticationMiddleware, backend=ByToken())

    @app.get("/login/{name}")
    async def login(req: Any, res: Any, name: str) -> str:
        req.session["name"] = name
        return "in"

    @app.ws_route("/who")
    async def who(ws: WebSocket) -> None:
        async with open_channel(ws, payload_type="json") as channel, channel.member("all"):
            user = ws.scope["user"]
            await channel.send([ws.session.get("name"), user.is_authenticated, user.display_name])
            await ChannelBox.group_send("all", "a group's message")
            await channel.receive()

    return app


async def who(port: int, **headers: str) -> Any:
    """What the connection says of itself."""
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    async with websocket(port, "/who", extra_headers=pairs) as client:
        with trio.fail_after(DEADLINE):
            answer = json.loads(await client.get_message())
            assert json.loads(await client.get_message()) == "a group's message"
            return answer


@SERVERS
async def test_sessions_cors_and_authentication_for_websockets(serve: Server) -> None:
    async with served(guarded_app(), serve) as (port, _):
        _, headers, _ = await get(port, "/login/ann", "Origin: https://app.example")
        assert headers["access-control-allow-origin"] == "https://app.example"
        assert "access-control-allow-origin" not in (await get(port, "/login/ann", "Origin: https://evil.example"))[1]
        cookie = headers["set-cookie"].partition(";")[0]
        assert await who(port) == [None, False, ""]
        assert await who(port, cookie=cookie, origin="https://app.example") == ["ann", False, ""]
        assert await who(port, cookie=cookie, authorization="Bearer bob") == ["ann", True, "bob"]
        assert await who(port, cookie="session=forged") == [None, False, ""]
        assert await handshake(port, "/who", "Authorization: Bearer bad") == HTTPStatus.FORBIDDEN
        assert await handshake(port, "/who", f"Cookie: {cookie}", "Origin: https://evil.example") == 403
