"""The direct lane inside hypercorn's trio worker: the socket taken over, what that gives, and that nothing is left."""

import functools
import gc
import hashlib
import inspect
import logging
import os
import re
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

import hypercorn.trio
import pytest
import trio
from hypercorn.config import Config
from hypercorn.protocol import ProtocolWrapper
from hypercorn.protocol.h11 import H11Protocol, H11WSConnection
from hypercorn.protocol.ws_stream import Handshake, WSStream
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from trio.testing import MockClock

from nexios_trio import ChannelBox, NexiosApp, WebSocket, open_channel
from nexios_trio.core.lifecycle import Cause, End
from nexios_trio.exceptions import WebSocketDisconnect
from nexios_trio.testing import connect
from nexios_trio.transports.hypercorn import hijack as takeover
from nexios_trio.websockets import Channel
from tests.rawframes import BINARY, CLOSE, PING, PONG, TEXT, ServerFrame, client_frame, close, deflated, text
from tests.server.support import CERTIFICATES, CLIENT_TLS, upgrade
from tests.transports.support import Peer, settle

BIG = "x" * 60_000
PASSES = range(25)  # of the scheduler after a request: by then it has been answered


class Application:
    """Echo, a room, and others; notes what became of its connections."""

    def __init__(self, **settings: Any) -> None:
        self.app = NexiosApp(**settings)
        self.lanes: list[str] = []
        self.ends: list[End | None] = []
        for handler in (self.echo, self.room, self.bye, self.idle, self.refuse, self.fail):
            self.app.ws_route(f"/{handler.__name__}")(self.noting(handler))

        @self.app.get("/")
        async def hello(req: Any, res: Any) -> Any:
            return res.text("hello")

    def noting(self, handler: Callable[[WebSocket], Awaitable[None]]) -> Callable[[WebSocket], Awaitable[None]]:
        @functools.wraps(handler)
        async def note(ws: WebSocket) -> None:
            try:
                await handler(ws)
            finally:
                self.lanes.append(ws._session.transport.name)
                self.ends.append(ws.end)

        return note

    async def echo(self, ws: WebSocket) -> None:
        await ws.accept((ws.subprotocols or [None])[0], {"x-extra": "1"})
        async for message in ws:
            await (ws.send_text(message) if isinstance(message, str) else ws.send_bytes(message))

    async def room(self, ws: WebSocket) -> None:
        async with open_channel(ws, "text") as channel, channel.member("room"):
            async for message in channel:
                await ChannelBox.group_send("room", message)

    async def bye(self, ws: WebSocket) -> None:
        await ws.accept()
        await ws.send_text("last words")
        await ws.close(4005, "because")

    async def idle(self, ws: WebSocket) -> None:
        await ws.accept()
        await trio.sleep_forever()

    async def refuse(self, ws: WebSocket) -> None:
        await ws.deny(403)

    async def fail(self, ws: WebSocket) -> None:
        await ws.accept()
        raise ValueError


class Server:
    """hypercorn's trio worker in this process, at rest: nobody is connected."""

    def __init__(self, port: int, stop: trio.Event) -> None:
        self.port = port
        self.stop = stop
        self.peers: list[Peer] = []
        self.tasks = trio.lowlevel.current_statistics().tasks_living
        self.descriptors = len(os.listdir("/proc/self/fd"))

    def connect(self, *, small: bool = False) -> Peer:
        sock = socket.socket()
        if small:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        sock.connect(("127.0.0.1", self.port))  # the kernel's business, and done at once
        peer = Peer(sock)
        self.peers.append(peer)
        return peer

    async def join(self, path: str, *headers: str, small: bool = False) -> Peer:
        peer = self.connect(small=small)
        await peer.send(upgrade(path, *headers))
        head = await peer.head()
        assert head.startswith(b"HTTP/1.1 101 "), head
        return peer

    async def at_rest(self) -> None:
        """Wait until nothing is left of any connection."""
        for peer in self.peers:
            peer.hang_up()
        while trio.lowlevel.current_statistics().tasks_living > self.tasks:
            await trio.lowlevel.checkpoint()
        assert len(os.listdir("/proc/self/fd")) == self.descriptors


