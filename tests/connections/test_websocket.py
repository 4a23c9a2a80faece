"""`WebSocket`: answering the handshake, sending, closing, and tasks."""

import math

import pytest
import trio
from trio.testing import assert_checkpoints, assert_no_checkpoints

from nexios_trio.exceptions import LifecycleError, MessageTooBig
from nexios_trio.websockets import (
    Channel,
    ChannelBox,
    WebSocket,
    WebSocketDisconnect,
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


# ---------------------------------------------------------------- accept, deny, reject


async def test_accept_with_an_offered_subprotocol_and_headers():
    async def endpoint(ws):
        with assert_checkpoints():
            await ws.accept("v1", {"X-Name": "ann"})

    async with house() as inside:
        wire = await inside.connect(endpoint, subprotocols=["v2", "v1"])
    assert wire.events[0] == {"type": "websocket.accept", "subprotocol": "v1", "headers": [(b"x-name", b"ann")]}


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("v3",), "was not offered by the client; offered: 'v2', 'v1'"),
        ((None, {"x": "a\r\nb: c"}), "CR, LF"),
        ((None, {"Sec-WebSocket-Protocol": "v3"}), "set by the handshake itself"),
        ((None, [(b"bad name", b"x")]), "not an HTTP token"),
    ],
)
async def test_regression_an_unoffered_subprotocol_killed_a_server(arguments, match):
    async def endpoint(ws):
        with pytest.raises(ValueError, match=match):
            await ws.accept(*arguments)
        await ws.accept()  # nothing was sent: it can be done right

    async with house() as inside:
        wire = await inside.connect(endpoint, subprotocols=["v2", "v1"])
    assert [event["type"] for event in wire.events] == ["websocket.accept", "websocket.close"]


async def test_accepting_twice_is_a_mistake_in_the_program():
    async def endpoint(ws):
        await ws.accept()
        with pytest.raises(RuntimeError, match="accepted once"):
            await ws.accept()

    async with house() as inside:
        wire = await inside.connect(endpoint)
    assert wire.closes == [(1000, "")]


async def test_deny_is_an_http_response():
    async def endpoint(ws):
        with assert_checkpoints():
            await ws.deny(401, {"www-authenticate": "Basic"}, b"no", "who?")
        await ws.deny(403)  # a no-op
        assert ws.end.reason == "who?"

    async with house() as inside:
        wire = await inside.connect(endpoint)
    assert wire.events == [
        {
            "type": "websocket.http.response.start",
            "status": 401,
            "headers": [(b"www-authenticate", b"Basic"), (b"content-length", b"2")],
        },
        {"type": "websocket.http.response.body", "body": b"no"},
    ]


@pytest.mark.parametrize("status", [200, 101, 399, 600])
async def test_a_denial_is_an_error_status(status):
    async def endpoint(ws):
        with pytest.raises(ValueError, match="400 to 599"):
            await ws.deny(status)

    async with house() as inside:
        wire = await inside.connect(endpoint)
    assert wire.status == 403


async def test_deny_after_accept_is_a_mistake():
    async def endpoint(ws):
        await ws.accept()
        with pytest.raises(LifecycleError, match=r"close\(\) or reject\(\)"):
            await ws.deny()

    async with house() as inside:
        await inside.connect(endpoint)


async def test_reject_lets_the_client_see_the_code():
    async def endpoint(ws):
        with assert_checkpoints():
            await ws.reject(4001, "log in first")

    async with house() as inside:
        wire = await inside.connect(endpoint)
    assert wire.is_accepted
    assert wire.closes == [(4001, "log in first")]


async def test_close_before_accept_is_a_refusal():
    async def endpoint(ws):
        await ws.close(4001, "no")
        assert ws.client_state is WebSocketState.DISCONNECTED

    async with house() as inside:
        wire = await inside.connect(endpoint)
    assert (wire.status, wire.is_accepted, wire.closes) == (403, False, [])


@pytest.mark.parametrize("call", ["receive", "receive_text", "receive_bytes", "receive_json"])
async def test_receive_before_accept_is_a_mistake(call):
    async def endpoint(ws):
        with pytest.raises(RuntimeError, match=r"call accept\(\) before receiving"):
            await getattr(ws, call)()

    async with house() as inside:
        wire = await inside.connect(endpoint)
    assert wire.status == 403


