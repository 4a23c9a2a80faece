"""Mounted in an application that keeps the lifespan for itself, and behind two servers at a time: real sockets."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from starlette.applications import Starlette
from starlette.routing import Mount

from nexios_trio import NexiosApp, WebSocket
from nexios_trio import serve as serve_directly
from tests.e2e.hosts import SERVERS, Server, served
from tests.server.support import ask, eventually, websocket


def echo_app(**options: Any) -> NexiosApp:
    app = NexiosApp(**{"drain_jitter": 0, **options})

    @app.ws_route("/echo")
    async def echo(ws: WebSocket) -> None:
        await ws.accept()
        async for message in ws.iter_text():
            await ws.send_text(message)

    return app


def keeping_the_lifespan(app: Any) -> Any:
    """An application around `app` that answers the server's lifespan itself."""

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                event = await receive()
                await send({"type": event["type"] + ".complete"})
                if event["type"] == "lifespan.shutdown":
                    return
        await app(scope, receive, send)

    return outer


@SERVERS
async def test_the_first_connection_s_end_is_nobody_else_s(serve: Server) -> None:
    ended: list[str] = []
    app = echo_app()

    @app.ws_route("/first")
    async def first_one(ws: WebSocket) -> None:
        await ws.accept()
        await ws.receive()

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)
        ended.append(scope["path"])

    async with served(keeping_the_lifespan(outer), serve) as (port, _):
        async with websocket(port, "/first") as first, websocket(port) as second:
            assert await ask(second, "1") == "1"
            await first.aclose()
            await eventually(lambda: ended == ["/first"])
            assert await ask(second, "2") == "2"
            async with websocket(port) as third:
                assert await ask(third, "3") == "3"


@SERVERS
async def test_an_http_request_s_end_is_no_websocket_s(serve: Server) -> None:
    app = echo_app()
    go_on = trio.Event()
    is_waiting = trio.Event()

    @app.get("/wait")
    async def wait(req: Any, res: Any) -> str:
        is_waiting.set()
        await go_on.wait()
        return "done"

    async with served(keeping_the_lifespan(app), serve) as (port, _):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            await stream.send_all(b"GET /wait HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            await is_waiting.wait()
            async with websocket(port) as client:
                assert await ask(client, "1") == "1"
                go_on.set()
                answer = b"".join([part async for part in stream])
                assert answer.startswith(b"HTTP/1.1 200 ")
                assert await ask(client, "2") == "2"


@SERVERS
@pytest.mark.parametrize("stops", [0, 1], ids=["the first stops", "the second stops"])
async def test_two_servers_on_one_application(serve: Server, stops: int) -> None:
    """The end of one, and of its lifespan, is not the other's."""
    stopped: list[int] = []
    app = echo_app()
    app.on_shutdown(lambda: stopped.append(1))
    async with served(app, serve) as one, served(app, serve) as two:
        (_, stop), (port, _) = (one, two) if stops == 0 else (two, one)
        async with websocket(port) as client:
            assert await ask(client, "1") == "1"
            stop.set()
            await eventually(lambda: len(stopped) == 1)
            for _ in range(100):  # until the lifespan is over
                await trio.lowlevel.checkpoint()
            assert await ask(client, "2") == "2"
            async with websocket(port) as newcomer:
                assert await ask(newcomer, "3") == "3"


@SERVERS
async def test_a_host_that_enters_running(serve: Server) -> None:
    calls: list[str] = []

    @asynccontextmanager
    async def own_lifespan(app: NexiosApp) -> AsyncGenerator[dict[str, Any]]:
        yield {"database": "db"}
        calls.append("end of lifespan")

    app = NexiosApp(lifespan=own_lifespan, drain_jitter=0)
    app.on_startup(lambda: calls.append("startup"))
    app.on_shutdown(lambda: calls.append("shutdown"))

    async def work(name: str) -> None:
        calls.append(f"{name}'s task")
        await trio.sleep_forever()

    @app.ws_route("/echo")
    async def echo(ws: WebSocket) -> None:
        await ws.accept()
        app.start_soon(work, ws.state.database)
        async for message in ws.iter_text():
            await ws.send_text(message)

    @asynccontextmanager
    async def host_lifespan(host: Starlette) -> AsyncGenerator[None]:
        async with app.running():
            yield

    host = Starlette(routes=[Mount("/", app)], lifespan=host_lifespan)
    async with served(host, serve) as (port, _):
        assert calls == ["startup"]
        async with websocket(port) as client:
            assert await ask(client, "1") == "1"
        async with websocket(port) as client:
            assert await ask(client, "2") == "2"
        assert calls == ["startup", "db's task", "db's task"]
    assert calls[3:] == ["shutdown", "end of lifespan"]


async def test_a_host_whose_mounted_application_fails_stops() -> None:
    app = NexiosApp(drain_jitter=0)
    app.on_startup(lambda: app.start_soon(fail))
    go_on = trio.Event()

    async def fail() -> None:
        await go_on.wait()
        raise LookupError("broken")

    @asynccontextmanager
    async def host_lifespan(host: Starlette) -> AsyncGenerator[None]:
        async with app.running():
            yield

    with pytest.raises(ExceptionGroup) as caught:
        async with served(Starlette(routes=[Mount("/", app)], lifespan=host_lifespan), serve_directly):
            go_on.set()
            await trio.sleep_forever()
    assert caught.group_contains(Exception, match="(?s)a task of the application failed.*broken")
