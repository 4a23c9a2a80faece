"""The in-memory client against bare ASGI applications, on both servers, and against our own."""

import json
import re
from typing import Any, cast

import pytest
import trio
import trio.testing

from nexios_trio import NexiosApp, open_channel
from nexios_trio.exceptions import WebSocketDisconnect
from nexios_trio.testing import ConnectionOver, Denied, Unmet
from nexios_trio.testing.client import connect

BOTH = pytest.mark.parametrize("server", ["hypercorn", "direct"])


async def echo(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] != "websocket.disconnect":
        await send({"type": "websocket.send", **{k: v for k, v in event.items() if k != "type" and v is not None}})


class Recorder:
    """Accepts, then keeps every event; `release` lets it receive."""

    def __init__(self) -> None:
        self.scope: Any = None
        self.events: list[Any] = []
        self.send: Any = None
        self.release = trio.Event()
        self.release.set()

    async def __call__(self, scope, receive, send):
        self.scope, self.send = scope, send
        assert await receive() == {"type": "websocket.connect"}
        await send({"type": "websocket.accept"})
        await self.release.wait()
        while True:
            self.events.append(await receive())
            if self.events[-1]["type"] == "websocket.disconnect":
                return


@BOTH
async def test_both_kinds_of_message(server):
    async with connect(echo, server=server) as ws:
        await ws.send_text("héllo")
        assert await ws.receive_text() == "héllo"
        await ws.send_bytes(b"\0")
        assert await ws.receive_bytes() == b"\0"
        await ws.send_json({"a": [1]})
        assert await ws.receive_json() == {"a": [1]}
        await ws.expect_nothing(0.001)


async def test_events_of_hypercorn_have_both_keys_and_lose_the_code():
    app = Recorder()
    async with connect(app) as ws:
        await ws.send_text("t")
        await ws.send_bytes(b"b")
        await ws.close(4321, "why")
    assert app.events == [
        {"type": "websocket.receive", "text": "t", "bytes": None},
        {"type": "websocket.receive", "text": None, "bytes": b"b"},
        {"type": "websocket.disconnect", "code": 1006},
    ]


async def test_events_of_the_direct_lane_have_one_key_and_the_real_code():
    app = Recorder()
    async with connect(app, server="direct") as ws:
        await ws.send_text("t")
        await ws.send_bytes(b"b")
        await ws.close(4321, "why")
    assert app.events == [
        {"type": "websocket.receive", "text": "t"},
        {"type": "websocket.receive", "bytes": b"b"},
        {"type": "websocket.disconnect", "code": 4321, "reason": "why"},
    ]


async def test_the_scope():
    app = Recorder()
    async with connect(
        app,
        "/ws/ä b/%2F?x=1",
        query={"y": ["2", "3"]},
        headers={"X-Thing": "v", "Host": "other"},
        cookies={"a": "1", "b": "2"},
        subprotocols=["one", "two"],
        client=("10.0.0.1", 5),
    ):
        pass
    scope = app.scope
    assert (scope["path"], scope["raw_path"]) == ("/ws/ä b//", b"/ws/%C3%A4%20b/%2F")
    assert scope["query_string"] == b"x=1&y=2&y=3"
    headers = dict(scope["headers"])
    assert (headers[b"host"], headers[b"x-thing"], headers[b"cookie"]) == (b"other", b"v", b"a=1; b=2")
    assert (headers[b"sec-websocket-protocol"], scope["subprotocols"]) == (b"one, two", ["one", "two"])
    assert scope["client"] == ("10.0.0.1", 5)
    with pytest.raises(ValueError, match="begins with '/'"):
        async with connect(app, "ws://host/"):
            pass


@BOTH
async def test_what_was_accepted(server):
    async def app(scope, receive, send):
        await send({"type": "websocket.accept", "subprotocol": "two", "headers": [(b"x-a", b"1")]})
        await send({"type": "websocket.close", "code": 4001, "reason": "bye"})

    async with connect(app, subprotocols=["one", "two"], server=server) as ws:
        assert (ws.accepted_subprotocol, ws.accepted_headers) == ("two", {"x-a": "1"})
        assert await ws.receive_close() == (4001, "bye")


