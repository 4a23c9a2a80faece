"""A conversation leaves nothing behind: whoever is cancelled, at any step, and without the garbage collector."""

import gc
import weakref

import pytest

from nexios_trio import NexiosApp
from nexios_trio.exceptions import RealtimeError
from nexios_trio.realtime import Connected
from nexios_trio.realtime.protocol.data import Data
from nexios_trio.realtime.protocol.requests import (
    PresenceStatsRequest,
    PublishRequest,
    RPCRequest,
    SubscribeRequest,
    UnsubscribeRequest,
)
from nexios_trio.testing import cancel_everywhere, run_app
from tests.realtime.support import PATH, open_app, talking


def test_cancelled_at_any_step_nobody_is_left_in_a_group():
    apps = []

    async def scenario():
        app = NexiosApp()
        apps.append(app)
        app.box.keep("room.*")
        realtime = app.realtime(PATH)
        realtime.groups("*", subscribe=True, publish=True)
        realtime.on_connect(lambda client: Connected("ann", groups=["room.server", "server"]))
        async with run_app(app):
            await app.box.group_send("room.1", "missed")
            async with talking(app) as talker:
                await talker.ask(
                    SubscribeRequest("room.1", recover=True),
                    SubscribeRequest("plain"),
                    PublishRequest("room.1", Data(1)),
                )
                await talker.publications(1)
                await talker.ask(UnsubscribeRequest("plain"))

    report = cancel_everywhere(scenario)
    assert report.runs > 20
    assert [app for app in apps if app.box.statistics().groups or app.box.statistics().channels] == []


@pytest.fixture
def without_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def test_a_client_is_freed_at_once(without_collector):
    app, realtime = open_app()
    alive = []

    @realtime.on_connect
    def connect(client):
        alive.extend((weakref.ref(client), weakref.ref(client.websocket)))

    @realtime.rpc("fail")
    async def fail(client):
        raise RealtimeError(444, "not today")  # not logged: a log may keep its frames

    async with talking(app) as talker:
        for group in ("room.1", "plain", "plain", "no name!"):
            await talker.subscribe(group)
        await talker.ask(RPCRequest(method="fail"), PublishRequest("room.1", Data(1)), PresenceStatsRequest("room.1"))
    async with talking(app) as talker:
        await talker.send_raw("nonsense")
        assert await talker.closed() == 3501
    assert len(alive) == 4
    assert [one() for one in alive] == [None] * 4
