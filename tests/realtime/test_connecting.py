"""The first command: who it is, what is answered, and that nothing is done before it or behind a failed one."""

import pytest
import trio

from nexios_trio import NexiosApp, WebSocketException
from nexios_trio.exceptions import AuthenticationError, RealtimeError
from nexios_trio.middleware import AuthenticationMiddleware
from nexios_trio.realtime import Connected
from nexios_trio.realtime.protocol.codecs import JSON, PROTOBUF
from nexios_trio.realtime.protocol.data import Data
from nexios_trio.realtime.protocol.parts import Error
from nexios_trio.realtime.protocol.requests import Command, ConnectRequest, PublishRequest, RPCRequest
from tests.realtime.support import PATH, open_app, talking

both = pytest.mark.parametrize("codec", [JSON, PROTOBUF], ids=["json", "protobuf"])


@both
async def test_a_client_is_told_who_it_is_and_when_pings_come(codec):
    app, _ = open_app()
    async with talking(app, codec, connects=False) as talker:
        answer = await talker.connect()
        assert len(answer.client) == 36
        assert (answer.ping, answer.pong, answer.expires) == (25, True, False)


@both
async def test_on_connect_knows_what_the_client_says_and_answers(codec):
    app = NexiosApp()
    seen = {}

    @app.realtime(PATH).on_connect
    async def connect(client):
        seen.update(token=client.token, data=client.data, name=client.name, headers=client.headers)
        return Connected("ann", {"welcome": 1})

    async with talking(app, codec, connects=False) as talker:
        answer = await talker.connect(token="t", data=Data({"a": 1}), name="js", headers={"x": "y"})
        assert answer.data == Data({"welcome": 1})
    assert seen == {"token": "t", "data": {"a": 1}, "name": "js", "headers": {"x": "y"}}


@both
async def test_others_reach_the_user(codec):
    app, _ = open_app()
    async with talking(app, codec, token="ann") as ann, talking(app, codec, token="bob"):
        await app.user("ann").send({"hello": "ann"})
        [push] = await ann.until(1)
        assert (push.channel, push.event.data) == ("", Data({"hello": "ann"}))


async def test_a_user_that_a_middleware_has_found_stays():
    app = NexiosApp()
    users = []

    async def authenticate(ws, following):
        ws.user = "cookie"
        await following(ws)

    realtime = app.realtime(PATH, middleware=[authenticate])
    realtime.on_connect(lambda client: users.append(client.user))
    async with talking(app):
        assert users == ["cookie"]


async def test_who_is_refused_by_a_middleware_of_the_endpoint_comes_not_back_either():
    """With 4001, which others get, an SDK would try for ever."""
    app = NexiosApp()
    app.realtime(PATH, middleware=[AuthenticationMiddleware(lambda ws: None)])
    async with talking(app, connects=False) as talker:
        assert await talker.closed() == 3500


async def test_who_is_nobody_is_closed_with_3500_and_comes_not_back():
    app, realtime = open_app()

    @realtime.on_connect
    def connect(client):
        raise AuthenticationError("no such token")

    async with talking(app, connects=False) as talker:
        await talker.send(Command(1, ConnectRequest("bad")))
        assert await talker.client.receive_close() == (3500, "no such token")


async def test_a_handler_may_close_with_a_code_of_its_own():
    app, realtime = open_app()

    @realtime.on_connect
    def connect(client):
        raise WebSocketException(3503, "42")

    async with talking(app, connects=False) as talker:
        await talker.send(Command(1, ConnectRequest()))
        assert await talker.client.receive_close() == (3503, "reason: 42")


async def test_nothing_behind_a_failed_connect_is_done_and_then_the_client_is_closed(autojump_clock):
    app, realtime = open_app()
    called = []
    realtime.rpc("note")(called.append)

    @realtime.on_connect
    def connect(client):
        raise RealtimeError(109, "token expired")

    async with talking(app, connects=False, timeout=60.0) as talker:
        await talker.send(Command(1, ConnectRequest()), Command(2, RPCRequest(method="note")))
        assert await talker.answer(1) == Error(109, "token expired")
        await talker.send(Command(3, RPCRequest(method="note")))
        start = trio.current_time()
        assert await talker.closed() == 3502
        assert trio.current_time() - start == pytest.approx(15.0, abs=0.5)
    assert called == []


async def test_a_client_that_stays_silent_is_closed(autojump_clock):
    app, _ = open_app()
    async with talking(app, connects=False, timeout=60.0) as talker:
        assert await talker.closed() == 3502


async def test_a_mistake_in_on_connect_is_an_internal_error_and_logged(caplog):
    app, realtime = open_app()

    @realtime.on_connect
    def connect(client):
        raise RuntimeError("a mistake")

    async with talking(app, connects=False) as talker:
        assert await talker.connect() == Error(100, "internal server error", True)
    assert "a mistake" in caplog.text


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("nonsense", 3501),
        ('{"id":1,"subscribe":{"channel":"a"}}', 3501),
        ("{}", 3501),
        (b"\x00", 3506),
    ],
)
async def test_what_breaks_the_protocol_is_closed_for_good(frame, code):
    app, _ = open_app()
    async with talking(app, connects=False) as talker:
        await talker.send_raw(frame)
        assert await talker.closed() == code


async def test_the_commands_before_a_violation_are_answered():
    app, realtime = open_app()
    realtime.rpc("add")(lambda client, data: sum(data))
    async with talking(app) as talker:
        await talker.send_raw('{"id":7,"rpc":{"method":"add","data":[1,2]}}\n{"id":8,"connect":{}}')
        assert (await talker.answer(7)).data == Data(3)
        assert await talker.client.receive_close() == (3501, "connect comes once")


async def test_a_client_is_gone_when_its_connection_is():
    app, realtime = open_app()
    gone = []
    realtime.on_disconnect(lambda client: gone.append((client.user, sorted(client.groups))))
    async with talking(app, token="ann") as talker:
        await talker.subscribe("room.1")
        await talker.subscribe("other")
    assert gone == [("ann", ["other", "room.1"])]
    assert app.box.statistics().channels == 0
    assert app.box.statistics().groups == 0


async def test_a_publication_of_a_client_that_is_not_connected_reaches_nobody():
    app, _ = open_app()
    async with talking(app) as listener, talking(app, connects=False) as talker:
        await listener.subscribe("room.1")
        await talker.send(Command(1, PublishRequest("room.1", Data("x"))))
        assert await talker.closed() == 3501
        await listener.client.expect_nothing()