@BOTH
async def test_denials(server):
    async def closes(scope, receive, send):
        await send({"type": "websocket.close"})

    async def answers(scope, receive, send):
        await send({"type": "websocket.http.response.start", "status": 418, "headers": [(b"x", b"y")]})
        await send({"type": "websocket.http.response.body", "body": b'{"a"', "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b":1}"})

    async def returns(scope, receive, send):
        pass

    with pytest.raises(Denied, match="HTTP status 403"):
        async with connect(closes, server=server):
            pass
    with pytest.raises(Denied) as caught:
        async with connect(answers, server=server):
            pass
    assert (caught.value.status, caught.value.headers, caught.value.json()) == (418, {"x": "y"}, {"a": 1})
    with pytest.raises(Denied, match="500"):
        async with connect(returns, server=server):
            pass


@BOTH
async def test_an_error_of_the_application_is_raised(server):
    async def app(scope, receive, send):
        await send({"type": "websocket.accept"})
        raise ZeroDivisionError("in the app")

    with pytest.raises(ZeroDivisionError, match="in the app"):
        async with connect(app, server=server) as ws:
            assert (await ws.receive_close())[0] == 1011
    with pytest.raises(ConnectionOver, match="expected a text message, but the server closed with 1011") as caught:
        async with connect(app, server=server) as ws:
            await ws.receive_text()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert isinstance(caught.value, WebSocketDisconnect)
    assert caught.value.code == 1011


async def test_a_return_without_close_is_1011_on_hypercorn_and_1000_on_the_lane():
    async def app(scope, receive, send):
        await send({"type": "websocket.accept"})

    async with connect(app) as ws:
        assert await ws.receive_close() == (1011, "")
    async with connect(app, server="direct") as ws:
        assert await ws.receive_close() == (1000, "")


async def test_errors_say_what_was_expected(autojump_clock):
    async def app(scope, receive, send):
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "bytes": b"data"})
        await send({"type": "websocket.send", "text": "not JSON"})
        await receive()
        await receive()

    with pytest.raises(Unmet) as caught:
        async with connect(app) as ws:
            with pytest.raises(Unmet, match="expected a text message, but a binary one came: b'data'"):
                await ws.receive_text()
            with pytest.raises(Unmet, match="expected a JSON message, but this came: 'not JSON'"):
                await ws.receive_json()
            await ws.receive_json(timeout=2)
    assert "expected a JSON message within 2 s, but nothing came" in str(caught.value)
    assert __file__ in str(caught.value)
    assert "await receive()" in str(caught.value)


async def test_errors_show_the_user_s_line_and_not_where_we_wait(autojump_clock):
    app = NexiosApp()

    @app.ws_route("/chat")
    async def chat(ws):
        async with open_channel(ws) as channel:
            async for text in channel:
                await channel.send(text)

    with pytest.raises(Unmet) as caught:
        async with connect(app, "/chat") as ws:
            await ws.receive_json()
    assert re.search(rf"stands at:\n  {__file__}:\d+ in \S+chat: async for text in channel:$", str(caught.value))


async def test_an_application_that_does_not_finish_is_a_failure(autojump_clock):
    async def app(scope, receive, send):
        await send({"type": "websocket.accept"})
        await trio.sleep_forever()

    with pytest.raises(Unmet, match="sleep_forever"):
        async with connect(app, "/stuck"):
            pass


async def test_an_application_that_does_not_answer(autojump_clock):
    async def app(scope, receive, send):
        await trio.sleep(10)

    with pytest.raises(Unmet, match="an answer to the handshake within 3 s"):
        async with connect(app, timeout=3):
            pass


async def test_hypercorn_stops_reading_behind_ten_events(autojump_clock):
    app = Recorder()
    app.release = trio.Event()
    async with connect(app, timeout=1) as ws:
        for index in range(11):  # the reader waits with one in hand
            await ws.send_text(str(index))
        with pytest.raises(Unmet, match="the server to read within 1 s"):
            await ws.send_text("one too many")
        app.release.set()
    assert len(app.events) == 13


