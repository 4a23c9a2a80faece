"""What ended hypercorn's whole process, or might have: each script meets the runner while an innocent client is
connected to it, which must stay connected and be answered.

A row is (what is sent, how the answer must begin). `None`: any answer, or none, is as good.
"""

from typing import Any

import h2.connection
import h2.settings
import pytest
import trio
from hpack import Encoder

from tests.server.support import (
    Running,
    ask,
    config,
    eventually,
    frame,
    make_app,
    open_descriptors,
    running,
    settings,
    tls_config,
    upgrade,
    websocket,
)

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST / HTTP/1.1\r\nHost: localhost\r\n"


def preface(send: Any) -> bytes:
    """HTTP/2 by prior knowledge, and what `send` does on the connection."""
    connection = h2.connection.H2Connection()
    connection.config.validate_outbound_headers = False
    connection.config.normalize_outbound_headers = False
    connection.initiate_connection()
    send(connection)
    return connection.data_to_send()


def h2_get(connection: h2.connection.H2Connection) -> None:
    connection.send_headers(
        1, [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "x")], end_stream=True
    )


def h2_connect_without_path(connection: h2.connection.H2Connection) -> None:
    connection.send_headers(1, [(":method", "CONNECT"), (":authority", "x"), (":protocol", "websocket")])


def h2_data_after_the_end(connection: h2.connection.H2Connection) -> None:
    h2_get(connection)
    connection._data_to_send += b"\x00\x00\x01\x00\x00\x00\x00\x00\x01x"  # DATA on a stream that has ended


def h2_flood(connection: h2.connection.H2Connection) -> None:
    for _ in range(1000):
        connection.ping(b"12345678")


def hpack_bomb() -> bytes:
    encoder = Encoder()
    block = encoder.encode([("x", "y" * 4000)]) + b"\xbe" * 16_000
    return (
        preface(lambda connection: None) + len(block[:16_384]).to_bytes(3, "big") + b"\x01\x05\x00\x00\x00\x01" + block
    )


OURS = {
    "a Sec-WebSocket-Protocol that is not ASCII": (
        upgrade("/echo", "Sec-WebSocket-Protocol: ch\xe4t"),
        b"HTTP/1.1 400",
    ),
    "a Sec-WebSocket-Extensions that is not ASCII": (upgrade("/echo", "Sec-WebSocket-Extensions: \xff"), None),
    "a Connection that is not ASCII": (
        upgrade().replace(b"Connection: Upgrade", b"Connection: Upgr\xe4de"),
        b"HTTP/1.1 400",
    ),
    "client_max_window_bits that is no number": (
        upgrade("/echo", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=abc"),
        None,
    ),
    "server_max_window_bits that is no number": (
        upgrade("/echo", "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=abc"),
        None,
    ),
    "an extension list that is none": (upgrade("/echo", "Sec-WebSocket-Extensions: ;;=,"), None),
    "a Host that is not ASCII": (upgrade().replace(b"localhost", b"\xff"), b"HTTP/1.1 400"),
    "two Hosts": (upgrade("/echo", "Host: other"), b"HTTP/1.1 400"),
    "no Host": (upgrade().replace(b"Host: localhost\r\n", b""), b"HTTP/1.1 400"),
    "a subprotocol that is not offered": (upgrade("/unoffered"), b"HTTP/1.1 500"),
    "headers that would split the answer": (upgrade("/split"), b"HTTP/1.1 500"),
    "a close code that does not exist": (upgrade("/bad-close"), b"HTTP/1.1 101"),
    "a handler that is never accepted and fails": (upgrade("/fail"), b"HTTP/1.1 500"),
    "no key": (upgrade().replace(b"Sec-WebSocket-Key", b"X-Key"), b"HTTP/1.1 400"),
    "a key that is no Base64": (upgrade().replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"\xff\xff"), b"HTTP/1.1 400"),
    "another version": (upgrade().replace(b"Version: 13", b"Version: 8"), b"HTTP/1.1 426"),
    "HTTP/1.0": (upgrade().replace(b"HTTP/1.1", b"HTTP/1.0"), b"HTTP/1.1 400"),
    "an absolute target": (upgrade("http://evil/echo"), b"HTTP/1.1 400"),
    "a target that is no path": (upgrade("*"), b"HTTP/1.1 400"),
    "a target that is not ASCII": (upgrade("/\xff"), b"HTTP/1.1 400"),
    "a path with NUL": (upgrade("/echo%00"), b"HTTP/1.1 400"),
    "a path that goes up": (upgrade("/../echo"), b"HTTP/1.1 400"),
    "a body behind the upgrade": (upgrade("/echo", "Content-Length: 5") + b"hello", b"HTTP/1.1"),
    "a chunked upgrade": (upgrade("/echo", "Transfer-Encoding: chunked") + b"0\r\n\r\n", b"HTTP/1.1 501"),
    "a header without a colon": (upgrade("/echo", "nonsense"), b"HTTP/1.1 400"),
    "a header with NUL": (upgrade("/echo", "X-One: a\0b"), b"HTTP/1.1 400"),
    "a frame before accept": (upgrade("/fail") + frame(1, b"early"), b"HTTP/1.1 500"),
    "frames that break the protocol": (upgrade() + b"\xff" * 100, b"HTTP/1.1 101"),
    "a frame that is not masked": (upgrade() + b"\x81\x02hi", b"HTTP/1.1 101"),
    "a frame of 2^63 bytes": (upgrade() + b"\x82\xff" + b"\xff" * 12, b"HTTP/1.1 101"),
    "text that is not UTF-8": (upgrade() + frame(1, b"\xff\xfe"), b"HTTP/1.1 101"),
    "a close frame with one byte": (upgrade() + frame(8, b"\x03"), b"HTTP/1.1 101"),
    "a head that is too large": (upgrade("/echo", "X-One: " + "x" * 20_000), b"HTTP/1.1 431"),
    "a head that never ends": (GET + b"X-One: " + b"x" * 100_000, b"HTTP/1.1 431"),
    "very many headers": (upgrade("/echo", *(f"X-{number}: y" for number in range(2000))), b"HTTP/1.1 431"),
    "a TLS hello": (bytes.fromhex("16030100c8010000c40303") + bytes(200), b"HTTP/1.1 400"),
    "noise": (bytes(range(128, 256)) * 10, b"HTTP/1.1 400"),
    "NULs": (bytes(1000), b"HTTP/1.1 400"),
}

