"""Limits that are set in code hold under our own runner, whatever stands around the application."""

import copy
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
import trio_websocket
from hypercorn.config import Config
from hypercorn.middleware import ProxyFixMiddleware
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Mount

from nexios_trio import NexiosApp, Settings, WebSocket, serve
from tests.server.support import DEADLINE, Raw, ask, websocket


@asynccontextmanager
async def running(app: Any, settings: Settings | None = None) -> AsyncGenerator[int]:
    stop = trio.Event()
    config = Config.from_mapping({"bind": ["127.0.0.1:0"], "errorlog": None, "graceful_timeout": 0})
    async with trio.open_nursery() as nursery:
        [address] = await nursery.start(partial(serve, app, config, settings=settings, shutdown_trigger=stop.wait))
        yield int(address.rpartition(":")[2])
        stop.set()


def make_app(**limits: Any) -> NexiosApp:
    app = NexiosApp(**{"max_message_size": 1000, "drain_jitter": 0, **limits})

    @app.ws_route("/")
    async def echo(ws: WebSocket) -> None:
        await ws.accept()
        async for message in ws.iter_text():
            await ws.send_text(message if len(message) < 100 else str(len(message)))

    @app.ws_route("/about")
    async def about(ws: WebSocket) -> None:
        await ws.accept()
        transport = ws._session.transport
        await ws.send_text(f"{transport.name} {transport.settings is app.settings} {(ws.client or ('', 0))[0]}")
        await ws.receive()

    return app


def mounted(app: NexiosApp, *, running: bool = False) -> Any:
    @asynccontextmanager
    async def lifespan(host: Any) -> AsyncGenerator[None]:
        if running:
            async with app.running():
                yield
        else:
            yield

    return Starlette(routes=[Mount("/", app)], lifespan=lifespan)


def wrapped(app: Any, how: str) -> Any:
    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        async def sending(event: Any) -> None:
            await send(event)

        async def receiving() -> Any:
            return await receive()

        match how:
            case "send":
                await app(scope, receive, sending)
            case "both":
                await app(scope, receiving, sending)
            case "copy":
                await app(scope if scope["type"] == "lifespan" else copy.deepcopy(scope), receive, send)
            case "copy, both":
                await app(scope if scope["type"] == "lifespan" else copy.deepcopy(scope), receiving, sending)

    return middleware


async def close_code(port: int, size: int) -> int:
    async with websocket(port, "/") as client:
        with trio.fail_after(DEADLINE), pytest.raises(trio_websocket.ConnectionClosed) as caught:
            await client.send_message("x" * size)
            await client.get_message()
    assert caught.value.reason is not None
    return int(caught.value.reason.code)


AROUND = {
    "nothing": lambda app: app,
    "CORS": CORSMiddleware,
    "send": lambda app: wrapped(app, "send"),
    "receive and send": lambda app: wrapped(app, "both"),
    "a copied scope": lambda app: wrapped(app, "copy"),
    "mounted, running": lambda app: mounted(app, running=True),
    "mounted": mounted,
    "mounted, wrapped": lambda app: wrapped(mounted(app), "both"),
}


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
async def test_smaller_and_larger_messages_than_the_environment_s(around: Any) -> None:
    async with running(around(make_app())) as port:
        assert await close_code(port, 1001) == 1009
        async with websocket(port, "/") as client:
            assert await ask(client, "x" * 1000) == "1000"
    async with running(around(make_app(max_message_size=200_000))) as port:
        async with websocket(port, "/") as client:
            assert await ask(client, "x" * 150_000) == "150000"


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
async def test_what_waits_for_a_peer_and_how_it_is_written(around: Any) -> None:
    app = make_app(outbox_messages=7, inbox_messages=5, overflow="drop_oldest", compression=True)

    @app.ws_route("/limits")
    async def limits(ws: WebSocket) -> None:
        await ws.accept()
        transport = ws._session.transport
        bounds = transport.settings
        await ws.send_text(f"{bounds.outbox_messages} {bounds.inbox_messages} {transport.policy.name}")

    async with running(around(app)) as port:
        for _ in range(2):
            async with Raw(await trio.open_tcp_stream("127.0.0.1", port)) as raw:
                head = await raw.handshake("/limits", "Sec-WebSocket-Extensions: permessage-deflate")
                assert b"permessage-deflate" in head
                assert (await raw.frame())[1] == b"7 5 drop_oldest"


@pytest.mark.parametrize("around", ["CORS", "a copied scope", "mounted, running"])
async def test_what_the_server_decides_by(around: str) -> None:
    """Before the application has a say: whom to believe, and how many from one address."""
    app = make_app(trusted_proxies="127.0.0.1", max_connections_per_address=1)
    headers = [(b"x-forwarded-for", b"192.0.2.7")]
    async with running(AROUND[around](app)) as port:
        async with websocket(port, "/about", extra_headers=headers) as client:
            with trio.fail_after(DEADLINE):
                assert (await client.get_message()).split()[1:] == ["True", "192.0.2.7"]
            with pytest.raises(ExceptionGroup) as caught:
                async with websocket(port, "/about", extra_headers=headers):
                    raise AssertionError
            assert caught.group_contains(trio_websocket.ConnectionRejected, match="503")


