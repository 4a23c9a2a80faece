"""`WebSocket`: what its handler knows of the connection, and how it receives."""

import json

import pytest
import trio
from trio.testing import assert_checkpoints

from nexios_trio.core.lifecycle import Cause
from nexios_trio.exceptions import WrongFrameType
from nexios_trio.websockets import (
    WebSocketDisconnect,
    WebSocketException,
    WebSocketState,
)
from tests.wire import house, settle


async def accepted(ws):
    await ws.accept()
    await trio.sleep_forever()


def calling(function, results):
    """An endpoint that accepts, calls `function(ws)`, notes what came of it, and waits for the end."""

    async def endpoint(ws):
        await ws.accept()
        try:
            results.append(await function(ws))
        except Exception as error:
            results.append(error)
        await ws.receive()

    return endpoint


# ---------------------------------------------------------------- information


async def test_what_a_handler_knows_of_its_connection():
    seen = []

    async def endpoint(ws):
        seen.append(ws)
        await ws.accept()

    headers = [(b"host", b"example.com"), (b"cookie", b"a=1; b=2"), (b"x-room", b"7")]
    async with house() as inside:
        await inside.connect(
            endpoint, "/chat/7", query_string=b"name=ann&name=bob", headers=headers, subprotocols=["v2", "v1"]
        )
    (ws,) = seen
    assert ws.headers["x-room"] == "7"
    assert ws.cookies == {"a": "1", "b": "2"}
    assert str(ws.url) == "ws://example.com/chat/7?name=ann&name=bob"
    assert (ws.client.host, ws.client.port) == ("192.0.2.7", 50_000)
    assert ws.subprotocols == ["v2", "v1"]
    assert ws.app == ws.scope["app"] == "the app"
    assert ws.settings is inside.runtime.settings
    ws.state.anything = 1
    assert ws.state.anything == 1


async def test_regression_query_params_raised_key_error():
    seen = []

    async def endpoint(ws):
        assert ws.scope["query_params"] is ws.query_params
        seen.append((ws.query_params.get("name"), ws.query_params.getlist("name"), ws.query_params.get("x", "none")))

    async with house() as inside:
        await inside.connect(endpoint, query_string=b"name=ann&name=bob")
    assert seen == [("bob", ["ann", "bob"], "none")]


async def test_regression_path_params_raised_key_error():
    seen = []

    async def endpoint(ws):
        seen.append(ws.scope["path_params"])
        assert ws.path_params is ws.scope["path_params"]

    async with house() as inside:
        wire = await inside.connect(endpoint)
        assert "path_params" not in wire.scope  # the server's own scope is left alone
    assert seen == [{}]
    assert type(seen[0]) is dict


async def test_user_is_none_until_somebody_sets_it():
    seen = []

    async def endpoint(ws):
        seen.append(ws.user)
        ws.scope["user"] = "ann"
        seen.append(ws.user)

    async with house() as inside:
        await inside.connect(endpoint)
    assert seen == [None, "ann"]


async def test_is_connected_between_accept_and_the_first_close():
    seen = []

    def note(ws):
        seen.append((ws.is_connected(), ws.client_state))

    async def endpoint(ws):
        note(ws)
        await ws.accept()
        note(ws)
        await ws.receive()
        note(ws)

    async with house() as inside:
        wire = await inside.connect(endpoint)
        wire.leave()
    assert seen == [
        (False, WebSocketState.CONNECTING),
        (True, WebSocketState.CONNECTED),
        (False, WebSocketState.DISCONNECTED),
    ]


async def test_is_connected_is_false_after_our_own_close():
    seen = []

    async def endpoint(ws):
        await ws.accept()
        await ws.close()
        seen.append(ws.is_connected())
        assert ws.end.cause is Cause.LOCAL_CLOSE

    async with house() as inside:
        await inside.connect(endpoint)
    assert seen == [False]


def test_exceptions_tell_code_and_reason():
    assert (WebSocketDisconnect().code, WebSocketDisconnect().reason) == (1000, "")
    assert str(WebSocketDisconnect(1001, "going\naway")) == "WebSocket disconnected 1001: 'going\\naway'"
    assert str(WebSocketException(4000)) == "WebSocket closed by the application 4000"


# ---------------------------------------------------------------- receiving


async def test_regression_a_binary_frame_was_answered_you_said_none():
    async def endpoint(ws):
        await ws.accept()
        while True:
            data = await ws.receive()
            if data["type"] == "websocket.receive":
                if "text" in data:
                    await ws.send_text(f"You said: {data['text']}")
                elif "bytes" in data:
                    await ws.send_bytes(data["bytes"])

    async with house() as inside:
        wire = await inside.connect(endpoint)
        wire.say("hi", b"\xff", "")
        await settle()
        assert wire.messages == ["You said: hi", b"\xff", "You said: "]