HYPERCORNS = {
    "an upgrade to h2c": (
        GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMAAABkAAQAAP__\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 200",
    ),
    "an upgrade to h2c with bad settings": (
        GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: !\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 200",
    ),
    "HTTP/2": (preface(h2_get), b"HTTP/1.1 505"),
    "HTTP/2 CONNECT without :path": (preface(h2_connect_without_path), b"HTTP/1.1 505"),
    "HTTP/2 DATA on a closed stream": (preface(h2_data_after_the_end), b"HTTP/1.1 505"),
    "an HTTP/2 flood": (preface(h2_flood), None),
    "an HPACK bomb": (hpack_bomb(), None),
    "a later request for HTTP/2": (GET + b"\r\n" + preface(h2_get), b"HTTP/1.1 200"),
    "an upgrade to something else": (GET + b"Connection: upgrade\r\nUpgrade: irc\r\nConnection: close\r\n\r\n", None),
    "an upgrade in small letters": (upgrade().replace(b"GET", b"get"), b"HTTP/1.1"),
    "lines that end with LF": (upgrade().replace(b"\r\n", b"\n"), b"HTTP/1.1 101"),
    "an absolute target": (b"GET http://evil/ HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 400"),
    "CONNECT": (b"CONNECT evil:443 HTTP/1.1\r\nHost: evil\r\n\r\n", b"HTTP/1.1 400"),
    "OPTIONS *": (b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"HTTP/1.1"),
    "a Host that is not ASCII": (b"GET / HTTP/1.1\r\nHost: \xff\r\nConnection: close\r\n\r\n", None),
    "two lengths": (POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", b"HTTP/1.1 400"),
    "a negative length": (POST + b"Content-Length: -5\r\n\r\nhello", b"HTTP/1.1 400"),
    "a length and chunks": (
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 400",
    ),
    "chunks in HTTP/1.0": (
        POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 400",
    ),
    "another transfer coding": (POST + b"Transfer-Encoding: gzip\r\n\r\n", b"HTTP/1.1 501"),
    "a bad chunk": (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", b"HTTP/1.1 4"),
    "a huge chunk": (POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 30 + b"\r\n", b"HTTP/1.1 4"),
    "an application that answers nonsense": (
        b"GET /nonsense HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 500",
    ),
    "no request": (b"\r\n\r\n\r\n", None),
    "another version": (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", b"HTTP/1.1"),
    "a request line that is none": (b"HELLO\r\n\r\n", b"HTTP/1.1 400"),
}

CORPUS = {**{f"lane: {name}": row for name, row in OURS.items()}, **{f"http: {n}": r for n, r in HYPERCORNS.items()}}


def make_target() -> Any:
    """An application with applications' mistakes in it, in plain ASGI where ours would not let one make them."""
    app = make_app()
    mistakes = {
        "/unoffered": {"type": "websocket.accept", "subprotocol": "never-offered"},
        "/split": {"type": "websocket.accept", "headers": [(b"x-one", b"1\r\nx-two: 2")]},
        "/fail": {"type": "nonsense"},
        "/nonsense": {"type": "http.response.start", "status": 200, "headers": [(b"bad name", b"\r\n")]},
    }

    async def target(scope: Any, receive: Any, send: Any) -> None:
        if scope.get("path") in mistakes:
            await receive()
            await send(mistakes[scope["path"]])
        elif scope.get("path") == "/bad-close":
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": 99_999})
        else:
            await app(scope, receive, send)

    return target


@pytest.mark.parametrize("name", CORPUS)
async def test_a_script_costs_nobody_else_anything(name):
    data, begins = CORPUS[name]
    async with running(make_target()) as server, websocket(server.port) as innocent:
        async with await server.connect() as client:
            if begins is not None:
                await client.send(data)
                answer = await client.until(b"\r\n\r\n")
            else:
                await send_and_finish(client, data)
                answer = await client.rest()
        assert begins is None or answer.startswith(begins), answer[:200]
        assert await ask(innocent) == "are you there?"
        assert (await server.get()).endswith(b"hello")


async def send_and_finish(client: Any, data: bytes) -> None:
    """Send everything, as far as the server listens, and say that there is no more."""
    try:
        await client.send(data)
        await client.stream.send_eof()
    except trio.BrokenResourceError:
        pass


@pytest.mark.parametrize("compression", [False, True])
async def test_the_whole_corpus_at_once_with_named_hosts(compression):
    """Also what only happens with `server_names`, and with compression."""
    async with running(make_target(), config(server_names=["localhost"]), settings(compression=compression)) as server:
        async with websocket(server.port) as innocent:
            async with trio.open_nursery() as nursery:
                for data, _ in CORPUS.values():
                    nursery.start_soon(visit, server, data)
            assert await ask(innocent) == "are you there?"


async def visit(server: Running, data: bytes) -> None:
    async with await server.connect() as client:
        await send_and_finish(client, data)
        await client.rest()


STAGES = {
    "nothing": b"",
    "half a request": GET,
    "half an upgrade": upgrade()[:60],
    "a request": GET + b"\r\n",
    "a request and half of the next": GET + b"\r\n" + GET,
    "half a body": POST + b"Content-Length: 10\r\n\r\nhello",
    "an upgrade": upgrade(),
    "half a frame": upgrade() + frame(1, b"hello")[:4],
    "many messages": upgrade() + frame(1, b"hello") * 200,
    "many messages that nobody reads": upgrade("/stubborn") + frame(1, b"hello") * 200,
    "a close frame": upgrade() + frame(8, b"\x03\xe8"),
    "an upgrade of a kept connection": GET + b"\r\n" + upgrade() + frame(1, b"hello"),
}


@pytest.mark.parametrize("wait", [False, True], ids=["at once", "after an answer"])
@pytest.mark.parametrize("stage", STAGES)
async def test_resets_at_every_stage(stage, wait):
    before = open_descriptors()
    async with running(make_target(), None, settings(drain_timeout=0.5)) as server:
        async with websocket(server.port) as innocent:
            quiet = open_descriptors()
            for _ in range(3):
                client = await server.connect()
                await client.send(STAGES[stage])
                if wait and b"\r\n\r\n" in STAGES[stage] and b"Content-Length" not in STAGES[stage]:
                    await client.until(b"\r\n\r\n")
                client.reset()
            assert await ask(innocent) == "are you there?"
            await eventually(lambda: open_descriptors() == quiet)
    assert open_descriptors() == before


@pytest.mark.parametrize("script", [upgrade() + frame(1, b"hello"), GET + b"Connection: close\r\n\r\n"])
async def test_a_peer_may_leave_at_any_byte(script):
    async with running(make_target()) as server, websocket(server.port) as innocent:
        quiet = open_descriptors()
        for cut in range(0, len(script) + 1, 7):
            client = await server.connect()
            await client.send(script[:cut])
            await trio.aclose_forcefully(client.stream)
        assert await ask(innocent) == "are you there?"
        await eventually(lambda: open_descriptors() == quiet)


@pytest.mark.parametrize(
    "noise",
    [GET + b"\r\n", bytes(range(256)), bytes.fromhex("16030100c8010000c40303") + bytes(50), b""],
    ids=["plaintext", "noise", "half a hello", "nothing"],
)
async def test_what_is_no_tls_costs_nobody_else_anything(noise):
    async with running(make_target(), tls_config()) as server, websocket(server.port, tls=True) as innocent:
        quiet = open_descriptors()
        await server.request(noise) if noise[:1] == b"G" else await leave(server, noise)
        assert await ask(innocent) == "are you there?"
        await eventually(lambda: open_descriptors() == quiet)


async def leave(server: Running, data: bytes) -> None:
    client = await server.connect()
    await client.send(data)
    client.reset()


async def test_an_application_that_neither_accepts_nor_refuses():
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        while (await receive())["type"] != "websocket.disconnect":
            pass

    async with running(app, None, settings(accept_timeout=0.05)) as server:
        assert (await server.request(upgrade())).startswith(b"HTTP/1.1 503 ")


async def test_a_body_that_does_not_come_ends_its_connection():
    async with running(make_target(), None, settings(ping_interval=0.02, ping_timeout=0.05)) as server:
        async with await server.connect() as client:
            await client.send(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhello")
            await client.rest()


async def test_the_log_gets_one_line_for_a_dropped_connection_and_no_control_characters(caplog):
    async with running(make_target(), config(server_names=["localhost"])) as server:
        await server.request(b"GET / HTTP/1.1\r\nHost: \xff\x1b[31m\r\nConnection: close\r\n\r\n")
        await server.request(b"GET / HTTP/1.1\r\nHost: \xff\r\nConnection: close\r\n\r\n")
    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)
