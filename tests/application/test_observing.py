"""Whether an application is alive and ready, as its routes say."""

from typing import Any

import pytest
import trio

from nexios_trio import ChannelBox, NexiosApp
from nexios_trio.engines.base import EngineState
from nexios_trio.engines.memory import MemoryEngine
from tests.asgi import lifespan, request


class Linked(MemoryEngine):
    """An engine whose link comes and goes."""

    link = EngineState.UP

    @property
    def state(self) -> EngineState:
        return self.link


async def answers(app: NexiosApp, *paths: str) -> list[tuple[int, Any]]:
    found = []
    for path in paths:
        answer = await request(app, path)
        found.append((answer.status, answer.json()))
    return found


async def test_alive_and_ready() -> None:
    app = NexiosApp()
    app.mount_health()
    async with lifespan(app):
        assert await answers(app, "/healthz", "/readyz") == [(200, {"alive": True}), (200, {"ready": True})]
        answer = await request(app, "/readyz")
        assert answer.headers["cache-control"] == "no-store"


async def test_an_engine_that_is_down_is_named() -> None:
    engine = Linked()
    app = NexiosApp(box=ChannelBox(engine))
    app.mount_health(live="/live", ready="/status/ready")
    async with lifespan(app):
        for engine.link in (EngineState.STARTING, EngineState.DOWN):
            assert await answers(app, "/live", "/status/ready") == [
                (200, {"alive": True}),
                (503, {"ready": False, "not_ready": {"engine": engine.link.value}}),
            ]
        engine.link = EngineState.UP
        assert await answers(app, "/status/ready") == [(200, {"ready": True})]
        assert (await request(app, "/healthz")).status == 404


async def test_it_says_so_while_it_starts_and_stops_and_after_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    app = NexiosApp()
    app.mount_health()
    seen: list[Any] = []
    break_down = trio.Event()

    async def look() -> None:
        seen.append(await answers(app, "/healthz", "/readyz"))

    async def fail() -> None:
        await break_down.wait()
        raise ZeroDivisionError

    app.on_startup(look)
    app.on_shutdown(look)
    seen += [await answers(app, "/readyz")]
    async with lifespan(app):
        pass
    app.on_startup(lambda: app.start_soon(fail))
    with pytest.raises(ExceptionGroup):
        async with lifespan(app):
            break_down.set()
            await trio.sleep_forever()
    seen += [await answers(app, "/healthz", "/readyz")]
    alive = (200, {"alive": True})
    assert [seen[0], seen[1], seen[2], seen[-1]] == [
        [(503, {"ready": False, "not_ready": {"application": "not started"}})],
        [alive, (503, {"ready": False, "not_ready": {"application": "starting"}})],
        [alive, (503, {"ready": False, "not_ready": {"application": "stopping"}})],
        [alive, (503, {"ready": False, "not_ready": {"application": "failed"}})],
    ]


async def test_checks_of_the_application(caplog: pytest.LogCaptureFixture, autojump_clock: Any) -> None:
    app = NexiosApp()
    app.mount_health()
    state: dict[str, Any] = {"cache": True, "queue": None}
    asked: list[str] = []

    async def database() -> None:
        asked.append("database")
        await trio.lowlevel.checkpoint()
        raise ConnectionError("password=secret")

    async def stuck() -> None:
        await trio.sleep_forever()

    assert app.add_readiness_check("database", database) is database
    app.add_readiness_check("stuck", stuck)
    app.add_readiness_check("cache", lambda: state["cache"])
    app.add_readiness_check("queue", lambda: state["queue"])
    async with lifespan(app):
        [(status, body)] = await answers(app, "/readyz")
        assert (status, body["not_ready"]) == (503, {"database": "failed", "stuck": "no answer in 0.8 s"})
        assert "ConnectionError: password=secret" in caplog.text
        state |= {"cache": False, "queue": "12,000 jobs behind"}
        await trio.sleep(1)
        [(_, body)] = await answers(app, "/readyz")
        assert (body["not_ready"]["cache"], body["not_ready"]["queue"]) == ("not ready", "12,000 jobs behind")
        async with trio.open_nursery() as nursery:  # who asks in a flood asks the database once
            for _ in range(20):
                nursery.start_soon(answers, app, "/readyz")
    assert asked == ["database"] * 2


def test_what_is_refused() -> None:
    app = NexiosApp()
    with pytest.raises(ValueError, match="two paths"):
        app.mount_health(live="/ok", ready="/ok")
    with pytest.raises(TypeError, match="a function without arguments, async or not, not True"):
        app.add_readiness_check("database", True)  # type: ignore[type-var]
    with pytest.raises(ValueError, match="'engine' already"):
        app.add_readiness_check("engine", lambda: True)
