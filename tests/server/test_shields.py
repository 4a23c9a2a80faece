"""Handlers that shield themselves from cancellation, and the end of a stop."""

import pytest
import trio

from nexios_trio import NexiosApp, Settings
from nexios_trio.server.shields import lift_shields
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

    async with running(app, None, app.settings) as server, await server.connect() as client:
        await client.handshake("/stubborn")
        server.stop()
        await server.stopped()
    assert ended == [True]
    assert "shielded itself from being cancelled" in caplog.text


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
            lift_shields(nursery)
    assert around.shield
    assert caplog.text.count("shielded itself") == 2