@asynccontextmanager
async def serving(application: Application | Any, **options: Any) -> AsyncGenerator[Server]:
    """At the end of the block all clients hang up and leave nothing behind, and the server stops."""
    app = application.app if isinstance(application, Application) else application
    config = Config.from_mapping({"bind": ["127.0.0.1:0"], "graceful_timeout": 0, "errorlog": None, **options})
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        serve: Any = functools.partial(hypercorn.trio.serve, cast(Any, app), config, shutdown_trigger=stop.wait)
        [address] = await nursery.start(serve)
        await settle()
        number = address.rpartition(":")[2]
        server = Server(int(number) if number.isdigit() else 0, stop)
        try:
            yield server
            if not stop.is_set():
                await server.at_rest()
        finally:
            for peer in server.peers:
                peer.hang_up()
        stop.set()


@pytest.fixture
def clock() -> MockClock:
    return MockClock()


async def later(clock: MockClock, seconds: float) -> None:
    """Let so much time pass, in steps, and everything happen that is due."""
    await settle()
    for _ in range(10):
        clock.jump(seconds / 10)
        await settle()


# ---------------------------------------------------------------- hypercorn's shapes


SOURCES = (TCPServer, ProtocolWrapper, H11Protocol, H11WSConnection, WSStream, Handshake, TaskGroup)


def test_hypercorn_is_the_one_that_was_read() -> None:
    """If this fails, hypercorn has changed. Read what it does now with what `transports/hypercorn/hijack.py` uses: who calls
    `TCPServer.protocol.handle` and when, what `WSStream.closed` prevents, who reads and who closes the stream. Then
    mend the takeover, or not, and note the new digest here."""
    digest = hashlib.sha256("".join(map(inspect.getsource, SOURCES)).encode()).hexdigest()
    assert digest == "2929290cd251122d46f0f81231389e3e33eed7ad89e7564dcfbbfe645797e532"


async def test_it_is_in_force() -> None:
    application = Application()
    async with serving(application) as server:
        peer = await server.join("/echo")
        for opcode, payload in [(TEXT, b"hello"), (BINARY, b"\0\xff"), (TEXT, BIG.encode()), (TEXT, b"")]:
            await peer.send(client_frame(opcode, payload))
            assert await peer.frame() == ServerFrame(opcode, payload)
    assert application.lanes == ["takeover"]


async def test_a_unix_socket(tmp_path: Path) -> None:
    application = Application()
    path = str(tmp_path / "socket")
    async with serving(application, bind=[f"unix:{path}"]) as server:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(path)
        peer = Peer(sock)
        server.peers.append(peer)
        await peer.send(upgrade("/echo"))
        await peer.head()
        await peer.send(text("hello"))
        assert await peer.frame() == ServerFrame(TEXT, b"hello")
    assert application.lanes == ["takeover"]


# ---------------------------------------------------------------- the handshake


async def test_the_handshake_is_answered_through_hypercorn() -> None:
    async with serving(Application(), server_names=["localhost"]) as server:
        peer = server.connect()
        await peer.send(upgrade("/echo", "Sec-WebSocket-Protocol: v1, v2"))
        head = (await peer.head()).lower()
        for field in (b"server: hypercorn-h11", b"date: ", b"x-extra: 1", b"sec-websocket-protocol: v1"):
            assert b"\r\n" + field in head


async def test_a_refusal_is_hypercorn_s() -> None:
    application = Application()
    async with serving(application) as server:
        peer = server.connect()
        await peer.send(upgrade("/refuse"))
        assert (await peer.head()).startswith(b"HTTP/1.1 403 ")
        assert await peer.end() == "eof"
    assert application.lanes == ["asgi"]


