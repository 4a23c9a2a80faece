"""Start, life and end of an application, as the server is told of them."""

import gc
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from nexios_trio.application import NexiosApp
from nexios_trio.application.gc_tuning import THRESHOLDS
from nexios_trio.websockets import Channel, ChannelBox, WebSocket
from tests.asgi import connect, lifespan, request

COMPLETE = [{"type": "lifespan.startup.complete"}, {"type": "lifespan.shutdown.complete"}]


async def test_start_and_stop() -> None:
    app = NexiosApp()
    async with lifespan(app) as events:
        assert events == COMPLETE[:1]
        assert app.runtime.is_started
    assert events == COMPLETE
    assert not app.runtime.is_started


async def test_regression_on_startup_and_on_shutdown_return_the_function() -> None:
    app = NexiosApp()
    calls = []

    async def first() -> None:
        await trio.lowlevel.checkpoint()
        calls.append("first")

    def second() -> None:
        calls.append("second")

    assert app.on_startup(first) is first
    assert app.on_startup(second) is second
    assert app.on_shutdown(first) is first
    assert app.on_shutdown(second) is second
    async with lifespan(app) as events:
        assert calls == ["first", "second"]
        calls.clear()
    assert calls == ["first", "second"]
    assert events == COMPLETE


async def test_startup_runs_before_serving_is_announced() -> None:
    app = NexiosApp()
    go_on = trio.Event()
    app.on_startup(go_on.wait)
    async with trio.open_nursery() as nursery:
        seen: list[Any] = []

        async def run() -> None:
            async with lifespan(app) as events:
                seen.extend(events)

        nursery.start_soon(run)
        await trio.testing.wait_all_tasks_blocked()
        assert seen == []
        go_on.set()
    assert seen == COMPLETE[:1]


@pytest.mark.parametrize("wrong", [7, "name", lambda needed: None])
def test_what_cannot_be_called_is_refused(wrong: Any) -> None:
    for register in NexiosApp().on_startup, NexiosApp().on_shutdown:
        with pytest.raises(TypeError, match="a function without arguments"):
            register(wrong)


async def test_regression_a_failed_startup_is_reported_as_failed(caplog: pytest.LogCaptureFixture) -> None:
    app = NexiosApp()

    @app.on_startup
    async def fails() -> None:
        raise ConnectionError("no database")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep, 0)
        events = await _events_until_end(app, ["lifespan.startup"])
    assert events == [{"type": "lifespan.startup.failed", "message": "ConnectionError: no database"}]
    assert not app.runtime.is_started
    (record,) = caplog.records
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ConnectionError)


async def _events_until_end(app: NexiosApp, incoming: list[str]) -> list[Any]:
    events: list[Any] = []

    async def receive() -> Any:
        if incoming:
            return {"type": incoming.pop(0)}
        return await trio.sleep_forever()

    async def send(event: Any) -> None:
        events.append(event)

    with trio.fail_after(5):
        await app({"type": "lifespan", "state": {}}, receive, send)
    return events


