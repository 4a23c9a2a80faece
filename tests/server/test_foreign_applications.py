"""Applications that know nothing of us: what they may send, what they are told, and what is not their fault."""

import copy
import json
import logging
import pickle

import pytest
import trio
from hypercorn.middleware import ProxyFixMiddleware
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from trio.testing import MockClock

from tests.rawframes import text
from tests.server.adapter import ACCEPT, served
from tests.server.support import ask, eventually, make_app, running, upgrade, websocket
from tests.transports.support import settle

START = "websocket.http.response.start"
BODY = "websocket.http.response.body"


@pytest.fixture
def clock():
    return MockClock()


# The handshake's deadline


@pytest.mark.parametrize("asks", [True, False], ids=["receives", "does nothing"])
async def test_an_application_that_never_answers_the_handshake_is_refused_with_503(clock, caplog, asks):
    async def app(scope, receive, send):
        while asks:
            await receive()
        await trio.sleep_forever()

    async with served(app, accept_timeout=10.0) as peer:
        await settle()
        clock.jump(10.1)
        assert (await peer.head()).startswith(b"HTTP/1.1 503 ")
        assert await peer.end() == "eof"
    [record] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "did not accept within 10 s" in record.getMessage()


async def test_the_deadline_ends_with_the_answer(clock):
    async def app(scope, receive, send):
        await send(ACCEPT)
        await receive()
        await receive()
        await send({"type": "websocket.send", "text": "still here"})

    async with served(app, accept_timeout=10.0, ping_interval=float("inf")) as peer:
        await peer.head()
        await settle()
        clock.jump(11)
        await settle()
        await peer.send(text("x"))
        assert (await peer.frame()).payload == b"still here"


# The end


@pytest.mark.parametrize("goes_on", ["receives", "sleeps"])
async def test_an_application_that_goes_on_after_the_end_has_disconnect_grace(clock, caplog, goes_on):
    events = 0

    async def app(scope, receive, send):
        nonlocal events
        await receive()
        await send(ACCEPT)
        while True:
            events += 1
            await receive()
            if goes_on == "sleeps":
                await trio.sleep_forever()

    async with served(app, disconnect_grace=30.0) as peer:
        await peer.head()
        peer.reset()
        await eventually(lambda: events > 0)
        for _ in range(50):
            await trio.lowlevel.checkpoint()
        clock.jump(30.1)
    assert "went on for 30 s after the end" in caplog.text


# Peers that leave early


async def test_a_peer_that_leaves_early_is_no_failure_of_the_application(caplog):
    async def app(scope, receive, send):
        await receive()
        await receive()  # the peer has left
        await send(ACCEPT)

    async with served(app) as peer:
        await settle()
        peer.hang_up()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_nor_is_one_that_leaves_while_it_is_sent_to(caplog):
    async def app(scope, receive, send):
        await receive()
        await send(ACCEPT)
        async with trio.open_nursery():
            while True:
                await send({"type": "websocket.send", "text": "x"})

    async with served(app) as peer:
        await peer.head()
        peer.reset()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_an_oserror_of_its_own_is_one(caplog):
    async def app(scope, receive, send):
        await receive()
        raise OSError("the database is down")

    async with served(app) as peer:
        assert (await peer.head()).startswith(b"HTTP/1.1 500 ")
    assert "the database is down" in caplog.text


async def test_accept_does_not_raise_once_its_answer_is_sent():
    seen = []

    async def app(scope, receive, send):
        await receive()
        await has_peer.wait()
        there[0].reset()  # and nobody looks at the socket before we answer
        await send(ACCEPT)
        seen.append((await receive())["type"])

    there, has_peer = [], trio.Event()
    async with served(app) as peer:
        there.append(peer)
        has_peer.set()
        await eventually(lambda: bool(seen))
    assert seen == ["websocket.disconnect"]


# Events


async def test_events_have_both_keys():
    events = []

    async def app(scope, receive, send):
        await receive()
        await send(ACCEPT)
        events.extend([await receive(), await receive()])

    async with served(app) as peer:
        await peer.head()
        await peer.send(text("a") + b"\x82\x81\0\0\0\0b")
    assert events == [
        {"type": "websocket.receive", "text": "a", "bytes": None},
        {"type": "websocket.receive", "text": None, "bytes": b"b"},
    ]


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 4999])
async def test_every_registered_code_can_be_closed_with(code):
    async def app(scope, receive, send):
        await receive()
        await send(ACCEPT)
        await send({"type": "websocket.close", "code": code})

    async with served(app) as peer:
        await peer.head()
        assert (await peer.frame()).code == code


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, True, "1000"])
async def test_no_other_code_can(code):
    async def app(scope, receive, send):
        await receive()
        await send(ACCEPT)
        with pytest.raises((TypeError, ValueError), match="1000"):
            await send({"type": "websocket.close", "code": code})

    async with served(app) as peer:
        await peer.head()
        assert (await peer.frame()).code == 1000


# Refusals


async def test_a_refusal_may_name_the_version_that_is_spoken():
    headers = [(b"sec-websocket-version", b"13"), (b"upgrade", b"websocket")]

    async def app(scope, receive, send):
        await send({"type": START, "status": 426, "headers": headers})
        await send({"type": BODY})

    async with served(app) as peer:
        head = await peer.head()
    assert head.startswith(b"HTTP/1.1 426 ")
    assert b"\r\nsec-websocket-version: 13\r\n" in head