async def test_an_upgrade_on_a_connection_that_was_used_before() -> None:
    application = Application()
    async with serving(application) as server:
        peer = server.connect()
        for _ in range(2):
            await peer.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await peer.head()
            while len(peer.buffer) < 5:
                await peer.receive()
            assert peer.buffer == b"hello"
            peer.buffer.clear()
        await peer.send(upgrade("/echo"))
        assert (await peer.head()).startswith(b"HTTP/1.1 101 ")
        await peer.send(text("hello"))
        assert await peer.frame() == ServerFrame(TEXT, b"hello")
    assert application.lanes == ["takeover"]


async def test_nothing_is_lost_whenever_it_is_sent() -> None:
    """Some scheduler passes after the request; the answer may be there or not."""
    async with serving(Application()) as server:
        for passes in PASSES:
            peer = server.connect()
            await peer.send(upgrade("/echo"))
            for _ in range(passes):
                await trio.lowlevel.checkpoint()
            frames = b"".join(text(f"{number}") for number in range(10))
            with suppress(OSError):
                for at in range(0, len(frames), 5):
                    await peer.send(frames[at : at + 5])
                    await trio.lowlevel.checkpoint()
            head = await peer.head()
            if head.startswith(b"HTTP/1.1 400 "):
                assert passes < 8  # hypercorn has read it before the application ran
            else:
                payloads = [frame.payload for frame in await peer.frames(10)]
                assert payloads == [b"%d" % number for number in range(10)], passes
            peer.hang_up()


@pytest.mark.parametrize("path", ["/echo", "/refuse", "/fail"])
async def test_a_frame_together_with_the_request_harms_nobody(path: str) -> None:
    """hypercorn refuses it with 400, and would end the process if that met the application's answer."""
    async with serving(Application()) as server:
        innocent = await server.join("/echo")
        for _ in range(30):
            peer = server.connect()
            await peer.send(upgrade(path) + text("early"))
            assert (await peer.head())[9:12] in (b"101", b"400", b"403")
            if path == "/echo" and peer.buffer:
                assert await peer.frame() == ServerFrame(TEXT, b"early")
            await peer.send(close())
            await peer.end()
        await innocent.send(text("hello"))
        assert await innocent.frame() == ServerFrame(TEXT, b"hello")


@pytest.mark.parametrize("how", ["hang_up", "reset", "stop_sending"])
async def test_a_peer_that_leaves_at_any_time_leaves_nothing(how: str) -> None:
    async with serving(Application()) as server:
        for passes in PASSES:
            peer = server.connect()
            await peer.send(upgrade("/room"))
            for _ in range(passes):
                await trio.lowlevel.checkpoint()
            getattr(peer, how)()
            if how == "stop_sending":
                await peer.end()


async def test_the_last_message_of_a_peer_that_leaves_at_once_is_read() -> None:
    got: list[str] = []
    app = NexiosApp()

    @app.ws_route("/")
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        async for message in ws.iter_text():
            got.append(message)

    async with serving(app) as server:
        for _ in range(20):
            peer = server.connect()
            await peer.send(upgrade("/"))
            while not (head := peer.take()):
                await trio.lowlevel.checkpoint()
            assert head.startswith(b"HTTP/1.1 101 ")
            peer.send_nowait(text("last"))
            peer.stop_sending()
            await peer.end()
    assert got == ["last"] * 20


