"""TLS in front of everything."""

import socket
import ssl
from types import SimpleNamespace
from typing import Any, cast

import trio

from nexios_trio import WebSocketDisconnect
from nexios_trio.server.connection_limits import (
    ConnectionLimits,
)
from nexios_trio.server.tls_proxy import TlsProxy
from tests.server.support import (
    CERTIFICATES,
    ask,
    eventually,
    make_app,
    running,
    settings,
    tls_config,
    websocket,
)


async def test_tls_has_the_direct_lane_too():
    closes = []
    app = make_app()

    @app.ws_route("/code")
    async def code(ws):
        await ws.accept()
        try:
            await ws.receive_text()
        except WebSocketDisconnect as error:
            closes.append((error.code, ws.url.scheme))
            raise

    async with running(app, tls_config(insecure_bind=["127.0.0.1:0"])) as server:
        assert [address.partition(":")[0] for address in server.addresses] == ["https", "http"]
        async with websocket(server.port, tls=True) as client:
            assert await ask(client, "s" * 60_000) == "s" * 60_000
        async with websocket(server.port, "/code", tls=True) as client:
            await client.aclose(4001)
        await eventually(lambda: closes == [(4001, "wss")])
        async with websocket(int(server.addresses[1].rpartition(":")[2])) as client:
            assert await ask(client) == "are you there?"


async def test_tls_agrees_on_http_1_1_with_a_client_that_prefers_http_2():
    async with running(make_app(), tls_config()) as server, websocket(server.port, tls=True) as innocent:
        context = ssl.create_default_context(cafile=str(CERTIFICATES / "certificate.pem"))
        context.set_alpn_protocols(["h2", "http/1.1"])
        async with await server.connect() as client:
            stream = trio.SSLStream(client.stream, context, server_hostname="localhost", https_compatible=True)
            await stream.do_handshake()
            assert stream.selected_alpn_protocol() == "http/1.1"
        assert await ask(innocent) == "are you there?"


async def test_small_answers_over_tls_do_not_wait():
    """TLS 1.3 sends tickets first, and Nagle's algorithm would keep the answer until those are acknowledged."""
    started: list[Any] = []
    server = cast(Any, SimpleNamespace(limits=ConnectionLimits(10)))
    proxy = TlsProxy(cast(Any, None), settings(), 1.0, server, lambda *task: started.append(task))
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()):
        sock, peer = listener.accept()
        with sock:
            proxy.accept_connection(sock, peer)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert len(started) == 1


async def test_over_the_limit_with_tls_is_an_end():
    async with running(make_app(), tls_config(), settings(max_connections=1)) as server:
        async with websocket(server.port, tls=True) as client:
            assert await server.request(b"") == b""
            assert await ask(client) == "are you there?"
