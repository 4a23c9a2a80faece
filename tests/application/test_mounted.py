"""An application that no server has told to start: who owns what it shares, and what it cannot do."""

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from nexios_trio import NexiosApp, WebSocket
from nexios_trio.exceptions import LifecycleError
from nexios_trio.websockets import Channel, ChannelBox
from tests.asgi import connect, lifespan, request

REMEDY = r"app\.running\(\)"


def idle_app(**options: Any) -> NexiosApp:
    app = NexiosApp(**options)

    @app.ws_route("/")
    async def idle(ws: WebSocket) -> None:
        await ws.accept()
        await ws.receive()

    @app.get("/")
    async def page(req: Any, res: Any) -> str:
        return "page"

    return app


def service_tasks() -> list[str]:
    """The names of the application's own tasks in this run."""
    root = trio.lowlevel.current_root_task()
    assert root is not None
    names, tasks = [], [root]
    while tasks:
        task = tasks.pop()
        names.append(task.name)
        for nursery in task.child_nurseries:
            tasks.extend(nursery.child_tasks)
    return sorted(name for name in names if name.startswith("nexios_trio "))


async def nothing_runs() -> bool:
    """After the time in which what servers still say of connections that are over is thrown away."""
    await trio.sleep(2)
    return service_tasks() == []


async def test_one_system_task_owns_what_connections_share(autojump_clock: Any) -> None:
    app = idle_app()
    assert service_tasks() == []
    async with connect(app, patience=100) as one:
        await one.accepted()
        alone = service_tasks()
        assert alone
        async with connect(app, patience=100) as two:
            await two.accepted()
            assert (await request(app)).status == 200
            assert service_tasks() == alone
        assert service_tasks() == alone
    assert await nothing_runs()
    async with connect(app, patience=100) as three:
        await three.accepted()
        assert service_tasks() == alone
    assert await nothing_runs()


async def test_a_request_alone_waits_for_its_end() -> None:
    app = idle_app()
    assert (await request(app)).status == 200
    assert service_tasks() == []


async def test_a_connection_comes_while_it_ends() -> None:
    app = idle_app()
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(request, app)
            await trio.lowlevel.checkpoint()
    assert service_tasks() == []


async def test_it_ends_with_the_last_connection_whoever_came_first(autojump_clock: Any) -> None:
    app = idle_app()
    async with trio.open_nursery() as nursery:
        leave = trio.Event()

        async def first(task_status: trio.TaskStatus[None]) -> None:
            async with connect(app, patience=100) as client:
                await client.accepted()
                task_status.started()
                await leave.wait()

        await nursery.start(first)
        async with connect(app, patience=100) as second:
            await second.accepted()
            leave.set()
            await trio.sleep(10)
            assert service_tasks()
    assert await nothing_runs()


async def test_timers_go_on_after_the_first_connection_has_left(autojump_clock: Any) -> None:
    app = NexiosApp()

    @app.ws_route("/{seconds:int}")
    async def handler(ws: WebSocket, seconds: int) -> None:
        await ws.accept()
        await ChannelBox.add_channel_to_group(Channel(ws, expires=seconds), "room")
        await ws.receive()

    async with connect(app, "/60", patience=100) as second:
        await second.accepted()
        async with connect(app, "/30", patience=100) as first:
            await first.accepted()
        assert app.box.size_of("room") == 1
        await trio.sleep(61)
        assert app.box.size_of("room") == 0


async def test_start_soon_has_no_parent_there_and_says_so() -> None:
    app = NexiosApp()
    seen: list[str] = []

    def try_to_start() -> None:
        with pytest.raises(LifecycleError, match=REMEDY) as caught:
            app.start_soon(trio.sleep_forever)
        seen.append(str(caught.value))

    @app.ws_route("/")
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        try_to_start()

    @app.get("/")
    async def page(req: Any, res: Any) -> None:
        try_to_start()

    async with connect(app) as client:
        await client.accepted()
    await request(app)
    assert len(seen) == 2


async def test_a_startup_is_not_skipped_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    @asynccontextmanager
    async def context(app: NexiosApp) -> AsyncGenerator[None]:
        yield

    startup, shutdown, whole, nothing = idle_app(), idle_app(), idle_app(lifespan=context), idle_app()
    startup.on_startup(lambda: None)
    shutdown.on_shutdown(lambda: None)
    for app in (startup, shutdown, whole, nothing):
        for _ in range(2):
            await request(app)
            async with connect(app) as client:
                await client.accepted()
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 3
    for record, name in zip(caplog.records, ["on_startup", "on_shutdown", "lifespan"], strict=True):
        assert name in record.getMessage()
        assert "app.running()" in record.getMessage()