async def test_messages_of_groups_joined_before_accept_are_in_order() -> None:
    app = NexiosApp()
    both: list[Channel] = []

    @app.ws_route("/")
    async def handler(ws: WebSocket) -> None:
        both.extend([Channel(ws, "text"), Channel(ws, "text")])

        @both[0].on_connect
        async def welcome(channel: Channel) -> None:
            await ChannelBox.group_send("early", "while it is accepted")
            await ws.send_text("welcome")

        for channel in both:
            await ChannelBox.add_channel_to_group(channel, "early")
        await ChannelBox.group_send("early", "before")
        await ws.accept()
        await ChannelBox.group_send("early", "after")
        await ws.receive()

    async with serving(app) as server:
        peer = await server.join("/")
        received = [frame.payload.decode() for frame in await peer.frames(7)]
    assert received == ["before", "before", "while it is accepted", "while it is accepted", "welcome", "after", "after"]


async def test_a_task_that_sends_while_the_handshake_is_answered() -> None:
    """It waits for room in a queue that is handed over under its feet."""
    app = NexiosApp(outbox_messages=2)

    @app.ws_route("/")
    async def handler(ws: WebSocket) -> None:
        async def count() -> None:
            while not ws.is_connected():
                await trio.lowlevel.checkpoint()
            for number in range(10):
                await ws.send_text(f"{number}")

        ws.start_soon(count)
        await trio.lowlevel.checkpoint()
        await ws.accept()
        await ws.receive()

    for _ in range(10):
        async with serving(app) as server:
            peer = await server.join("/")
            assert [frame.payload for frame in await peer.frames(10)] == [b"%d" % number for number in range(10)]


# ---------------------------------------------------------------- what plain ASGI cannot do


async def test_group_messages() -> None:
    application = Application()
    async with serving(application) as server:
        members = [await server.join("/room") for _ in range(50)]
        while application.app.box.statistics().channels < 50:
            await trio.lowlevel.checkpoint()
        for number in range(20):
            await members[number].send(text(f"{number}"))
            for member in members:
                assert await member.frame() == ServerFrame(TEXT, b"%d" % number)


async def test_the_peer_s_close_code_and_reason_reach_the_handler() -> None:
    application = Application()
    async with serving(application) as server:
        peer = await server.join("/echo")
        await peer.send(close(4001, "genug"))
        frames, what = await peer.rest()
        assert ([(frame.code, frame.reason) for frame in frames], what) == ([(4001, "genug")], "eof")
    assert application.ends == [End(4001, "genug", Cause.PEER_CLOSED)]


async def test_our_close_code_and_reason_reach_the_peer() -> None:
    application = Application()
    async with serving(application) as server:
        peer = await server.join("/bye")
        last, goodbye = await peer.frames(2)
        assert (last.payload, goodbye.code, goodbye.reason) == (b"last words", 4005, "because")
        await peer.send(close(4005))
        assert await peer.end() == "eof"
        failed = await server.join("/fail")
        assert (await failed.frame()).code == 1011


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (client_frame(3), 1002),
        (text(b"\xff"), 1007),
        (client_frame(BINARY, bytes(70_000)), 1009),
        (text("a", rsv=4), 1002),
    ],
)
async def test_violations_are_answered(data: bytes, code: int) -> None:
    application = Application()
    async with serving(application) as server:
        peer = await server.join("/echo")
        await peer.send(data)
        frames, what = await peer.rest()
        assert ([frame.code for frame in frames], what) == ([code], "eof")
    [end] = application.ends
    assert end is not None
    assert end.code == code


async def test_a_peer_that_does_not_read_is_reset(clock: MockClock) -> None:
    application = Application(write_timeout=10.0, ping_interval=float("inf"))
    async with serving(application) as server:
        peer = await server.join("/room", small=True)
        await settle()
        for _ in range(10):
            await application.app.box.group_send("room", BIG)
        await later(clock, 9)
        assert application.ends == []
        await later(clock, 2)
        [end] = application.ends
        assert end is not None
        assert end.cause is Cause.WRITE_TIMEOUT
        assert await peer.end() == "reset"


