"""The lifespans of what is mounted in an application of ours: run with ours, in order, and with the same failures."""

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

from nexios_trio import NexiosApp, Router, WebSocket
from nexios_trio.exceptions import LifecycleError
from nexios_trio.testing import Unmet, connect, run_app
from tests.asgi import lifespan, request


def starlette(calls: list[str], name: str = "inner", **state: Any) -> Starlette:
    @asynccontextmanager
    async def context(app: Starlette) -> AsyncGenerator[dict[str, Any]]:
        calls.append(f"{name} starts")
        yield state
        calls.append(f"{name} stops")

    async def shown(req: Any) -> JSONResponse:
        return JSONResponse(dict(req.scope["state"]))

    return Starlette(routes=[Route("/state", shown)], lifespan=context)


class Lifespan:
    """An ASGI application that answers its lifespan as it is told."""

    def __init__(self, startup: Any = "complete", shutdown: Any = "complete") -> None:
        self.answers = {"lifespan.startup": startup, "lifespan.shutdown": shutdown}
        self.asked: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        for _ in range(2):
            kind = (await receive())["type"]
            self.asked.append(kind)
            answer = self.answers[kind]
            if isinstance(answer, Exception):
                raise answer
            await send({"type": f"{kind}.{answer}", "message": "no database"})


async def test_they_start_after_ours_and_stop_before_it() -> None:
    calls: list[str] = []

    @asynccontextmanager
    async def own(app: NexiosApp) -> AsyncGenerator[None]:
        calls.append("ours starts")
        yield
        calls.append("ours stops")

    app, router = NexiosApp(lifespan=own), Router("/router")
    app.on_startup(lambda: calls.append("on_startup"))
    app.on_shutdown(lambda: calls.append("on_shutdown"))
    app.mount("/one", starlette(calls, "one"))
    router.mount("/two", starlette(calls, "two"))
    app.mount_router(router)
    app.mount("/static", StaticFiles(directory="docs"))
    async with run_app(app):
        assert calls == ["ours starts", "on_startup", "one starts", "two starts"]
        calls.clear()
    assert calls == ["two stops", "one stops", "on_shutdown", "ours stops"]


async def test_one_that_is_mounted_twice_starts_once() -> None:
    calls: list[str] = []
    inner = starlette(calls, n=1)
    app = NexiosApp()
    app.mount("/a", inner)
    app.mount("/b", inner)
    async with run_app(app):
        for target in ("/a/state", "/b/state"):
            assert (await request(app, target)).json() == {"n": 1}
    assert calls == ["inner starts", "inner stops"]


async def test_its_state_is_its_own() -> None:
    app = NexiosApp()
    app.mount("/a", starlette([], "a", database="a's"))
    app.mount("/b", starlette([], "b", cache="b's"))

    @app.get("/own")
    async def own(req: Any, res: Any) -> Any:
        return dict(req.scope["state"])

    server_state = {"database": "the server's"}
    async with run_app(app):
        answers = [
            (await request(app, target, state=server_state)).json() for target in ("/a/state", "/b/state", "/own")
        ]
    assert answers == [{"database": "a's"}, {**server_state, "cache": "b's"}, server_state]
    assert (await request(app, "/a/state", state={})).json() == {}


async def test_two_runs_at_a_time_have_their_states() -> None:
    app = NexiosApp()
    app.mount("/", starlette([], n=1))
    async with lifespan(app):
        async with lifespan(app):
            pass
        assert (await request(app, "/state")).json() == {"n": 1}


@pytest.mark.parametrize(
    ("startup", "said"),
    [
        ("failed", r"the application mounted at '/in' failed to start: no database"),
        (ConnectionError("refused"), r"the application mounted at '/in' failed to start: ConnectionError: refused"),
    ],
)
async def test_a_startup_that_fails_fails_ours(startup: Any, said: str) -> None:
    calls: list[str] = []
    app = NexiosApp()
    app.mount("/first", starlette(calls))
    app.mount("/in", Lifespan(startup))
    app.mount("/never", never := Lifespan())
    with pytest.raises(Unmet, match=said):
        async with run_app(app):
            raise AssertionError
    with pytest.raises(LifecycleError, match=said):
        async with app.running():
            raise AssertionError
    assert calls == ["inner starts"] * 2
    assert never.asked == []


