"""The limits of an application hold on the server, whatever stands around it."""

import logging
from contextlib import asynccontextmanager

import pytest
import trio
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Mount

from nexios_trio import Settings, serve
from nexios_trio.server.server_settings import ServerSettings
from tests.server.support import Running, config, frame, make_app

LIMITS = {"max_message_size": 1000, "drain_jitter": 0.0, "drain_timeout": 2.0}


@asynccontextmanager
async def serving(app, **options):
    """Without settings of the server's own."""
    stop, stopped = trio.Event(), trio.Event()
    async with trio.open_nursery() as nursery:

        async def run(task_status):
            await serve(app, config(), shutdown_trigger=stop.wait, task_status=task_status, **options)
            stopped.set()

        server = Running(await nursery.start(run), stop, stopped)
        yield server
        stop.set()
        await server.stopped()


def wrapped(app):
    return CORSMiddleware(app, allow_origins=["*"])


def mounted(app):
    return Starlette(routes=[Mount("/in", app=app)])


def seeing(app):
    """It wants to see the messages."""

    async def middleware(scope, receive, send):
        async def sending(event):
            await send(event)

        await app(scope, receive, sending)

    return middleware


async def close_code(server, path, size):
    async with await server.connect() as client:
        assert (await client.handshake(path)).startswith(b"HTTP/1.1 101")
        await client.send(frame(2, b"x" * size))
        opcode, payload = await client.frame()
        return int.from_bytes(payload[:2], "big") if opcode == 8 else len(payload)


@pytest.mark.parametrize(
    ("around", "path"), [(wrapped, "/echo"), (mounted, "/in/echo"), (seeing, "/echo"), (lambda app: app, "/echo")]
)
@pytest.mark.parametrize("otherwise", [100, 10_000], ids=["more than", "less than"])
async def test_the_message_size_holds(around, path, otherwise, monkeypatch):
    app = around(make_app(settings=Settings(**LIMITS)))
    monkeypatch.setenv("NEXIOS_MAX_MESSAGE_SIZE", str(otherwise))
    async with serving(app) as server:
        assert await close_code(server, path, 1000) == 1000
        assert await close_code(server, path, 1001) == 1009


async def test_the_limits_of_the_server_itself_come_from_a_wrapped_application():
    limits = Settings(max_connections=1, trusted_proxies="127.0.0.1", **LIMITS)
    async with serving(wrapped(make_app(settings=limits))) as server, await server.connect() as client:
        await client.handshake()
        assert (await server.get()).startswith(b"HTTP/1.1 503")


async def test_compression_is_negotiated_by_the_application_that_is_asked():
    first, second = make_app(settings=Settings(**LIMITS)), make_app(settings=Settings(compression=True, **LIMITS))

    async def app(scope, receive, send):
        await (second if scope.get("path") == "/echo" else first)(scope, receive, send)

    async with serving(app) as server, await server.connect() as client:
        assert b"permessage-deflate" in await client.handshake(
            "/echo", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
        )


async def test_settings_that_are_given_overrule_the_applications():
    app = wrapped(make_app(settings=Settings(**LIMITS)))
    async with serving(app, settings=Settings(**{**LIMITS, "max_message_size": 100})) as server:
        assert await close_code(server, "/echo", 101) == 1009


def test_the_first_application_decides_for_the_server(caplog):
    server = ServerSettings(Settings())
    first = Settings(max_connections=5)
    assert server.adopt(first)
    assert not server.adopt(Settings(max_connections=5, max_message_size=10))  # no difference for the server
    assert not caplog.records
    for _ in range(2):
        assert not server.adopt(Settings(max_connections=6))
    assert server.settings is first
    [record] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "max_connections; serve(settings=...)" in record.getMessage()


def test_given_settings_stay():
    server = ServerSettings(Settings(), is_explicit=True)
    assert not server.adopt(Settings(max_connections=5))
    assert server.settings == Settings()


async def test_a_setting_of_the_command_line_that_has_no_effect_is_said(monkeypatch, caplog):
    monkeypatch.setenv("NEXIOS_MAX_MESSAGE_SIZE", "2000")
    monkeypatch.setenv("NEXIOS_DRAIN_JITTER", "0")
    async with serving(wrapped(make_app(settings=Settings(**LIMITS)))):
        pass
    [record] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert record.getMessage().startswith("max_message_size: --set and the environment have no effect")
