"""Handlers that shield themselves from cancellation, and the end of a stop."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from nexios_trio import NexiosApp, Settings
from nexios_trio.server.shields import end_shielded
from nexios_trio.serving import DrainFailed
from tests.server.support import DEADLINE, running


async def test_a_handler_that_shields_itself_does_not_outlast_the_drain(caplog):
    app = NexiosApp(settings=Settings(drain_jitter=0.0, drain_timeout=0.4))
    ended = []

    @app.ws_route("/stubborn")
    async def stubborn(ws):
        await ws.accept()
        with trio.CancelScope(shield=True):
            try:
                await trio.sleep_forever()
            finally:
                ended.append(True)

    with pytest.raises(DrainFailed, match=r"a task of a connection did not stop within 0\.4 s \(drain_timeout\)"):
        async with running(app, None, app.settings) as server, await server.connect() as client:
            await client.handshake("/stubborn")
            server.stop()
            await server.stopped()
    assert ended == [True]
    [record] = [each for each in caplog.records if each.levelname == "ERROR"]
    assert "it shields itself from cancellation" in record.getMessage()
    assert (record.path, record.client) == ("/stubborn", "127.0.0.1")
    assert "await trio.sleep_forever()" in record.stack_info


async def test_nor_does_a_shutdown_function_that_does():
    app = NexiosApp(settings=Settings(drain_jitter=0.0, drain_timeout=0.1))

    @app.on_shutdown
    async def stubborn():
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()

    with trio.fail_after(DEADLINE), pytest.raises(Exception, match="shutdown was not done in time"):
        async with running(app):
            pass


async def test_only_the_tasks_of_that_nursery_lose_their_shields(caplog):
    async def shielded(started):
        with trio.CancelScope(shield=True):
            started.set()
            await trio.sleep_forever()

    async def outer(started):
        async with trio.open_nursery() as inner:
            inner.start_soon(shielded, started)

    started = [trio.Event() for _ in range(2)]
    with trio.CancelScope(shield=True) as around:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(shielded, started[0])
            nursery.start_soon(outer, started[1])
            for event in started:
                await event.wait()
            nursery.cancel_scope.cancel()
            assert await end_shielded(nursery, "did not stop") == 2
    assert around.shield
    [record] = caplog.records
    assert record.getMessage().startswith("2 tasks did not stop: it shields itself")
    assert record.tasks == 2


async def test_a_task_that_ends_in_time_is_not_counted(caplog):
    """Its time is over at the same moment as that of all others."""

    async def unwinding():
        async with trio.open_nursery() as inner:
            inner.start_soon(trio.sleep_forever)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(unwinding)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        assert await end_shielded(nursery, "did not stop") == 0
    assert caplog.records == []
