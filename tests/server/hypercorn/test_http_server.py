"""HTTP beside WebSockets: one connection may become the other, and none stays behind."""

import gc
from contextlib import suppress

import h11
import pytest
import trio
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.trio.tcp_server import TCPServer

from nexios_trio.server.connection_limits import AcceptedConnection
from nexios_trio.server.hypercorn.stream import ConnectionStream
from tests.server.support import (
    DEADLINE,
    config,
    frame,
    make_app,
    running,
    settings,
    tls_config,
    upgrade,
)

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
# What a client says, and up to where it reads; None: it resets the connection then, b"": it reads to the end.
VISITS = {
    "a client that leaves": (GET + b"\r\n", b"hello"),
    "a last request": (GET + b"Connection: close\r\n\r\n", b"hello"),
    "a websocket": (upgrade() + frame(1, b"here"), b"here"),
    "an upgrade that only hypercorn reads": (upgrade().replace(b"\r\n", b"\n") + frame(1, b"here"), b"here"),
    "a websocket after a request": (GET + b"\r\n" + upgrade() + frame(1, b"here"), b"here"),
    "a client that resets": (GET + b"\r\n", None),
    "a version that we do not speak": (GET.replace(b"1.1", b"9.1") + b"\r\n", b""),
    "no HTTP": (b"\0\1 HTTP/1.1\r\n\r\n", b""),
    "a body of two lengths": (GET + b"Content-Length: 40\r\nTransfer-Encoding: chunked\r\n\r\n", b""),
}
# What the server has to wait for.
WAITS = {
    "a body that does not come": (GET.replace(b"GET", b"POST") + b"Content-Length: 40\r\n\r\n", b""),
    "a request that does not come": (b"", b""),
}
SHORT = settings(handshake_timeout=0.05, ping_interval=0.02, ping_timeout=0.05)
OF_A_CONNECTION = (ConnectionStream, TCPServer, H11Protocol, HTTPStream, h11.Connection, AcceptedConnection)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("visit", [*VISITS, *WAITS])
async def test_connections_that_are_over_are_gone_without_the_collector(visit, tls):
    """A server that tunes it collects everything once in many thousand connections, of some 20 KiB each with TLS."""

    def living():
        return sum(isinstance(each, OF_A_CONNECTION) for each in gc.get_objects())

    data, end = VISITS.get(visit) or WAITS[visit]
    gc.collect()
    gc.disable()
    try:
        before = living()
        async with running(make_app(), (tls_config if tls else config)(), SHORT if visit in WAITS else None) as server:
            for _ in range(5):
                async with await server.connect(tls=tls) as client:
                    with suppress(trio.BrokenResourceError):  # TLS may be late, too
                        await client.send(data)
                    if end:
                        await client.until(end)
                    elif end is None:
                        client.reset()
                    else:
                        await client.rest()
            with trio.fail_after(DEADLINE):
                while living() != before:  # which looks at every object there is: the server gets on in between
                    for _ in range(100):
                        await trio.lowlevel.checkpoint()
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