async def test_hypercorn_does_not_see_a_loss_behind_ten_events(autojump_clock):
    app = Recorder()
    app.release = trio.Event()
    async with connect(app) as ws:
        for index in range(11):
            await ws.send_text(str(index))
        ws.lose()
        start = trio.current_time()
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def receive():
                await trio.sleep(3)
                app.release.set()

            await app.send({"type": "websocket.send", "text": "x"})  # its error path waits for room in the queue
        assert trio.current_time() - start == 3
    assert app.events[-1] == {"type": "websocket.disconnect", "code": 1006}


async def test_sends_after_the_end_on_hypercorn_return_without_a_checkpoint():
    app = Recorder()
    async with connect(app) as ws:
        ws.lose()
        await ws.app_finished()
        with trio.testing.assert_no_checkpoints():
            await app.send({"type": "websocket.send", "text": "x"})
    assert app.events == [{"type": "websocket.disconnect", "code": 1006}]


async def test_sends_after_the_end_on_the_lane_raise():
    app = Recorder()
    async with connect(app, server="direct") as ws:
        ws.lose()
        await ws.app_finished()
        with pytest.raises(OSError, match="over"):
            await app.send({"type": "websocket.send", "text": "x"})


async def test_a_stalled_client_blocks_sends_on_hypercorn_even_from_cancellation(autojump_clock):
    app = Recorder()
    async with connect(app, buffer=100) as ws:
        ws.stall()
        await app.send({"type": "websocket.send", "text": "x" * 90})
        start = trio.current_time()
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def wake():
                await trio.sleep(7)
                ws.resume()

            with trio.move_on_after(1):
                await app.send({"type": "websocket.send", "text": "y" * 90})
        assert trio.current_time() - start == 7
        assert [len(await ws.receive_text()) for _ in range(2)] == [90, 90]


async def test_a_half_open_connection_heals():
    app = Recorder()
    async with connect(app, buffer=1000) as ws:
        ws.half_open()
        await ws.send_text("late")
        await app.send({"type": "websocket.send", "text": "later"})
        await trio.testing.wait_all_tasks_blocked()
        assert (app.events, ws.unread()) == ([], [])
        ws.heal()
        assert await ws.receive_text() == "later"
    assert app.events[0]["text"] == "late"


async def test_a_stalled_client_gets_what_was_sent_before_the_close():
    async def app(scope, receive, send):
        await send({"type": "websocket.accept"})
        for index in range(3):
            await send({"type": "websocket.send", "text": json.dumps(index)})
        await send({"type": "websocket.close", "code": 1001, "reason": "away"})

    async with connect(app, buffer=1000) as ws:
        ws.stall()
        await ws.app_finished()
        ws.resume()
        with pytest.raises(Unmet, match="expected the connection to be closed, but a message came: '0'"):
            await ws.receive_close()
        assert [await ws.receive_json() for _ in range(3)] == [0, 1, 2]
        assert await ws.receive_close() == (1001, "away")


async def test_the_application_hears_1000_after_its_own_close_on_hypercorn():
    codes = []

    async def app(scope, receive, send):
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 4000})
        await receive()
        codes.append((await receive())["code"])

    async with connect(app) as ws:
        assert (await ws.receive_close())[0] == 4000
    assert codes == [1000]


async def test_cancelling_from_outside_is_clean():
    app = Recorder()
    with trio.move_on_after(0.01) as scope:
        async with connect(app):
            await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_the_server_must_be_known():
    with pytest.raises(ValueError, match="'hypercorn', 'direct', not 'uvicorn'"):
        async with connect(echo, server=cast("Any", "uvicorn")):
            pass


@BOTH
async def test_a_failure_in_the_block_is_raised_also_while_the_client_does_not_read(server, autojump_clock):
    app = NexiosApp(write_timeout=90)

    @app.ws_route("/")
    async def flood(ws):
        async with open_channel(ws) as channel:
            async for _ in channel:
                for number in range(10):
                    await channel.send(f"{number:2000}")

    with pytest.raises(ZeroDivisionError):
        async with connect(app, "/", server=server, buffer=1000) as client:
            client.stall()
            await client.send_json("go")
            await trio.testing.wait_all_tasks_blocked()
            raise ZeroDivisionError