@pytest.mark.parametrize(("call", "data"), [("send_text", "x"), ("send_bytes", b"x"), ("send_json", {})])
async def test_send_before_accept_is_a_mistake(call, data):
    async def endpoint(ws):
        with pytest.raises(RuntimeError, match=r"call accept\(\) before sending"):
            await getattr(ws, call)(data)

    async with house() as inside:
        await inside.connect(endpoint)


# ---------------------------------------------------------------- sending


async def test_each_way_of_sending():
    async def endpoint(ws):
        await ws.accept()
        for call in (
            lambda: ws.send_text("ä"),
            lambda: ws.send_bytes(bytearray(b"\xff")),
            lambda: ws.send_json({"a": [1, "ä"]}),
            lambda: ws.send_json([1], mode="binary"),
            lambda: ws.send({"type": "websocket.send", "text": "t", "bytes": None}),
            lambda: ws.send({"type": "websocket.send", "bytes": b"b"}),
        ):
            with assert_checkpoints():
                await call()

    async with house() as inside:
        wire = await inside.connect(endpoint)
        assert wire.messages == ["ä", b"\xff", '{"a":[1,"ä"]}', b"[1]", "t", b"b"]


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (lambda ws: ws.send_text(b"bytes"), TypeError),
        (lambda ws: ws.send_text(None), TypeError),
        (lambda ws: ws.send_bytes("text"), TypeError),
        (lambda ws: ws.send_text("\ud800"), ValueError),
        (lambda ws: ws.send_json({"n": math.nan}), ValueError),
        (lambda ws: ws.send_json(["\ud800"]), ValueError),
        (lambda ws: ws.send_json(object()), ValueError),
        (lambda ws: ws.send_text("x" * 2_000_000), MessageTooBig),
        (lambda ws: ws.send({"type": "websocket.unknown"}), ValueError),
    ],
)
async def test_what_cannot_be_sent_is_refused_before_anything_is_queued(function, error):
    results = []
    async with house() as inside:
        wire = await inside.connect(calling(function, results))
        assert isinstance(results[0], error)
        assert wire.messages == []
        assert wire.closes == []


@pytest.mark.parametrize(
    "function",
    [
        lambda ws: ws.send_text("x"),
        lambda ws: ws.send_bytes(b"x"),
        lambda ws: ws.send_json({}),
        lambda ws: ws.send({"type": "websocket.send", "text": "x"}),
    ],
)
async def test_sending_after_the_peer_left_raises_at_a_checkpoint(function):
    seen = []

    async def endpoint(ws):
        await ws.accept()
        await ws.receive()
        with assert_checkpoints(), pytest.raises(WebSocketDisconnect) as caught:
            await function(ws)
        seen.append((caught.value.code, caught.value.reason))

    async with house() as inside:
        wire = await inside.connect(endpoint)
        wire.leave(1001, "bye")
    assert seen == [(1001, "bye")]


async def test_sending_waits_for_room_in_the_outbox_and_not_for_the_peer():
    sent = []

    async def endpoint(ws):
        await ws.accept()
        for number in range(10):
            await ws.send_text(str(number))
            sent.append(number)

    async with house(outbox_messages=4) as inside:
        wire = inside.begin(endpoint)
        wire.stall()
        await settle()
        assert sent == []  # not even the handshake
        wire.flow()
        await settle()
        assert wire.messages == [str(number) for number in range(10)]

    async with house(outbox_messages=4) as inside:
        gate = trio.Event()

        async def gated(ws):
            await ws.accept()
            await gate.wait()
            for number in range(10):
                await ws.send_text(str(number))
                sent.append(number)

        sent.clear()
        wire = await inside.connect(gated)
        wire.stall()
        gate.set()
        await settle()
        assert len(sent) == 5  # four wait, one is on its way
        wire.flow()


async def test_group_messages_on_their_way_go_before_a_direct_message():
    """In a large group they are written later than `group_send` returns."""

    async def member(ws):
        await ws.accept()
        channel = Channel(ws)
        await ChannelBox.add_channel_to_group(channel, "room")
        await ws.receive()
        for call in (ws.send_json, channel.send, lambda data: ws.send_bytes(b"%d" % data)):
            await ChannelBox.group_send("room", "group")
            await call(1)
        await ws.receive()

    async with house() as inside:
        wires = [await inside.connect(member) for _ in range(40)]
        wires[0].say("go")
        await settle()
        assert wires[0].messages == ['"group"', "1", '"group"', "1", '"group"', b"1"]
        assert wires[1].messages == ['"group"'] * 3