async def test_heartbeat(clock: MockClock) -> None:
    application = Application(ping_interval=20.0, ping_timeout=60.0)
    async with serving(application) as server:
        peer = await server.join("/echo")
        await later(clock, 21)
        ping = await peer.frame()
        assert ping.opcode == PING
        await peer.send(client_frame(PONG, ping.payload))
        await later(clock, 55)
        assert application.ends == []
        await later(clock, 30)
        [end] = application.ends
        assert end is not None
        assert end.cause is Cause.HEARTBEAT_TIMEOUT
        assert (await peer.rest())[1] == "reset"


async def test_hypercorn_s_timeouts_and_pings_end_with_the_takeover(clock: MockClock) -> None:
    """A member that never sends anything stays, and gets no ping but ours."""
    application = Application(ping_interval=float("inf"))
    async with serving(application, read_timeout=5, keep_alive_timeout=5, websocket_ping_interval=1) as server:
        peer = await server.join("/echo")
        await later(clock, 100)
        assert (peer.take(), application.ends) == (b"", [])
        await peer.send(text("still here"))
        assert await peer.frame() == ServerFrame(TEXT, b"still here")


async def test_hypercorn_s_reader_does_not_wake_for_our_messages() -> None:
    """It would cost more than the message."""
    async with serving(Application()) as server:
        peer = await server.join("/echo")
        await settle()
        woken = []

        class Instrument(trio.abc.Instrument):
            def before_task_step(self, task: trio.lowlevel.Task) -> None:
                woken.append(task.name)

        instrument = Instrument()
        trio.lowlevel.add_instrument(instrument)
        for _ in range(3):
            await peer.send(text("x"))
            await peer.frame()
        trio.lowlevel.remove_instrument(instrument)
        tests_own = {name for name in woken if "<test" in name}
        assert set(woken) - tests_own == {"nexios_trio poller", "hypercorn.trio.task_group._handle"}


# ---------------------------------------------------------------- nothing is left


async def test_hypercorn_s_objects_are_let_go_of() -> None:
    def living() -> int:
        gc.collect()
        return sum(isinstance(one, TCPServer | H11Protocol | WSStream | takeover.Claim) for one in gc.get_objects())

    async with serving(Application()) as server:
        for _ in range(10):
            peer = await server.join("/echo")
            await peer.send(text("x"))
            await peer.frame()
        await server.at_rest()
        assert living() == 0


async def test_the_handler_s_end_is_the_connection_s_end() -> None:
    application = Application()
    async with serving(application) as server:
        peer = await server.join("/bye")
        await peer.frames(2)
        await settle()
        assert application.ends != []
        assert trio.lowlevel.current_statistics().tasks_living > server.tasks  # until the peer has answered
        await peer.send(close(4005))
        while trio.lowlevel.current_statistics().tasks_living > server.tasks:
            await trio.lowlevel.checkpoint()
        assert await peer.end() == "eof"


async def test_a_peer_that_does_not_answer_our_close_is_let_go(clock: MockClock) -> None:
    application = Application(close_timeout=5.0)
    async with serving(application) as server:
        peer = await server.join("/bye")
        await later(clock, 6)
        assert trio.lowlevel.current_statistics().tasks_living == server.tasks
        assert (await peer.rest())[1] == "eof"  # it has everything


# ---------------------------------------------------------------- the server stops


async def test_clients_are_told_when_the_server_stops(clock: MockClock) -> None:
    async with serving(Application(), graceful_timeout=3) as server:
        peers = [await server.join(path) for path in ("/echo", "/room", "/idle")]
        peers[0].send_nowait(text("unread") * 10)
        server.stop.set()
        await later(clock, 3.1)
        for peer in peers:
            frames, what = await peer.rest()
            assert (frames[-1].code, what) == (1012, "eof")


async def test_a_stalled_client_does_not_keep_the_server_from_stopping(clock: MockClock) -> None:
    application = Application(write_timeout=10.0, close_timeout=5.0)
    async with serving(application, graceful_timeout=3) as server:
        peer = await server.join("/room", small=True)
        await settle()
        for _ in range(10):
            await application.app.box.group_send("room", BIG)
        server.stop.set()
        await later(clock, 30)
        assert application.ends != []
        assert (await peer.rest())[1] == "reset"


