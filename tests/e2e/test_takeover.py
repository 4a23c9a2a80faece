"""The direct lane inside hypercorn's own trio worker: seen by what plain ASGI cannot do, over real sockets."""

import functools
import logging
import socket
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

import hypercorn.trio
import pytest
import trio
import trio_websocket
from hypercorn.config import Config

from nexios_trio import ChannelBox, NexiosApp, WebSocket, open_channel
from nexios_trio.core.lifecycle import End
from nexios_trio.transports import takeover
from tests.e2e.support import DEADLINE


class Room:
    """An application that tells what became of its connections."""

    def __init__(self, **limits: Any) -> None:
        self.app = NexiosApp(**limits)
        self.lanes: list[str] = []
        self.ends: list[End | None] = []
        self.app.ws_route("/echo")(self.echo)
        self.app.ws_route("/room")(self.room)
        self.app.ws_route("/bye")(self.bye)

    async def echo(self, ws: WebSocket) -> None:
        await ws.accept()
        self.lanes.append(ws._peer.transport.name)
        try:
            async for message in ws:
                await (ws.send_text(message) if isinstance(message, str) else ws.send_bytes(message))
        finally:
            self.ends.append(ws.end)

    async def room(self, ws: WebSocket) -> None:
        try:
            async with open_channel(ws) as channel, channel.member("room"):
                async for message in channel:
                    await ChannelBox.group_send("room", message)
        finally:
            self.ends.append(ws.end)

    async def bye(self, ws: WebSocket) -> None:
        await ws.accept()
        await ws.send_text("last words")
        await ws.close(4005, "because")


@asynccontextmanager
async def served(room: Room, **options: object) -> AsyncGenerator[str]:
    """`room` on hypercorn's trio worker, in this process; the URL."""
    config = Config.from_mapping({"bind": ["127.0.0.1:0"], "graceful_timeout": 1, "errorlog": None, **options})
    stop = trio.Event()
    with trio.fail_after(2 * DEADLINE):
        async with trio.open_nursery() as nursery:
            serve: Any = functools.partial(
                hypercorn.trio.serve, cast(Any, room.app), config, shutdown_trigger=stop.wait
            )
            [address] = await nursery.start(serve)
            try:
                yield address.replace("http", "ws")
            finally:
                stop.set()


@asynccontextmanager
async def client(url: str, **options: int) -> AsyncGenerator[trio_websocket.WebSocketConnection]:
    """A client whose stream is closed in any case, which trio-websocket leaves to chance."""
    host, port = url.split("/")[2].split(":")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        for name, value in options.items():
            stream.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
        async with trio.open_nursery() as nursery:
            path = "/" + url.split("/", 3)[3]
            websocket = await trio_websocket.wrap_client_stream(nursery, stream, f"{host}:{port}", path)
            yield websocket
            nursery.cancel_scope.cancel()


async def test_it_is_in_force_with_the_hypercorn_that_is_installed() -> None:
    """If this fails, hypercorn has changed: see `transports/takeover.py`, and what it follows."""
    room = Room()
    async with served(room) as url, client(f"{url}/echo") as websocket:
        for message in ("hello", b"\0\1", "x" * 60_000):
            await websocket.send_message(message)
            assert await websocket.get_message() == message
    assert room.lanes == ["direct"]


async def test_close_codes_and_reasons_reach_both_sides() -> None:
    room = Room()
    async with served(room) as url:
        async with client(f"{url}/echo") as websocket:
            await websocket.aclose(4001, "enough")
        async with client(f"{url}/bye") as websocket:
            assert await websocket.get_message() == "last words"
            with pytest.raises(trio_websocket.ConnectionClosed) as caught:
                await websocket.get_message()
    assert [(end.code, end.reason) for end in room.ends if end is not None] == [(4001, "enough")]
    assert caught.value.reason is not None
    assert (caught.value.reason.code, caught.value.reason.reason) == (4005, "because")


