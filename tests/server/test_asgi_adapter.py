"""The direct lane as plain ASGI, for an application that knows nothing of us."""

import gc

import pytest
import trio
from trio.testing import MockClock, assert_checkpoints

from nexios_trio.config.settings import Settings
from nexios_trio.core.lifecycle import Cause, End
from nexios_trio.exceptions import LifecycleError
from nexios_trio.server.asgi_adapter import AsgiAdapter, Use
from nexios_trio.server.request_head import http_response
from nexios_trio.transports.direct import DirectTransport
from tests.rawframes import BINARY, CLOSE, TEXT, ServerFrame, client_frame, close, text
from tests.server.adapter import ACCEPT, CONNECT, served
from tests.transports.support import Peer, connected, open_lane, settle


@pytest.fixture
def clock():
    return MockClock()


async def echo(scope, receive, send):
    assert await receive() == CONNECT
    with assert_checkpoints():
        await send(ACCEPT)
    while (event := await receive())["type"] == "websocket.receive":
        with assert_checkpoints():
            await send({"type": "websocket.send", **{key: event[key] for key in ("text", "bytes") if key in event}})
    scope["end"] = event


async def test_messages_in_both_directions():
    async with served(echo) as peer:
        assert (await peer.head()).startswith(b"HTTP/1.1 101 ")
        await peer.send(text("hé") + client_frame(BINARY, b"\0\xff") + text("") + client_frame(BINARY))
        assert await peer.frames(4) == [
            ServerFrame(TEXT, "hé".encode()),
            ServerFrame(BINARY, b"\0\xff"),
            ServerFrame(TEXT, b""),
            ServerFrame(BINARY, b""),
        ]


async def test_after_the_end_there_is_nothing_else():
    events = []

    async def app(scope, receive, send):
        await receive()
        await send(ACCEPT)
        events.extend([await receive(), await receive()])

    async with served(app) as peer:
        await peer.send(close(4001, "bye"))
        assert (await peer.rest())[1] == "eof"
    assert events == [{"type": "websocket.disconnect", "code": 4001, "reason": "bye"}] * 2


async def test_what_an_application_keeps_keeps_no_transport():
    """Not the functions that it was given, and none of the errors that they raised: it is freed without a collection."""
    kept = []

    async def app(scope, receive, send):
        kept.append((scope, receive, send))
        await receive()
        await send(ACCEPT)
        await receive()
        for event in (ACCEPT, {"type": "websocket.close", "code": 1}, {"type": "websocket.send", "text": "x"}):
            with pytest.raises((LifecycleError, ValueError, OSError)) as caught:
                await send(event)
            kept.append(caught.value)

    gc.collect()
    before = {id(each) for each in gc.get_objects() if isinstance(each, DirectTransport)}
    gc.disable()
    try:
        async with served(app) as peer:
            await peer.send(close(4001, "bye"))
            await peer.rest()
        left = [each for each in gc.get_objects() if isinstance(each, DirectTransport) and id(each) not in before]
    finally:
        gc.enable()
    assert left == []
    assert len(kept) == 4


async def test_accepting_with_a_subprotocol_and_headers():
    async def app(scope, receive, send):
        await send({**ACCEPT, "subprotocol": "v2", "headers": [(b"X-A", b"1")]})
        await receive()

    async with served(app) as peer:
        head = await peer.head()
        assert b"\r\nSec-WebSocket-Protocol: v2\r\n" in head
        assert b"\r\nx-a: 1\r\n" in head


@pytest.mark.parametrize(
    "wrong",
    [
        {"subprotocol": "v3"},
        {"headers": [(b"x", b"a\r\nb: c")]},
        {"headers": [(b"x y", b"")]},
        {"headers": [(b"sec-websocket-accept", b"")]},
    ],
)
async def test_a_wrong_accept_says_what_is_wrong_and_sends_nothing(wrong):
    async def app(scope, receive, send):
        await receive()
        await send({**ACCEPT, **wrong})

    async with served(app) as peer:
        assert (await peer.head()).startswith(b"HTTP/1.1 500 ")


async def test_closing():
    async def app(scope, receive, send):
        await receive()
        await send(ACCEPT)
        await send({"type": "websocket.send", "text": "last", "bytes": None})
        await send({"type": "websocket.close", "code": 4002, "reason": "done"})
        await send({"type": "websocket.close"})  # a no-op
        with pytest.raises(OSError, match="4002"):
            await send({"type": "websocket.send", "text": "late"})

    async with served(app) as peer:
        await peer.head()
        last, goodbye = await peer.frames(2)
        assert last == ServerFrame(TEXT, b"last")
        assert (goodbye.opcode, goodbye.code, goodbye.reason) == (CLOSE, 4002, "done")
        await peer.send(close(4002))
        assert await peer.end() == "eof"