@pytest.mark.parametrize("status", [99, 100, 101, 199, 600, 700, -1, "403", "403 OK\r\nX-Evil: 1", 403.0, True, None])
async def test_a_refusal_has_the_status_of_a_response(status):
    async def app(scope, receive, send):
        await receive()
        with pytest.raises((TypeError, ValueError), match="status.* 200 to 599"):
            await send({"type": START, "status": status})
        await send({"type": START, "status": 418})
        await send({"type": BODY})

    async with served(app) as peer:
        assert (await peer.head()).startswith(b"HTTP/1.1 418 ")
        assert await peer.end() == "eof"


@pytest.mark.parametrize(("status", "has_length"), [(204, False), (205, True), (304, False)])
async def test_a_refusal_that_can_have_no_body(status, has_length):
    async def app(scope, receive, send):
        await send({"type": START, "status": status, "headers": [(b"content-length", b"5")]})
        with pytest.raises(ValueError, match=f"{status} has no body"):
            await send({"type": BODY, "body": b"hello"})
        await send({"type": BODY})

    async with served(app) as peer:
        head = await peer.head()
        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert (b"\r\ncontent-length: 0\r\n" in head.lower()) is has_length
        assert (b"content-length" in head.lower()) is has_length
        assert await peer.end() == "eof"
        assert peer.buffer == b""


@pytest.mark.parametrize("body", ["text", 5, None, [1]])
async def test_a_body_is_bytes(body):
    async def app(scope, receive, send):
        await send({"type": START, "status": 403})
        with pytest.raises(TypeError, match="body .*bytes"):
            await send({"type": BODY, "body": body})
        await send({"type": BODY, "body": bytearray(b"no")})

    async with served(app) as peer:
        await peer.head()
        assert await peer.end() == "eof"
        assert peer.buffer == b"no"


@pytest.mark.parametrize(
    "event",
    [
        {"type": START, "status": 404},
        ACCEPT,
        {"type": "websocket.send", "text": "x"},
        {"type": "websocket.close"},
    ],
    ids=lambda event: event["type"],
)
async def test_what_does_not_follow_the_start_of_a_refusal_raises(event):
    async def app(scope, receive, send):
        await send({"type": START, "status": 418})
        with pytest.raises(RuntimeError, match=BODY):
            await send(event)
        await send({"type": BODY, "body": b"teapot"})

    async with served(app) as peer:
        assert (await peer.head()).startswith(b"HTTP/1.1 418 ")
        assert await peer.end() == "eof"
        assert peer.buffer == b"teapot"


@pytest.mark.parametrize("event", [{"type": START, "status": 403}, {"type": BODY, "body": b"x"}])
async def test_a_refusal_does_not_follow_the_answer(event):
    async def app(scope, receive, send):
        await receive()
        await send(ACCEPT)
        with pytest.raises(RuntimeError, match="accepted"):
            await send(event)

    async with served(app) as peer:
        assert (await peer.head()).startswith(b"HTTP/1.1 101 ")
        assert (await peer.frame()).code == 1000


async def test_a_second_refusal_raises():
    async def app(scope, receive, send):
        for _ in range(2):
            await send({"type": START, "status": 418})
            await send({"type": BODY, "body": b"teapot"})

    async with served(app) as peer:
        assert (await peer.head()).startswith(b"HTTP/1.1 418 ")
        assert await peer.end() == "eof"
        assert peer.buffer == b"teapot"


async def test_an_application_of_ours_behind_a_copying_middleware_is_served():
    """hypercorn's ProxyFixMiddleware copies the scope, as others do."""
    app = make_app()
    seen = []

    async def middleware(scope, receive, send):
        if scope["type"] == "websocket":
            extensions = scope["extensions"]
            seen.append(copy.deepcopy(extensions) == copy.copy(extensions) == pickle.loads(pickle.dumps(extensions)))
            seen.append(json.loads(json.dumps(extensions)))
            scope = copy.deepcopy(scope)
        await app(scope, receive, send)

    async with running(middleware) as server, websocket(server.port) as client:
        assert await ask(client) == "are you there?"
    assert seen[0]
    assert all(value == {} for value in seen[1].values())


async def starlette_echo(websocket):
    await websocket.accept()
    await websocket.send_text("hello")
    while True:
        await websocket.send_text(await websocket.receive_text())


async def plain(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send(ACCEPT)
        while True:
            await send({"type": "websocket.send", "text": "hello"})
            if (await receive())["type"] == "websocket.disconnect":
                break


@pytest.mark.parametrize(
    "app",
    [Starlette(routes=[WebSocketRoute("/echo", starlette_echo)]), plain, make_app()],
    ids=["starlette", "plain", "ours"],
)
async def test_many_who_come_and_leave_are_no_error(app, caplog):
    async with running(app) as server:
        for number in range(60):
            client = await server.connect()
            await client.send(upgrade())
            if number % 3 == 0:
                await client.until(b"\r\n\r\n")
            if number % 2:
                client.reset()
            else:
                await client.stream.aclose()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_hypercorns_proxy_fix_around_an_application_of_ours():
    lanes = []
    app = make_app()

    @app.ws_route("/lane")
    async def lane(ws):
        lanes.append((ws._session.transport.name, ws.client.host))
        await ws.accept()

    async with running(ProxyFixMiddleware(app, mode="legacy", trusted_hops=1)) as server:
        async with await server.connect() as client:
            head = await client.handshake("/lane", "X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https")
            assert head.startswith(b"HTTP/1.1 101 ")
    assert lanes == [("direct", "192.0.2.7")]
