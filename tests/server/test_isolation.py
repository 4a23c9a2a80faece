"""What one connection does, or its handler, costs no other anything: an innocent client stays connected and is answered."""

import os
import tracemalloc
import zlib
from contextlib import suppress
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from nexios_trio import NexiosApp, WebSocket, WebSocketDisconnect
from tests.server.support import (
    DEADLINE,
    ask,
    frame,
    make_app,
    running,
    settings,
    websocket,
)

OFFER = "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover"
MIB = 1024 * 1024


def deflated(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def inflated(data: bytes) -> bytes:
    return zlib.decompressobj(wbits=-15).decompress(data + b"\0\0\xff\xff")


@pytest.mark.parametrize("fragments", [1, 3])
async def test_a_decompression_bomb_is_not_inflated(fragments):
    whole = deflated(bytes(40 * MIB))
    cuts = range(0, len(whole), -(-len(whole) // fragments))
    parts = [whole[cut : cut + cuts.step] for cut in cuts]
    async with running(make_app(), None, settings(compression=True)) as server:
        async with websocket(server.port) as innocent, await server.connect() as client:
            assert b"permessage-deflate" in await client.handshake("/echo", OFFER)
            tracemalloc.start()
            try:
                for number, part in enumerate(parts):
                    head = (0x42 if number == 0 else 0) | (0x80 if number == fragments - 1 else 0)
                    await client.send(bytes([head]) + frame(0, part)[1:])
                assert await client.closed() == 1009
                assert tracemalloc.get_traced_memory()[1] < 4 * MIB
            finally:
                tracemalloc.stop()
            assert await ask(innocent) == "are you there?"


async def test_a_send_that_waits_can_be_cancelled_and_what_follows_is_whole():
    app = NexiosApp(settings=settings(compression=True))
    full = trio.Event()
    sent: list[int] = []

    @app.ws_route("/fill")
    async def fill(ws: WebSocket) -> None:
        await ws.accept()
        cancelled = number = 0
        while cancelled < 3:
            number += 1
            if await send_unless_it_waits(ws, number.to_bytes(4, "big") + os.urandom(50_000)):
                sent.append(number)
            else:
                cancelled += 1
        full.set()
        await ws.send_text("x" * 1000)

    async with running(app, None, app.settings) as server, await server.connect() as client:
        await client.handshake("/fill", OFFER)
        with trio.fail_after(DEADLINE):
            await full.wait()
        got = [inflated(payload) for _, payload in [await client.frame() for _ in range(len(sent) + 1)]]
    assert [int.from_bytes(message[:4], "big") for message in got[:-1]] == sent
    assert got[-1] == b"x" * 1000


async def send_unless_it_waits(ws: WebSocket, data: bytes) -> bool:
    async with trio.open_nursery() as nursery:
        is_sent = False

        async def send() -> None:
            nonlocal is_sent
            await ws.send_bytes(data)
            is_sent = True

        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    return is_sent


async def test_a_peer_that_does_not_read_is_reset_within_the_write_deadline():
    ends: list[WebSocketDisconnect] = []
    app = make_app(settings=settings(write_timeout=0.3))

    @app.ws_route("/flood")
    async def flood(ws: WebSocket) -> None:
        await ws.accept()
        try:
            while True:
                await ws.send_bytes(bytes(50_000))
        except WebSocketDisconnect as end:
            ends.append(end)
            over.set()

    over = trio.Event()
    async with running(app, None, app.settings) as server, websocket(server.port) as innocent:
        async with await server.connect() as client:
            await client.handshake("/flood")
            with trio.fail_after(DEADLINE):
                await over.wait()
            assert await ask(innocent) == "are you there?"
            with pytest.raises(trio.BrokenResourceError):
                while await client.stream.receive_some():
                    pass
    assert [end.code for end in ends] == [1013]


async def test_a_handler_that_does_not_receive_keeps_no_ping_and_no_close_waiting():
    async with running(make_app(), None, settings(drain_timeout=0.2)) as server, await server.connect() as client:
        await client.handshake("/stubborn")
        assert await client.frame() == (1, b"here")
        await client.send(frame(1, b"unread") * 20 + frame(9, b"still there?"))
        assert await client.frame() == (10, b"still there?")
        await client.send(frame(8, b"\x03\xe8"))
        assert await client.closed() == 1000


@pytest.mark.parametrize("kind", ["ours", "any"])
async def test_sending_for_ever_to_a_peer_that_has_left_holds_nobody_up(kind):
    app = make_app()
    tries = 0
    is_enough = trio.Event()

    @app.ws_route("/obstinate")
    async def obstinate(ws: WebSocket) -> None:
        nonlocal tries
        await ws.accept()
        while not is_enough.is_set():
            tries += 1
            with suppress(WebSocketDisconnect):
                await ws.send_text("hello")

    async def target(scope: Any, receive: Any, send: Any) -> None:
        nonlocal tries
        if kind == "ours" or scope.get("path") != "/obstinate":
            await app(scope, receive, send)
            return
        await receive()
        await send({"type": "websocket.accept"})
        while not is_enough.is_set():
            tries += 1
            with suppress(OSError):
                await send({"type": "websocket.send", "text": "hello"})

    async with running(target) as server, websocket(server.port) as innocent:
        client = await server.connect()
        await client.handshake("/obstinate")
        client.reset()
        for _ in range(3):
            before = tries
            assert await ask(innocent) == "are you there?"
        assert tries > before
        is_enough.set()