async def test_of_a_traceback_that_is_sent_the_last_line_counts_and_the_error_is_the_cause() -> None:
    """As Starlette and FastAPI do."""

    @asynccontextmanager
    async def context(app: Starlette) -> AsyncGenerator[None]:
        raise ConnectionError("no database")
        yield

    app = NexiosApp()
    app.mount("/in", Starlette(lifespan=context))
    with pytest.raises(LifecycleError) as caught:
        async with app.running():
            raise AssertionError
    assert str(caught.value) == "the application mounted at '/in' failed to start: ConnectionError: no database"
    assert isinstance(caught.value.__cause__, ConnectionError)


async def test_the_startup_of_one_of_ours_fails_with_its_own_error() -> None:
    inner, app = NexiosApp(), NexiosApp()

    @inner.on_startup
    async def fails() -> None:
        raise ConnectionError("no database")

    app.mount("/in", inner)
    with pytest.raises(ConnectionError, match="no database") as caught:
        async with app.running():
            raise AssertionError
    assert caught.value.__notes__ == ["in the application that is mounted at '/in'"]


@pytest.mark.parametrize("shutdown", ["failed", LookupError("gone")])
async def test_a_shutdown_that_fails_keeps_no_other_from_running(
    shutdown: Any, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[str] = []
    app = NexiosApp()
    app.mount("/a", starlette(calls))
    app.mount("/b", Lifespan(shutdown=shutdown))
    app.on_shutdown(lambda: calls.append("on_shutdown"))
    with pytest.raises(LifecycleError, match="'/b' failed to stop"):
        async with app.running():
            calls.clear()
    assert calls == ["inner stops", "on_shutdown"]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_one_that_fails_while_we_serve_ends_us(caplog: pytest.LogCaptureFixture) -> None:
    go_on = trio.Event()

    async def fails(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await go_on.wait()
        raise LookupError("broken")

    app = NexiosApp()
    app.mount("/in", fails)
    with pytest.raises(LifecycleError, match="'/in' failed to go on: LookupError: broken"):
        async with app.running():
            go_on.set()
            await trio.sleep_forever()
    assert "serves no longer" in caplog.text
    assert (await request(app)).status == 503


async def test_one_of_ours_lives_with_us() -> None:
    """Its tasks have a parent, and its state is its connections'."""
    calls: list[str] = []

    @asynccontextmanager
    async def context(app: NexiosApp) -> AsyncGenerator[dict[str, Any]]:
        yield {"database": "db"}

    async def work(ws: WebSocket) -> None:
        calls.append(ws.state.database)
        await trio.sleep_forever()

    inner, app = NexiosApp(lifespan=context), NexiosApp()

    @inner.ws_route("/ws")
    async def handler(ws: WebSocket) -> None:
        inner.start_soon(work, ws)
        await ws.accept()
        await ws.send_text(ws.scope["root_path"])

    app.mount("/in", inner)
    async with run_app(app), connect(app, "/in/ws") as client:
        assert await client.receive_text() == "/in"
        assert calls == ["db"]


@pytest.mark.parametrize("enters", [True, False])
async def test_without_our_own_start_they_do_not_start_and_it_is_said_once(
    enters: bool, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[str] = []
    app = NexiosApp()
    app.mount("/in", starlette(calls))
    app.mount("/static", StaticFiles(directory="docs"))

    async def serve() -> None:
        for target in ("/in/state", "/static/conf.py", "/in/state"):
            assert (await request(app, target, state={})).status == 200

    if enters:
        async with app.running():
            await serve()
    else:
        await serve()
    assert calls == (["inner starts", "inner stops"] if enters else [])
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == (0 if enters else 1)
    for message in messages:
        assert "the lifespan of what is mounted at /in did not run" in message
        assert "app.running()" in message
        assert "static" not in message


async def test_websocket_middleware_and_the_origin_check_come_first() -> None:
    seen: list[str] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": str(scope.get("user"))})

    async def authenticate(websocket: WebSocket, following: Callable[..., Any]) -> None:
        if "name" not in websocket.query_params:
            await websocket.deny(401)
            return
        websocket.scope["user"] = websocket.query_params["name"]
        await following(websocket)

    app = NexiosApp(middleware=[authenticate])
    app.mount("/in", inner)
    with pytest.raises(Exception, match="401"):
        async with connect(app, "/in"):
            pass
    with pytest.raises(Exception, match="403"):
        async with connect(app, "/in?name=ann", headers={"origin": "https://evil.example"}):
            pass
    assert seen == []
    async with connect(app, "/in?name=ann") as client:
        assert await client.receive_text() == "ann"
        assert (await client.receive_close())[0] == 1000