# ---------------------------------------------------------------- closing


async def test_what_is_queued_goes_out_before_the_close_frame():
    async def endpoint(ws):
        await ws.accept()
        for text in ("1", "2", "3"):
            await ws.send_text(text)
        with assert_checkpoints():
            await ws.close(4000, "done")

    async with house() as inside:
        wire = await inside.connect(endpoint)
    assert [event.get("text", event.get("code")) for event in wire.events[1:]] == ["1", "2", "3", 4000]


async def test_regression_closing_twice_raised():
    async def endpoint(ws):
        await ws.accept()
        for _ in range(3):
            with assert_checkpoints():
                await ws.close(4000)
        await ws.close(4001)

    async with house() as inside:
        wire = await inside.connect(endpoint)
    assert wire.closes == [(4000, "")]


async def test_closing_after_the_peer_has_closed_is_a_no_op():
    async def endpoint(ws):
        await ws.accept()
        await ws.receive()
        with assert_checkpoints():
            await ws.close()

    async with house() as inside:
        wire = await inside.connect(endpoint)
        wire.leave()
    assert wire.closes == []


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1013, 3000, 4999])
async def test_codes_that_may_be_sent(code):
    async def endpoint(ws):
        await ws.accept()
        await ws.close(code, "r" * 123)

    async with house() as inside:
        wire = await inside.connect(endpoint)
    assert wire.closes == [(code, "r" * 123)]


@pytest.mark.parametrize("code", [1002, 1014])
async def test_codes_that_an_event_passes_on(code):
    """As an ASGI application may, that forwards what it has heard."""

    async def endpoint(ws):
        await ws.accept()
        with pytest.raises(ValueError, match="1006 may not be sent"):
            await ws.send({"type": "websocket.close", "code": 1006})
        await ws.send({"type": "websocket.close", "code": code})

    async with house() as inside:
        wire = await inside.connect(endpoint)
    assert wire.closes == [(code, "")]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((999,), ValueError),
        ((1002,), ValueError),
        ((1004,), ValueError),
        ((1005,), ValueError),
        ((1006,), ValueError),
        ((1015,), ValueError),
        ((2999,), ValueError),
        ((5000,), ValueError),
        (("1000",), TypeError),
        ((True,), TypeError),
        ((1000, "r" * 124), ValueError),
        ((1000, "ä" * 62), ValueError),
        ((1000, b"bytes"), TypeError),
    ],
)
async def test_codes_and_reasons_are_checked_before_anything_is_sent(arguments, error):
    async def endpoint(ws):
        await ws.accept()
        for call in (ws.close, ws.reject):
            with pytest.raises(error):
                await call(*arguments)
        assert ws.is_connected()

    async with house() as inside:
        wire = await inside.connect(endpoint)
    assert wire.closes == [(1000, "")]


async def test_a_close_event():
    async def endpoint(ws):
        await ws.send({"type": "websocket.accept"})
        await ws.send({"type": "websocket.close", "code": 4000, "reason": "r"})

    async with house() as inside:
        wire = await inside.connect(endpoint)
    assert wire.closes == [(4000, "r")]


# ---------------------------------------------------------------- tasks


async def test_tasks_end_with_the_handler():
    ended = trio.Event()

    async def background():
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    async def endpoint(ws):
        await ws.accept()
        with assert_no_checkpoints():
            ws.start_soon(background)
        await ws.receive()

    async with house() as inside:
        wire = await inside.connect(endpoint)
        wire.leave()
    assert ended.is_set()


async def test_after_the_end_nothing_can_be_started():
    kept = []

    async def endpoint(ws):
        kept.append(ws)
        await ws.accept()

    async with house() as inside:
        await inside.connect(endpoint)
        with pytest.raises(RuntimeError, match="connection is over"):
            kept[0].start_soon(trio.sleep, 1)


async def test_a_websocket_is_not_made_of_something_else():
    with pytest.raises(AttributeError):
        WebSocket(object())
