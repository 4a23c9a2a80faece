"""The application's startup, tasks and shutdown, and how each can fail."""

from contextlib import asynccontextmanager

import pytest
import trio
from starlette.applications import Starlette

from nexios_trio import serve
from nexios_trio.serving import ApplicationFailed, ShutdownFailed, StartupFailed
from tests.server.support import (
    config,
    frame,
    make_app,
    running,
    settings,
)


async def test_a_failing_startup_raises_and_nothing_listens(unused_port):
    app = make_app()

    @app.on_startup
    async def fail():
        raise RuntimeError("no database")

    with pytest.raises(StartupFailed, match="no database"):
        await serve(app, config(bind=[f"127.0.0.1:{unused_port}"]), settings=settings())
    with pytest.raises(OSError):
        await trio.open_tcp_stream("127.0.0.1", unused_port)


async def test_starlettes_failing_startup_raises():
    @asynccontextmanager
    async def lifespan(app):
        raise RuntimeError("no database")
        yield

    with pytest.raises(StartupFailed, match="no database"):
        await serve(Starlette(lifespan=lifespan), config(), settings=settings())


async def test_an_application_that_crashes_before_it_is_up_has_failed_to_start():
    async def app(scope, receive, send):
        await receive()
        raise ZeroDivisionError

    with pytest.raises(StartupFailed, match="ZeroDivisionError") as failed:
        await serve(app, config(), settings=settings())
    assert isinstance(failed.value.__cause__, ZeroDivisionError)


async def test_a_startup_that_takes_too_long():
    async def app(scope, receive, send):
        await trio.sleep_forever()

    with pytest.raises(StartupFailed, match="startup_timeout"):
        await serve(app, config(startup_timeout=0.01), settings=settings())


async def test_an_application_without_lifespan_is_served():
    async def app(scope, receive, send):
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    async with running(app) as server:
        assert (await server.get()).startswith(b"HTTP/1.1 204")


async def test_a_lifespan_that_returns_early_is_no_failure():
    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.complete"})

    async with running(app) as server:
        await server.get()


async def test_a_crashed_task_of_the_application_stops_the_server():
    app = make_app()
    crash = trio.Event()

    @app.on_startup
    async def start():
        async def background():
            await crash.wait()
            raise RuntimeError("the feed broke")

        app.start_soon(background)

    with pytest.raises(ApplicationFailed, match="the feed broke"):
        async with running(app) as server, await server.connect() as client:
            await client.handshake()
            crash.set()
            assert await client.closed() in (1011, 1012)
            await client.send(frame(8, b"\x03\xf4"))
            await server.stopped()


async def test_a_failing_shutdown_is_reported():
    app = make_app()

    @app.on_shutdown
    async def fail():
        raise RuntimeError("cannot flush")

    with pytest.raises(ShutdownFailed, match="cannot flush"):
        async with running(app):
            pass


async def test_a_failing_shutdown_is_reported_when_the_server_is_cancelled_too():
    app = make_app()

    @app.on_shutdown
    async def fail():
        raise RuntimeError("cannot flush")

    with pytest.RaisesGroup(pytest.RaisesExc(ShutdownFailed, match="cannot flush")):
        async with trio.open_nursery() as nursery:
            await nursery.start(serve, app, config())
            nursery.cancel_scope.cancel()


async def test_a_shutdown_that_takes_too_long_is_reported():
    app = make_app()
    app.on_shutdown(trio.sleep_forever)
    with pytest.raises(ShutdownFailed, match="drain_timeout"):
        async with running(app, None, settings(drain_timeout=0.2)):
            pass