async def test_what_a_client_sends_with_its_request_is_not_lost() -> None:
    room = Room()
    frame = bytes((0x81, 0x85)) + b"\0\0\0\0" + b"hello"
    async with served(room) as url:
        host, port = url.split("/")[2].split(":")
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            await stream.send_all(
                b"GET /echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            )
            received = b""
            while b"\r\n\r\n" not in received:
                received += await stream.receive_some()
            await stream.send_all(frame[:3])
            await stream.send_all(frame[3:])
            received = received.partition(b"\r\n\r\n")[2]
            while len(received) < 7:
                received += await stream.receive_some()
    assert received[:7] == b"\x81\x05hello"


async def test_group_messages_reach_members_by_it() -> None:
    room = Room()
    async with served(room) as url, client(f"{url}/room") as one, client(f"{url}/room") as two:
        while len((await room.app.box.show_groups()).get("room", ())) < 2:
            await trio.lowlevel.checkpoint()
        await one.send_message('{"n":1}')
        assert (await one.get_message(), await two.get_message()) == ('{"n":1}', '{"n":1}')


async def test_a_peer_that_does_not_read_is_reset() -> None:
    room = Room(write_timeout=0.2)
    async with served(room) as url, client(f"{url}/room", SO_RCVBUF=4096) as stalled:
        del stalled  # its task reads until its queue of one message is full
        while not room.ends:
            await room.app.box.group_send("room", "x" * 60_000)
            await trio.lowlevel.checkpoint()
    assert [end.cause.value for end in room.ends if end is not None] in (["overflow"], ["write_timeout"])


async def test_a_client_that_vanishes_leaves_nothing_behind() -> None:
    room = Room()
    async with served(room) as url:
        before = trio.lowlevel.current_statistics().tasks_living
        async with client(f"{url}/room") as websocket:
            await websocket.send_message("1")
            await websocket.get_message()
            stream: Any = websocket._stream
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            await stream.aclose()
        while trio.lowlevel.current_statistics().tasks_living > before:
            await trio.lowlevel.checkpoint()  # hypercorn's own tasks end after ours
        assert await room.app.box.show_groups() == {}
    assert [end.code for end in room.ends if end is not None] == [1006]


async def test_hypercorns_own_pings_do_not_come_between() -> None:
    room = Room()
    async with served(room, websocket_ping_interval=0.001) as url, client(f"{url}/echo") as websocket:
        for number in range(50):
            await websocket.send_message(str(number))
            assert await websocket.get_message() == str(number)


async def test_clients_are_told_when_the_server_stops() -> None:
    room = Room()
    codes: list[int] = []

    async def wait_for_the_end(url: str, task_status: trio.TaskStatus[None]) -> None:
        async with client(f"{url}/echo") as websocket:
            await websocket.send_message("hello")
            await websocket.get_message()
            task_status.started()
            with pytest.raises(trio_websocket.ConnectionClosed) as caught:
                await websocket.get_message()
            assert caught.value.reason is not None
            codes.append(caught.value.reason.code)

    async with trio.open_nursery() as nursery:
        async with served(room) as url:
            await nursery.start(wait_for_the_end, url)
    assert codes == [1012]


async def test_it_can_be_turned_off() -> None:
    room = Room(takeover=False)
    async with served(room) as url, client(f"{url}/echo") as websocket:
        await websocket.send_message("hello")
        assert await websocket.get_message() == "hello"
    assert room.lanes == ["asgi"]


async def test_another_version_of_hypercorn_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(takeover, "SUPPORTED", "0.99.")
    monkeypatch.setattr(takeover, "_told", set())
    room = Room()
    with caplog.at_level(logging.INFO, "nexios_trio.takeover"):
        async with served(room) as url:
            for _ in range(2):
                async with client(f"{url}/echo") as websocket:
                    await websocket.send_message("hello")
                    assert await websocket.get_message() == "hello"
    assert room.lanes == ["asgi", "asgi"]
    assert len(caplog.messages) == 1