async def test_a_failed_shutdown_is_reported_and_keeps_no_other_from_running(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = NexiosApp()
    calls = []

    @app.on_shutdown
    def fails() -> None:
        raise LookupError("gone")

    app.on_shutdown(lambda: calls.append("second"))
    events = await _events_until_end(app, ["lifespan.startup", "lifespan.shutdown"])
    assert events[1] == {"type": "lifespan.shutdown.failed", "message": "LookupError: gone"}
    assert calls == ["second"]
    assert len(caplog.records) == 1


async def test_a_lifespan_that_fails_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    @asynccontextmanager
    async def context(app: NexiosApp) -> AsyncGenerator[None]:
        yield
        raise LookupError("gone")

    app = NexiosApp(lifespan=context)
    events = await _events_until_end(app, ["lifespan.startup", "lifespan.shutdown"])
    assert events[1] == {"type": "lifespan.shutdown.failed", "message": "LookupError: gone"}
    assert len(caplog.records) == 1


@pytest.mark.parametrize("decorated", [True, False])
async def test_the_users_lifespan_is_around_everything(decorated: bool) -> None:
    calls = []

    async def context(app: NexiosApp) -> AsyncGenerator[dict[str, Any]]:
        app.start_soon(trio.sleep_forever)
        calls.append(f"enter {app.title}")
        yield {"database": "db"}
        calls.append("exit")

    app = NexiosApp(title="t", lifespan=asynccontextmanager(context) if decorated else context)  # type: ignore[arg-type]
    app.on_startup(lambda: calls.append("startup"))
    app.on_shutdown(lambda: calls.append("shutdown"))
    state: dict[str, Any] = {}
    async with lifespan(app, state):
        assert state == {"database": "db"}
    assert calls == ["enter t", "startup", "shutdown", "exit"]


def test_a_lifespan_that_is_none() -> None:
    wrong: Any = "lifespan"
    with pytest.raises(TypeError, match="lifespan is an async context manager"):
        NexiosApp(lifespan=wrong)


async def test_an_application_may_start_again() -> None:
    app = NexiosApp()
    for _ in range(2):
        async with lifespan(app) as events:
            pass
        assert events == COMPLETE


# Tasks


async def test_start_soon_from_startup_and_handlers() -> None:
    app = NexiosApp()
    seen = []

    async def task(name: str) -> None:
        seen.append((name, await ChannelBox.show_groups() == {}))
        try:
            await trio.sleep_forever()
        finally:
            seen.append(("end of " + name, True))

    app.on_startup(lambda: app.start_soon(task, "startup"))

    @app.ws_route("/")
    async def handler(ws: WebSocket) -> None:
        app.start_soon(task, "websocket")
        await ws.accept()

    @app.get("/")
    async def page(req: Any, res: Any) -> None:
        app.start_soon(task, "http")

    async with lifespan(app):
        async with connect(app) as client:
            await client.accepted()
        await request(app)
        await trio.testing.wait_all_tasks_blocked()
        assert seen == [("startup", True), ("websocket", True), ("http", True)]
    assert {name for name, _ in seen[3:]} == {"end of startup", "end of websocket", "end of http"}


def test_start_soon_without_a_running_application() -> None:
    with pytest.raises(RuntimeError, match="not running: call start_soon from a startup function or a handler"):
        NexiosApp().start_soon(trio.sleep, 1)


async def test_start_soon_with_a_call_instead_of_a_function() -> None:
    async def task(x: int) -> None: ...

    wrong: Any = task(1)
    app = NexiosApp()
    async with lifespan(app):
        with pytest.raises(TypeError, match=r"start_soon\(f, x\), not start_soon\(f\(x\)\)"):
            app.start_soon(wrong)


async def test_a_task_that_fails_stops_the_application_and_refuses_connections(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = NexiosApp()
    fail = trio.Event()
    connected = trio.Event()

    async def task() -> None:
        await fail.wait()
        raise LookupError("broken")

    app.on_startup(lambda: app.start_soon(task))

    @app.ws_route("/")
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        channel = Channel(ws)
        await ChannelBox.add_channel_to_group(channel, "room")
        connected.set()
        await channel.receive()

    with pytest.raises(ExceptionGroup) as caught:
        async with lifespan(app) as events:
            async with connect(app) as client:
                await client.accepted()
                await connected.wait()
                fail.set()
                assert await client.closed() == (1011, "the application has failed")
    assert caught.group_contains(LookupError, match="broken", depth=1)
    assert events == [COMPLETE[0], {"type": "lifespan.shutdown.failed", "message": "LookupError: broken"}]
    assert [record.levelno for record in caplog.records] == [logging.CRITICAL]

    async with connect(app) as client:
        assert await client.denied() == 503
    answer = await request(app)
    assert (answer.status, answer.json()) == (503, {"error": "Service Unavailable", "status": 503})


async def test_a_server_that_dislikes_the_failure_has_the_last_word() -> None:
    class ServerStops(Exception):
        pass

    app = NexiosApp()

    async def task() -> None:
        raise LookupError("broken")

    async def send(event: Any) -> None:
        if event["type"] == "lifespan.startup.complete":
            app.start_soon(task)
        else:
            raise ServerStops(event["type"])

    incoming = [{"type": "lifespan.startup"}]

    async def receive() -> Any:
        return incoming.pop() if incoming else await trio.sleep_forever()

    with pytest.raises(ServerStops, match=r"lifespan\.shutdown\.failed"):
        await app({"type": "lifespan"}, receive, send)


async def test_a_task_whose_errors_are_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    app = NexiosApp()

    async def task() -> None:
        raise LookupError("broken")

    async with lifespan(app) as events:
        app.start_soon(task, on_error="log")
        await trio.testing.wait_all_tasks_blocked()
        assert (await request(app)).status == 404
    assert events == COMPLETE
    assert len(caplog.records) == 1


async def test_connections_while_it_stops() -> None:
    app = NexiosApp()
    statuses = []

    @app.on_shutdown
    async def late() -> None:
        async with connect(app) as client:
            statuses.append(await client.denied())
        statuses.append((await request(app)).status)

    async with lifespan(app):
        pass
    assert statuses == [503, 503]


async def test_a_cancelled_server() -> None:
    app = NexiosApp()
    with trio.CancelScope() as scope:
        async with lifespan(app):
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert not app.runtime.is_started
    async with lifespan(app) as events:
        pass
    assert events == COMPLETE


async def test_without_a_lifespan_connections_bring_the_runtime(autojump_clock: Any) -> None:
    app = NexiosApp()

    @app.ws_route("/{name}")
    async def handler(ws: WebSocket, name: str) -> None:
        await ws.accept()
        channel = Channel(ws, expires=0.01)
        await ChannelBox.add_channel_to_group(channel, "room")
        await trio.sleep(1)
        await channel.send([name, await ChannelBox.show_groups()])
        await channel.receive()

    async with connect(app, "/a") as one:
        await one.accepted()
        async with connect(app, "/b") as two:
            await two.accepted()
            assert await two.json() == ["b", {}]
        assert await one.json() == ["a", {}]


# The collector


async def test_the_collector_is_tuned_while_serving() -> None:
    before = gc.get_threshold()
    async with lifespan(NexiosApp()):
        assert gc.get_threshold() == THRESHOLDS
    assert gc.get_threshold() == before
    async with lifespan(NexiosApp(gc_tuning=False)):
        assert gc.get_threshold() == before