@pytest.mark.parametrize("wrong", [{"code": 1005}, {"code": 70_000}, {"reason": "x" * 124}])
async def test_a_wrong_close_is_a_mistake(wrong):
    async def app(scope, receive, send):
        await receive()
        await send(ACCEPT)
        await send({"type": "websocket.close", **wrong})

    async with served(app) as peer:
        await peer.head()
        assert (await peer.frame()).code == 1011


async def test_sending_after_the_peer_has_left_is_an_oserror():
    async def app(scope, receive, send):
        await receive()
        await send(ACCEPT)
        assert (await receive())["code"] == 1006
        for _ in range(3):
            with assert_checkpoints(), pytest.raises(OSError, match="the connection is over"):
                await send({"type": "websocket.send", "bytes": b""})
        await send({"type": "websocket.close"})
        scope["done"] = True

    async with served(app) as peer:
        await peer.head()
        peer.reset()


async def test_the_peer_leaves_before_accept():
    async def app(scope, receive, send):
        await receive()
        assert (await receive())["type"] == "websocket.disconnect"
        with pytest.raises(OSError, match="the connection is over"):
            await send(ACCEPT)

    async with served(app) as peer:
        await settle()
        peer.hang_up()


async def test_sending_before_accept_is_a_mistake():
    async def app(scope, receive, send):
        await receive()
        with pytest.raises(LifecycleError):
            await send({"type": "websocket.send", "text": "early"})
        await send({"type": "websocket.close"})

    async with served(app) as peer:
        assert (await peer.head()).startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize(
    "event",
    [
        {"type": "websocket.sned"},
        {"type": "websocket.http.response.body", "body": b""},
        {"type": "http.response.start"},
    ],
)
async def test_an_event_that_cannot_be_sent_is_a_mistake(event):
    async def app(scope, receive, send):
        await receive()
        with pytest.raises(ValueError, match=event["type"]):
            await send(event)

    async with served(app) as peer:
        assert (await peer.head()).startswith(b"HTTP/1.1 500 ")


async def test_denying_with_a_response_in_parts():
    async def app(scope, receive, send):
        assert "websocket.http.response" in scope["extensions"]
        await receive()
        start = {"type": "websocket.http.response.start", "status": 418, "headers": [(b"X-A", b"1"), (b"Date", b"no")]}
        await send(start)
        await send({"type": "websocket.http.response.body", "body": b"tea", "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"pot"})

    async with served(app) as peer:
        head = await peer.head()
        assert head.startswith(b"HTTP/1.1 418 ")
        assert (head.count(b"x-a: 1"), head.lower().count(b"date:")) == (1, 1)
        assert await peer.end() == "eof"
        assert peer.buffer == b"teapot"


@pytest.mark.parametrize("headers", [[(b"x", b"a\nb")], [(b"", b"")]])
async def test_a_denial_cannot_smuggle_headers(headers):
    async def app(scope, receive, send):
        await send({"type": "websocket.http.response.start", "status": 403, "headers": headers})

    async with served(app) as peer:
        assert (await peer.head()).startswith(b"HTTP/1.1 500 ")


@pytest.mark.parametrize(
    ("accepted", "fails", "expected"), [(True, False, 1000), (True, True, 1011), (False, False, 500)]
)
async def test_an_application_that_returns_or_fails(accepted, fails, expected):
    async def app(scope, receive, send):
        await receive()
        if accepted:
            await send(ACCEPT)
        if fails:
            raise ValueError

    async with served(app) as peer:
        head = await peer.head()
        if accepted:
            assert (await peer.frame()).code == expected
        else:
            assert head.startswith(b"HTTP/1.1 %d " % expected)


async def test_an_application_that_does_nothing_at_all():
    async def app(scope, receive, send):
        await trio.lowlevel.checkpoint()

    async with served(app) as peer:
        assert (await peer.head()).startswith(b"HTTP/1.1 500 ")


async def test_finishing_is_bounded_though_the_peer_does_nothing(clock):
    async def app(scope, receive, send):
        await receive()
        await send(ACCEPT)

    async with served(app, close_timeout=5.0) as peer:
        assert (await peer.head()).startswith(b"HTTP/1.1 101 ")
        await settle()
        clock.jump(5.1)
        assert (await peer.rest())[1] == "eof"


async def test_it_does_nothing_for_an_application_that_takes_the_transport():
    ours, theirs = connected(small=False)
    peer = Peer(theirs)
    async with open_lane() as lane:
        transport = DirectTransport({"subprotocols": []}, Settings(), ours, lane.poller, refuse=http_response)
        adapter = AsgiAdapter(transport, lane.timers)
        async with transport.open(lane.timers):
            await transport.accept(None, [])
            await transport.close(End.of(Cause.LOCAL_CLOSE))
            await peer.send(close())
        assert adapter.use is Use.UNUSED
        assert adapter.offer.take(adapter.receive, adapter.send) is transport
        assert adapter.use is Use.TAKEN
        await adapter.finish(failed=False)
    assert ours.fileno() == -1
    frames, what = await peer.rest()
    assert ([frame.code for frame in frames], what) == ([1000], "eof")
    peer.hang_up()
