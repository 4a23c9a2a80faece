"""Both publishers see who is present, and reach the connections of a user."""

from typing import Any

import pytest
from trio.testing import wait_all_tasks_blocked

from nexios_trio import NexiosApp
from nexios_trio.exceptions import InvalidName
from nexios_trio.publisher import PublishError
from nexios_trio.testing import connect
from nexios_trio.websockets import WebSocket, open_channel
from tests.publisher.support import API_KEY, CLOSE, KINDS, MakeEither, response, scripted
from tests.server.support import running

both = pytest.mark.parametrize("kind", KINDS)


def make_app() -> NexiosApp:
    app = NexiosApp()
    app.mount_api("/api", key=API_KEY)
    deep: Any = {}
    for _ in range(100):
        deep = {"deep": deep}
    app.box.keep_presence("room", grace=0, info=lambda channel: deep)

    @app.ws_route("/room")
    async def room(ws: WebSocket) -> None:
        ws.user = "ann"
        async with open_channel(ws) as channel, channel.member("room"):
            async for _ in channel:
                pass

    return app


@both
async def test_presence_unsubscribe_and_disconnect(kind: type[Any], either: MakeEither) -> None:
    app = make_app()
    async with running(app) as server:
        publisher = either(kind, f"http://127.0.0.1:{server.port}/api")
        async with connect(app, "/room") as tab, connect(app, "/room") as phone:
            await wait_all_tasks_blocked()
            [ann] = await publisher.presence("room")
            assert [ann] == await app.box.presence("room")
            assert len(ann.connections) == 2
            assert await publisher.unsubscribe("ann", "room") == 2
            assert await publisher.presence("room") == []
            assert await publisher.disconnect("ann", "signed out", 4003) == 2
            assert [await device.receive_close() for device in (tab, phone)] == [(4003, "signed out")] * 2
        assert await publisher.disconnect("ann") == 0
        with pytest.raises(PublishError, match="400: group: nobody keeps the presence of group 'hall'") as caught:
            await publisher.presence("hall")
        assert not caught.value.maybe_published


@both
async def test_what_is_not_accepted_is_said_before_anything_is_sent(kind: type[Any], either: MakeEither) -> None:
    publisher = either(kind, "http://127.0.0.1:1/api")
    for error, call in [
        (InvalidName, publisher.presence("tea time")),
        (InvalidName, publisher.unsubscribe("ann", "tea time")),
        (TypeError, publisher.unsubscribe(None, "room")),
        (TypeError, publisher.disconnect("")),
        (ValueError, publisher.disconnect("ann", "x" * 124)),
        (ValueError, publisher.disconnect("ann", "", 1006)),
    ]:
        with pytest.raises(error):
            await call


@both
@pytest.mark.parametrize("name", ["presence", "disconnect", "unsubscribe"])
async def test_it_is_tried_again(kind: type[Any], name: str, either: MakeEither) -> None:
    done = response(200, {"users": [], "connections": 3, "channels": 3})
    down = response(503, {"error": "down", "maybe_published": True})
    async with scripted(CLOSE, down, done) as server:
        publisher = either(kind, f"http://127.0.0.1:{server.port}/api")
        assert await call(publisher, name) == ([] if name == "presence" else 3)
        assert [head.split()[1] for head, _ in server.requests] == [f"/api/{name}"] * 3


@both
@pytest.mark.parametrize("name", ["presence", "disconnect", "unsubscribe"])
@pytest.mark.parametrize("answer", [{}, [], {"users": [{}], "connections": None, "channels": "x"}], ids=range(3))
async def test_an_answer_that_is_not_mount_apis(kind: type[Any], name: str, answer: Any, either: MakeEither) -> None:
    async with scripted(response(200, answer)) as server:
        publisher = either(kind, f"http://127.0.0.1:{server.port}/api")
        with pytest.raises(PublishError, match="the answer is not that of mount_api") as caught:
            await call(publisher, name)
        assert (caught.value.maybe_published, len(server.requests)) == (True, 1)


def call(publisher: Any, name: str) -> Any:
    arguments = {"presence": ("room",), "disconnect": ("ann",), "unsubscribe": ("ann", "room")}
    return getattr(publisher, name)(*arguments[name])
