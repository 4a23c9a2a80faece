"""HTTP beside WebSockets: one connection may become the other, and none stays behind."""

import gc

import pytest

from nexios_trio.server.hypercorn.stream import ConnectionStream
from tests.server.support import (
    config,
    eventually,
    frame,
    make_app,
    running,
    tls_config,
    upgrade,
)


@pytest.mark.parametrize(("make_config", "tls"), [(config, False), (tls_config, True)])
async def test_connections_that_are_over_are_gone_without_the_collector(make_config, tls):
    """A server that tunes it collects everything once in many thousand connections, of some 20 KiB each with TLS."""

    def served():
        return sum(type(each) is ConnectionStream for each in gc.get_objects())

    async def visit(server, data, end):
        async with await server.connect(tls=tls) as client:
            await client.send(data)
            await client.until(end)

    gc.collect()
    gc.disable()
    try:
        before = served()
        async with running(make_app(), make_config()) as server:
            for _ in range(3):
                await visit(server, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"hello")
                await visit(server, b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", b"hello")
                await visit(server, upgrade() + frame(1, b"here"), b"here")
                await visit(server, upgrade().replace(b"\r\n", b"\n") + frame(1, b"here"), b"here")
            await eventually(lambda: served() == before)
    finally:
        gc.enable()


async def test_a_websocket_may_follow_an_http_request_on_its_connection():
    async with running(make_app()) as server, await server.connect() as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await client.until(b"hello")
        head = await client.handshake("/echo", "Sec-WebSocket-Extensions: permessage-deflate")
        assert head.startswith(b"HTTP/1.1 101")
        assert b"extensions" not in head.lower()
        await client.send(frame(1, b"hi"))
        assert await client.frame() == (1, b"hi")