async def test_the_end_is_told_once_as_an_event_and_then_raised():
    seen = []

    async def endpoint(ws):
        await ws.accept()
        seen.append(await ws.receive())
        with assert_checkpoints(), pytest.raises(WebSocketDisconnect) as caught:
            await ws.receive()
        seen.append((caught.value.code, caught.value.reason))
        with pytest.raises(WebSocketDisconnect):
            await ws.receive_text()

    async with house() as inside:
        wire = await inside.connect(endpoint)
        wire.leave(4000, "bye")
    assert seen == [{"type": "websocket.disconnect", "code": 4000, "reason": "bye"}, (4000, "bye")]


@pytest.mark.parametrize(
    ("call", "wrong", "right", "result"),
    [
        ("receive_text", b"\xff", "x", "x"),
        ("receive_bytes", "x", b"\xff", b"\xff"),
    ],
)
async def test_regression_a_wrong_frame_type_was_a_key_error_or_none(call, wrong, right, result):
    seen = []

    async def endpoint(ws):
        await ws.accept()
        with pytest.raises(WrongFrameType):  # a ValueError
            await getattr(ws, call)()
        assert ws.is_connected()
        seen.append(await getattr(ws, call)())

    async with house() as inside:
        wire = await inside.connect(endpoint)
        wire.say(wrong, right)
    assert seen == [result]
    assert issubclass(WrongFrameType, ValueError)


async def test_receive_json_takes_either_frame_type_and_bad_json_leaves_the_connection_intact():
    async def endpoint(ws):
        await ws.accept()
        while True:
            try:
                await ws.send_json({"data": await ws.receive_json()})
            except json.JSONDecodeError:
                await ws.send_json({"error": "Invalid JSON"})

    async with house() as inside:
        wire = await inside.connect(endpoint)
        wire.say('{"a":1}', b"[1]", "{", b"\xff", "NaN", "[" * 60_000, "null")
        await settle()
        assert wire.json == [{"data": {"a": 1}}, {"data": [1]}, *[{"error": "Invalid JSON"}] * 4, {"data": None}]


@pytest.mark.parametrize(("mode", "message"), [("text", b"1"), ("binary", "1")])
async def test_receive_json_can_be_held_to_one_frame_type(mode, message):
    results = []
    async with house() as inside:
        wire = await inside.connect(calling(lambda ws: ws.receive_json(mode), results))
        wire.say(message)
    assert isinstance(results[0], WrongFrameType)


async def test_json_modes_are_checked():
    results = []
    async with house() as inside:
        await inside.connect(calling(lambda ws: ws.receive_json("json"), results))
        await inside.connect(calling(lambda ws: ws.send_json(1, "json"), results))
    assert [str(error) for error in results] == ['mode must be "text" or "binary", not \'json\''] * 2


@pytest.mark.parametrize(
    ("iterate", "messages", "expected"),
    [
        (lambda ws: ws, ("a", b"b"), ["a", b"b"]),
        (lambda ws: ws.iter_text(), ("a", "b"), ["a", "b"]),
        (lambda ws: ws.iter_bytes(), (b"a", b"b"), [b"a", b"b"]),
        (lambda ws: ws.iter_json(), ("1", b"[2]"), [1, [2]]),
    ],
)
async def test_iterating_until_the_connection_is_over(iterate, messages, expected):
    seen = []

    async def endpoint(ws):
        await ws.accept()
        async for message in iterate(ws):
            seen.append(message)
        seen.append("over")

    async with house() as inside:
        wire = await inside.connect(endpoint)
        wire.say(*messages)
        wire.leave()
    assert seen == [*expected, "over"]


async def test_an_iteration_may_be_left_and_begun_again_and_survives_a_bad_message():
    seen = []

    async def endpoint(ws):
        await ws.accept()
        numbers = ws.iter_json()
        async for number in numbers:
            seen.append(number)
            break
        with pytest.raises(json.JSONDecodeError):
            await anext(numbers)
        async for number in ws.iter_json():
            seen.append(number)

    async with house() as inside:
        wire = await inside.connect(endpoint)
        wire.say("1", "{", "2")
    assert seen == [1, 2]


async def test_messages_that_came_before_the_end_are_read(autojump_clock):
    async def endpoint(ws):
        await ws.accept()
        await trio.sleep(1)
        seen.extend([message async for message in ws])

    seen = []
    async with house() as inside:
        wire = inside.begin(endpoint)
        wire.say("1", "2")
        wire.leave()
    assert seen == ["1", "2"]


async def test_two_tasks_cannot_receive_at_a_time():
    async def endpoint(ws):
        await ws.accept()
        ws.start_soon(ws.receive)
        await settle()
        with pytest.raises(trio.BusyResourceError):
            await ws.receive()

    async with house() as inside:
        await inside.connect(endpoint)


async def test_a_cancelled_receive_loses_nothing(autojump_clock):
    seen = []

    async def endpoint(ws):
        await ws.accept()
        with trio.move_on_after(1):
            await ws.receive_text()
        seen.append(await ws.receive_text())

    async with house() as inside:
        wire = inside.begin(endpoint)
        await trio.sleep(2)
        wire.say("kept")
    assert seen == ["kept"]