async def test_nothing_is_said_where_the_startup_has_run(caplog: pytest.LogCaptureFixture) -> None:
    app = idle_app()
    app.on_startup(lambda: None)
    async with lifespan(app):
        await request(app)
    other = idle_app()
    other.on_startup(lambda: None)
    async with other.running():
        await request(other)
    assert not caplog.records


# The block that a host's lifespan enters


async def test_running_is_the_application_s_whole_life() -> None:
    calls: list[str] = []

    @asynccontextmanager
    async def context(app: NexiosApp) -> AsyncGenerator[dict[str, Any]]:
        calls.append("enter")
        yield {"database": "db"}
        calls.append("exit")

    async def work() -> None:
        try:
            await trio.sleep_forever()
        finally:
            calls.append("the task's end")

    app = NexiosApp(lifespan=context)
    app.on_startup(lambda: calls.append("startup"))
    app.on_shutdown(lambda: calls.append("shutdown"))
    states: list[Any] = []

    @app.ws_route("/")
    async def handler(ws: WebSocket) -> None:
        states.append(ws.state.database)
        app.start_soon(work)
        await ws.accept()

    async with app.running() as state:
        assert state == {"database": "db"}
        assert calls == ["enter", "startup"]
        async with connect(app) as client:
            await client.accepted()
        await trio.testing.wait_all_tasks_blocked()
        assert calls == ["enter", "startup"]
    assert calls == ["enter", "startup", "shutdown", "exit", "the task's end"]
    assert states == ["db"]
    assert service_tasks() == []


async def test_a_startup_that_fails_is_raised_from_running() -> None:
    app = NexiosApp()

    @app.on_startup
    async def fails() -> None:
        raise ConnectionError("no database")

    with pytest.raises(ConnectionError, match="no database"):
        async with app.running():
            raise AssertionError
    assert service_tasks() == []


async def test_a_shutdown_that_fails_is_logged_and_raised(caplog: pytest.LogCaptureFixture) -> None:
    app = NexiosApp()
    calls: list[str] = []

    @app.on_shutdown
    async def fails() -> None:
        raise LookupError("gone")

    app.on_shutdown(lambda: calls.append("second"))
    with pytest.raises(LookupError, match="gone"):
        async with app.running():
            pass
    assert calls == ["second"]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_a_task_that_fails_ends_the_block(caplog: pytest.LogCaptureFixture) -> None:
    app = idle_app()

    async def fails() -> None:
        raise LookupError("broken")

    with pytest.raises(LookupError, match="broken"):
        async with app.running():
            app.start_soon(fails)
            await trio.sleep_forever()
    assert (await request(app)).status == 503
    async with app.running():
        assert (await request(app)).status == 200


async def test_an_error_of_the_block_is_raised_as_it_is() -> None:
    app = idle_app()
    with pytest.raises(KeyError, match="mine"):
        async with app.running():
            raise KeyError("mine")


async def test_a_cancelled_block() -> None:
    calls: list[str] = []
    app = NexiosApp()
    app.on_shutdown(lambda: calls.append("shutdown"))
    with trio.CancelScope() as scope:
        async with app.running():
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert calls == []
    assert service_tasks() == []


async def test_two_applications_in_one_host() -> None:
    first, second = idle_app(), idle_app()
    async with first.running(), second.running():
        for app in (first, second):
            async with connect(app) as client:
                await client.accepted()
    assert service_tasks() == []


async def test_starting_during_connections_that_came_before(autojump_clock: Any) -> None:
    """Their reference and the block's are counted alike: whoever ends first takes nothing away."""
    app = idle_app()
    async with connect(app, patience=100) as client:
        await client.accepted()
        async with app.running():
            async with connect(app, patience=100) as other:
                await other.accepted()
        assert service_tasks()
    assert await nothing_runs()


async def test_connections_that_outlive_the_block(autojump_clock: Any) -> None:
    app = idle_app()
    async with trio.open_nursery() as nursery:
        leave = trio.Event()

        async def stay(task_status: trio.TaskStatus[None]) -> None:
            async with connect(app, patience=100) as client:
                await client.accepted()
                task_status.started()
                await leave.wait()

        async with app.running():
            await nursery.start(stay)
        assert service_tasks()
        leave.set()
    assert await nothing_runs()


def test_two_runs_with_one_application() -> None:
    app = idle_app()

    async def run() -> None:
        async with connect(app, patience=100) as client:
            await client.accepted()
            assert service_tasks()
        assert await nothing_runs()

    for _ in range(2):
        trio.run(run, clock=MockClock(autojump_threshold=0))


def test_a_run_that_ends_in_the_middle() -> None:
    app = idle_app()

    async def run() -> None:
        with trio.move_on_after(0):
            async with connect(app, patience=100) as client:
                await client.accepted()

    trio.run(run)
    trio.run(run)
