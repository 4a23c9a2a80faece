"""hypercorn's WebSockets as our configuration patches them."""

import functools
from contextlib import asynccontextmanager

import hypercorn.trio
import pytest
import trio
from hypercorn.config import Config
from hypercorn.protocol.ws_stream import WSStream

from nexios_trio import NexiosApp
from nexios_trio.server.hypercorn import websocket_patch
from nexios_trio.server.hypercorn.config import hypercorn_options
from nexios_trio.server.hypercorn.websocket_patch import patch_websocket_stream
from tests.rawframes import BINARY, PONG, client_frame, close, header, take_frame
from tests.server.support import DEADLINE, upgrade

NAMES = ("_send_pings", "_handle_events")


@pytest.fixture
def close_timeout():
    return DEADLINE


@pytest.fixture
def patched(monkeypatch, close_timeout):
    for name in NAMES:
        monkeypatch.setattr(WSStream, name, getattr(WSStream, name))
    patch_websocket_stream(close_timeout)


@asynccontextmanager
async def plain(app):
    """The app on hypercorn's own server, which keeps its sockets."""
    stop = trio.Event()
    options = hypercorn_options(app.settings)
    del options["logger_class"], options["worker_class"]
    config = Config.from_mapping({**options, "bind": ["127.0.0.1:0"], "graceful_timeout": 0, "errorlog": None})
    serve = functools.partial(hypercorn.trio.serve, app, config, shutdown_trigger=stop.wait)
    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:
            [address] = await nursery.start(serve)
            yield int(address.rpartition(":")[2])
            stop.set()


class Client:
    """A raw WebSocket that answers nothing by itself."""

    def __init__(self, stream):
        self.stream = stream
        self.buffer = bytearray()

    async def receive(self):
        data = await self.stream.receive_some()
        self.buffer += data
        return bool(data)

    async def frame(self):
        """The next one; None at the end."""
        while (frame := take_frame(self.buffer)) is None:
            if not await self.receive():
                return None
        return frame


@asynccontextmanager
async def client(port):
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        self = Client(stream)
        await stream.send_all(upgrade("/ws"))
        while b"\r\n\r\n" not in self.buffer:
            assert await self.receive()
        self.buffer = self.buffer.partition(b"\r\n\r\n")[2]
        yield self


def make(**settings):
    app = NexiosApp(takeover=False, **settings)

    @app.ws_route("/ws")
    async def handler(ws):
        await ws.accept()
        await ws.send_text("hello")
        async for message in ws:
            if message == "bye":
                return

    return app


async def test_the_first_ping_does_not_come_with_the_greeting(patched):
    async with plain(make(ping_interval=0.05)) as port, client(port) as peer:
        assert (await peer.frame()).payload == b"hello"
        assert (await peer.frame()).opcode == 0x9


@pytest.mark.parametrize(("is_answered", "close_timeout"), [(True, DEADLINE), (False, 0.05)])
async def test_after_a_message_that_is_too_big_the_connection_ends(patched, is_answered):
    async with plain(make(ping_interval=60.0, max_message_size=1000)) as port, client(port) as peer:
        assert (await peer.frame()).payload == b"hello"
        await peer.stream.send_all(client_frame(BINARY, bytes(100_000)))
        assert (await peer.frame()).code == 1009
        if is_answered:
            await peer.stream.send_all(close(1009))
        assert await peer.frame() is None


async def test_what_follows_one_that_is_too_big_is_thrown_away(patched):
    async with plain(make(ping_interval=60.0, max_message_size=1000)) as port, client(port) as peer:
        assert (await peer.frame()).payload == b"hello"
        await peer.stream.send_all(header(BINARY, 400_000) + bytes(4))
        for _ in range(40):
            await peer.stream.send_all(bytes(10_000))
        assert (await peer.frame()).code == 1009
        await peer.stream.send_all(client_frame(BINARY, bytes(5000)) + client_frame(PONG) + close(1009))
        assert await peer.frame() is None


def test_another_version_is_left_alone(monkeypatch):
    before = [getattr(WSStream, name) for name in NAMES]
    monkeypatch.setattr(websocket_patch, "version", lambda name: "0.19.0")
    patch_websocket_stream(1.0)
    assert [getattr(WSStream, name) for name in NAMES] == before