# ---------------------------------------------------------------- compression


OFFER = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"


async def test_compression_is_ours_or_none() -> None:
    """hypercorn itself would always compress, with a context that costs memory, and inflate without bounds."""
    for compression in (False, True):
        async with serving(Application(compression=compression)) as server:
            peer = server.connect()
            await peer.send(upgrade("/echo", OFFER))
            head = await peer.head()
            assert (b"sec-websocket-extensions: permessage-deflate; server_no_context" in head) is compression
            message = b"z" * 1000
            await peer.send(client_frame(TEXT, deflated(message), rsv=4) if compression else text(message))
            frame = await peer.frame()
            assert (frame.rsv, frame.payload) == ((4, deflated(message, -1)) if compression else (0, message))


@pytest.mark.parametrize("offer", ["permessage-deflate; client_max_window_bits=abc", "=;,"])
@pytest.mark.parametrize("compression", [False, True])
async def test_a_malformed_offer_does_not_reach_hypercorn(offer: str, compression: bool) -> None:
    """It would end the process."""
    async with serving(Application(compression=compression)) as server:
        peer = await server.join("/echo", f"Sec-WebSocket-Extensions: {offer}")
        await peer.send(text("hello"))
        assert await peer.frame() == ServerFrame(TEXT, b"hello")


# ---------------------------------------------------------------- where it does not match


async def lane_of(app: Any, application: Application, caplog: pytest.LogCaptureFixture, **options: Any) -> list[str]:
    """The lanes of two connections, and what was logged about them."""
    application.lanes.clear()
    takeover._told.clear()
    caplog.clear()
    with caplog.at_level(logging.INFO, "nexios_trio.takeover"):
        async with serving(app, **options) as server:
            for _ in range(2):
                peer = await server.join("/echo")
                await peer.send(text("hello"))
                assert await peer.frame() == ServerFrame(TEXT, b"hello")
                await peer.send(close())
                await peer.rest()
    return [*application.lanes, *(one.getMessage() for one in caplog.records if one.name == "nexios_trio.takeover")]


async def test_it_can_be_turned_off(caplog: pytest.LogCaptureFixture) -> None:
    application = Application(takeover=False)
    assert await lane_of(application.app, application, caplog) == ["asgi", "asgi"]


async def test_another_version_of_hypercorn_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(takeover, "SUPPORTED_VERSION", "0.99.")
    application = Application()
    found = await lane_of(application.app, application, caplog)
    assert found[:2] == ["asgi", "asgi"]
    assert found[2:] == [f"WebSockets go the plain ASGI way: hypercorn is {takeover._version()}, supported is 0.99.x"]


async def test_middleware_that_wants_to_see_the_messages_sees_them(caplog: pytest.LogCaptureFixture) -> None:
    application = Application()
    seen: list[str] = []

    async def wraps_send(scope: Any, receive: Any, send: Any) -> None:
        async def noting(event: Any) -> None:
            seen.append(event["type"])
            await send(event)

        await application.app(scope, receive, noting)

    async def wraps_receive(scope: Any, receive: Any, send: Any) -> None:
        async def noting() -> Any:
            return await receive()

        await application.app(scope, noting, send)

    for app in (wraps_send, wraps_receive):
        found = await lane_of(app, application, caplog)
        assert found[:2] == ["asgi", "asgi"]
        assert found[2:] == ["WebSockets go the plain ASGI way: something stands between hypercorn and the application"]
    assert seen.count("websocket.send") == 2


