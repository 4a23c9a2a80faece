"""Served on asyncio by mistake: one sentence that says so, at once, and nothing that hangs."""

import asyncio
import inspect
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypercorn.config import Config

from nexios_trio import ChannelBox, NexiosApp, WebSocket, serve
from nexios_trio.exceptions import LifecycleError
from nexios_trio.testing import connect, run_app
from tests.asgi import websocket_scope

with warnings.catch_warnings():  # of the HTTP client that it prefers
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient

SENTENCE = r"runs on trio.*hypercorn --worker-class trio"

APP = """
from nexios_trio import NexiosApp

app = NexiosApp()
"""


def make_app() -> NexiosApp:
    app = NexiosApp()

    @app.ws_route("/")
    async def handler(ws: WebSocket) -> None:
        await ws.accept()

    @app.get("/")
    async def page(req: Any, res: Any) -> str:
        return "page"

    return app


def test_starlette_s_test_client_with_its_default_backend() -> None:
    with pytest.raises(RuntimeError, match=SENTENCE), TestClient(make_app()):
        pass


def test_starlette_s_test_client_without_a_lifespan() -> None:
    client = TestClient(make_app())
    with pytest.raises(RuntimeError, match=SENTENCE):
        client.get("/")
    with pytest.raises(RuntimeError, match=SENTENCE), client.websocket_connect("/"):
        pass


def test_starlette_s_test_client_on_trio() -> None:
    with TestClient(make_app(), backend="trio") as client:
        assert client.get("/").text == "page"


def test_the_server_is_told_that_the_start_failed() -> None:
    """Servers go on without a lifespan when it raises, and end when it says that it has failed."""
    events: list[Any] = []

    async def receive() -> Any:
        return {"type": "lifespan.startup"}

    async def send(event: Any) -> None:
        events.append(event)

    with pytest.raises(RuntimeError, match=SENTENCE) as caught:
        asyncio.run(make_app()({"type": "lifespan"}, receive, send))
    assert events == [{"type": "lifespan.startup.failed", "message": str(caught.value)}]


@pytest.mark.parametrize("scope", [websocket_scope("/"), {"type": "http", "path": "/", "method": "GET"}])
def test_a_connection_fails_before_anything_is_received(scope: Any) -> None:
    async def unused(*_: Any) -> Any:
        raise AssertionError

    with pytest.raises(RuntimeError, match=SENTENCE):
        asyncio.run(make_app()(scope, unused, unused))


async def _enter(block: Any) -> None:
    async with block:
        raise AssertionError


@pytest.mark.parametrize(
    "run",
    [
        lambda: _enter(make_app().running()),
        lambda: _enter(connect(make_app())),
        lambda: _enter(run_app(make_app())),
        lambda: serve(make_app(), Config()),
    ],
    ids=["running", "connect", "run_app", "serve"],
)
def test_what_else_runs_an_application(run: Any) -> None:
    async def call() -> None:
        if inspect.isawaitable(awaitable := run()):
            await awaitable

    with pytest.raises(LifecycleError, match=SENTENCE):
        asyncio.run(call())


@pytest.mark.parametrize(
    "send",
    [
        lambda: ChannelBox.group_send("room", "news"),
        lambda: make_app().box.group_send("room", "news"),
        lambda: make_app().box.group_send("room", "news", save_history=True),
        lambda: make_app().box.send_to(uuid4(), "news"),
    ],
    ids=["on the class", "on a box", "kept", "to a channel"],
)
def test_groups_from_asyncio(send: Any) -> None:
    async def call() -> None:
        await send()

    with pytest.raises(LifecycleError, match=r"not trio's.*trio\.from_thread\.run"):
        asyncio.run(call())


@pytest.mark.parametrize("workers", [0, 1])
def test_hypercorn_s_default_worker(workers: int, tmp_path: Path) -> None:
    """It ends. The status of its own process says so; that of one with workers does not, whatever they end with."""
    (tmp_path / "app.py").write_text(APP)
    command = [sys.executable, "-m", "hypercorn", "-w", str(workers), "-b", "127.0.0.1:0", "app:app"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert "--worker-class trio" in ended.stderr.splitlines()[-1]
    if workers == 0:
        assert ended.returncode != 0
