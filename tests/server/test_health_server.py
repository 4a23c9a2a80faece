"""Health on an address of its own, from before the application starts until the last client has gone."""

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
import trio
from starlette.applications import Starlette

from nexios_trio import serve
from tests.server.support import DEADLINE, Running, ask, config, make_app, settings, upgrade, websocket

READY = (200, {"ready": True})


def not_ready(**why: str) -> tuple[int, Any]:
    return 503, {"ready": False, "not_ready": why}


class Health(Running):
    """The address for health of a server that is about to run."""

    def __init__(self, port: int, address: trio.Event) -> None:
        super().__init__([f"http://127.0.0.1:{port}"], trio.Event(), trio.Event())
        self.serving = address
        self.clients: Running | None = None

    async def json(self, path: str) -> tuple[int, Any]:
        head, _, body = (await self.get(path)).partition(b"\r\n\r\n")
        return int(head.split()[1]), orjson.loads(body)


@asynccontextmanager
async def served(app: Any, **options: Any) -> AsyncIterator[Health]:
    """A server, from its very beginning to its end; `health.stop()` tells it to stop."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        health = Health(listener.getsockname()[1], trio.Event())
        descriptor = os.dup(listener.fileno())

    class Started(trio.TaskStatus[list[str]]):
        def started(self, value: list[str] | None = None) -> None:
            health.clients = Running(value or [], trio.Event(), trio.Event())
            health.serving.set()

    async def run() -> None:
        await serve(
            app,
            config(),
            settings=settings(**options),
            shutdown_trigger=health._stop.wait,
            health_bind=[f"fd://{descriptor}"],
            task_status=Started(),
        )
        health._stopped.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        yield health
        health.stop()
        await health.stopped()


async def test_it_answers_from_before_the_start_to_the_last_client() -> None:
    app = make_app()
    may_start, last_word = trio.Event(), trio.Event()
    app.on_startup(may_start.wait)
    app.on_shutdown(last_word.wait)
    async with served(app) as health:
        assert await health.json("/healthz") == (200, {"alive": True})
        assert await health.json("/readyz") == not_ready(server="starting", application="starting")
        may_start.set()
        await health.serving.wait()
        assert await health.json("/readyz") == READY
        assert health.clients is not None
        async with await health.clients.connect() as client:
            await client.handshake("/stubborn")
            health.stop()
            assert await client.closed() == 1012
            assert await health.json("/readyz") == not_ready(server="draining")
            assert await health.json("/healthz") == (200, {"alive": True})
        last_word.set()
    with pytest.raises(OSError):
        await health.connect()


async def test_it_has_no_place_among_the_clients() -> None:
    async with served(make_app(), max_connections=1, max_connections_per_address=1) as health:
        await health.serving.wait()
        assert health.clients is not None
        async with websocket(health.clients.port) as client, await health.connect(), await health.connect():
            assert b" 503 " in await health.clients.get()
            assert await health.json("/readyz") == READY
            assert await ask(client) == "are you there?"


async def test_it_shows_nothing_else() -> None:
    async with served(make_app()) as health:
        await health.serving.wait()
        assert (await health.get("/echo")).startswith(b"HTTP/1.1 404")
        assert (await health.request(upgrade("/echo"))).startswith(b"HTTP/1.1 403")
        assert b"400" in await health.request(b"\x16\x03\x01 a TLS hello")
        post = b"POST /readyz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        assert (await health.request(post)).startswith(b"HTTP/1.1 405")
        head = await health.request(b"HEAD /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert head.endswith(b"\r\n\r\n")
        assert b"content-type: application/json" in head
        assert await health.json("/readyz") == READY


async def test_it_shows_metrics_that_nobody_else_may_see() -> None:
    app = make_app()
    app.mount_metrics("/numbers")
    async with served(app) as health:
        await health.serving.wait()
        assert health.clients is not None
        assert (await health.clients.get("/numbers")).startswith(b"HTTP/1.1 403")
        seen = await health.get("/numbers")
        assert seen.startswith(b"HTTP/1.1 200")
        assert b'\nnexios_server_connections{worker="0"} 0.0\n' in seen


async def test_applications_of_others_have_the_servers_health() -> None:
    async with served(Starlette()) as health:
        await health.serving.wait()
        assert await health.json("/readyz") == READY


async def test_an_address_cannot_be_for_clients_too() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ValueError, match=f"cannot listen on {address}: it overlaps with http://{address}"):
        with trio.fail_after(DEADLINE):
            await serve(make_app(), config(bind=[address]), health_bind=[address])