async def test_nothing_is_said_of_hypercorn_where_it_is_not_the_server(caplog: pytest.LogCaptureFixture) -> None:
    """It is imported, as in this process, and another server has called the application."""
    application = Application()
    takeover._told.clear()
    with caplog.at_level(logging.INFO, "nexios_trio.takeover"):
        async with connect(application.app, "/echo") as client:
            await client.send_text("hello")
            assert await client.receive_text() == "hello"
    assert application.lanes == ["asgi"]
    assert not caplog.records


async def test_without_a_lifespan_sockets_are_taken_over_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    """Mounted in another application, which does not pass the lifespan on."""
    application = Application()

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                event = await receive()
                await send({"type": event["type"] + ".complete"})
        await application.app(scope, receive, send)

    found = await lane_of(outer, application, caplog)
    assert found == ["takeover", "takeover"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda stream, protocol, server: setattr(server, "protocol", object()), "protocol is not as expected"),
        (lambda stream, protocol, server: setattr(protocol, "connection", object()), "protocol is not as expected"),
        (lambda stream, protocol, server: setattr(stream, "handshake", object()), "protocol is not as expected"),
        (lambda stream, protocol, server: setattr(server, "stream", object()), "not a plain socket"),
        (lambda stream, protocol, server: setattr(stream, "send", object()), "not HTTP/1.1"),
        (lambda stream, protocol, server: setattr(protocol, "send", object()), "not hypercorn's trio worker"),
        (lambda stream, protocol, server: delattr(stream, "state"), "hypercorn is not as expected: .*state"),
    ],
)
async def test_another_shape_is_left_alone(
    change: Callable[[Any, Any, Any], None], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever differs is found before anything is touched."""
    takeover._told.clear()
    application = Application()
    checked = trio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            await application.app(scope, receive, send)
            return
        stream = send.__self__
        protocol = stream.send.__self__
        server = protocol.send.__self__
        change(stream, protocol, server)
        before = [dict(vars(one)) for one in (stream, protocol, server)]
        with caplog.at_level(logging.INFO, "nexios_trio.takeover"):
            assert takeover.claim(receive, send, application.app.settings) is None
        assert [dict(vars(one)) for one in (stream, protocol, server)] == before
        checked.set()
        await trio.sleep_forever()

    with pytest.raises(BaseExceptionGroup):  # hypercorn cannot go on with that
        async with serving(app) as server:
            await server.connect().send(upgrade("/echo"))
            await checked.wait()
            raise Cut
    assert re.search(reason, caplog.text)


class Cut(Exception):
    """The test is over."""


async def test_tls_goes_the_plain_way(caplog: pytest.LogCaptureFixture) -> None:
    application = Application()
    takeover._told.clear()
    files = {name: str(Path(CERTIFICATES) / f"{name}.pem") for name in ("certificate", "key")}
    with caplog.at_level(logging.INFO, "nexios_trio.takeover"):
        async with serving(application, certfile=files["certificate"], keyfile=files["key"]) as server:
            stream = await trio.open_tcp_stream("127.0.0.1", server.port)
            async with trio.SSLStream(stream, CLIENT_TLS, server_hostname="localhost", https_compatible=True) as secure:
                await secure.send_all(upgrade("/echo"))
                received = b""
                while b"\r\n\r\n" not in received:
                    received += await secure.receive_some()
                await secure.send_all(text("hello"))
                received = received.partition(b"\r\n\r\n")[2]
                while len(received) < 7:
                    received += await secure.receive_some()
                assert received == b"\x81\x05hello"
    assert application.lanes == ["asgi"]
    assert "the connection is not a plain socket" in caplog.text


async def test_a_send_after_the_end_raises() -> None:
    told: list[int] = []
    app = NexiosApp()

    @app.ws_route("/")
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        await ws.receive()
        try:
            while True:
                await ws.send_text("x")
        except WebSocketDisconnect as error:
            told.append(error.code)
            raise

    async with serving(app) as server:
        peer = await server.join("/")
        await peer.send(close(4001))
        assert (await peer.rest())[0][-1].opcode == CLOSE
    assert told == [4001]