async def test_explicit_settings_win() -> None:
    async with running(CORSMiddleware(make_app()), Settings(max_message_size=500, drain_jitter=0)) as port:
        assert await close_code(port, 501) == 1009


@pytest.mark.parametrize("is_running", [True, False])
async def test_a_mounted_application_that_was_not_announced(is_running: bool, caplog: pytest.LogCaptureFixture) -> None:
    app = make_app(trusted_proxies="127.0.0.1", max_connections_per_address=5)
    async with running(mounted(app, running=is_running)) as port:
        for _ in range(2):
            async with websocket(port, "/") as client:
                assert await ask(client, "x" * 999) == "999"
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    if is_running:
        assert said == []
    else:
        assert len(said) == 1
        for word in ("max_connections_per_address", "trusted_proxies", "app.running()"):
            assert word in said[0]
        assert "max_message_size" not in said[0]


async def test_one_whose_transport_cannot_be_reached_is_refused() -> None:
    """The first alone: then the server knows."""
    async with running(wrapped(mounted(make_app()), "copy, both")) as port:
        with pytest.raises(ExceptionGroup) as caught:
            async with websocket(port, "/"):
                raise AssertionError
        assert caught.group_contains(trio_websocket.ConnectionRejected, match="503")
        assert await close_code(port, 1001) == 1009


async def test_a_second_one_is_not_served_by_the_first_one_s_limits(caplog: pytest.LogCaptureFixture) -> None:
    """Its transports cannot be reached either, and the server goes by the first one's settings."""
    first, second = make_app(), wrapped(make_app(max_message_size=2000), "copy, both")

    async def both(scope: Any, receive: Any, send: Any) -> None:
        is_first = scope["type"] == "lifespan" or scope["path"].startswith("/first")
        await (first if is_first else second)({**scope, "path": "/"}, receive, send)

    async with running(both) as port:
        async with websocket(port, "/first/") as client:
            assert await ask(client, "x" * 999) == "999"
        for _ in range(2):
            with pytest.raises(ExceptionGroup) as caught:
                async with websocket(port, "/"):
                    raise AssertionError
            assert caught.group_contains(trio_websocket.ConnectionRejected, match="503")
    [said] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    for word in ("max_message_size", "scope['extensions']", "serve(settings=...)"):
        assert word in said
    async with running(both, Settings(max_message_size=500, drain_jitter=0)) as port:  # which overrules both
        assert await close_code(port, 501) == 1009


async def test_nothing_is_said_of_hypercorn(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "nexios_trio")
    async with running(wrapped(make_app(), "both")) as port, websocket(port, "/about") as client:
        with trio.fail_after(DEADLINE):
            assert (await client.get_message()).split()[0] == "asgi"
    said = [record.getMessage() for record in caplog.records]
    assert not any("hypercorn" in text for text in said)
    [text] = [text for text in said if "`receive` or `send`" in text]
    assert "which they have where a NexiosApp is the outer application: `mount` another one in it" in text


async def test_what_middleware_put_into_the_scope_reaches_the_handler() -> None:
    app = make_app()

    @app.ws_route("/user")
    async def user(ws: WebSocket) -> None:
        await ws.accept()
        await ws.send_text(f"{ws._session.transport.name} {ws.user} {ws.scope['root_path']}")

    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "user": "alice", "root_path": "/below"}, receive, send)

    async with running(middleware) as port, websocket(port, "/user") as client:
        with trio.fail_after(DEADLINE):
            assert await client.get_message() == "direct alice /below"


async def test_the_middleware_that_our_guide_names_costs_nothing() -> None:
    """It copies the scope, with all that is in it."""
    app = make_app(max_message_size=2000)
    app_behind = ProxyFixMiddleware(app)  # type: ignore[arg-type]
    async with running(app_behind) as port:
        async with websocket(port, "/about", extra_headers=[(b"x-forwarded-for", b"192.0.2.7")]) as client:
            with trio.fail_after(DEADLINE):
                assert await client.get_message() == "direct True 192.0.2.7"
        assert await close_code(port, 2001) == 1009


async def test_one_poller_and_one_task_of_timers(monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []
    app = make_app()

    @app.get("/tasks")
    async def tasks(req: Any, res: Any) -> str:
        root = trio.lowlevel.current_root_task()
        assert root is not None
        waiting = [root]
        while waiting:
            task = waiting.pop()
            names.append(task.name.removeprefix("nexios_trio "))
            for nursery in task.child_nurseries:
                waiting.extend(nursery.child_tasks)
        return "seen"

    async with running(app) as port:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            await stream.send_all(b"GET /tasks HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert b"200" in b"".join([part async for part in stream])
    assert [names.count(name) for name in ("poller", "timers", "expiry", "flusher")] == [1, 1, 0, 1]
