"""TLS in front of everything: its handshakes, and what they cost others."""

import fcntl
import ssl
import subprocess
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

import pytest
import trio

from nexios_trio import WebSocketDisconnect
from tests.server.support import (
    CERTIFICATES,
    DEADLINE,
    Raw,
    Running,
    ask,
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


async def test_over_the_limit_with_tls_is_an_end():
    async with running(make_app(), tls_config(), settings(max_connections=1)) as server:
        async with websocket(server.port, tls=True) as client:
            assert await server.request(b"") == b""
            assert await ask(client) == "are you there?"


async def test_a_connection_takes_one_descriptor():
    async with running(make_app(), tls_config()) as server:
        async with websocket(server.port, tls=True) as client:  # what the first one makes is not counted
            assert await ask(client) == "are you there?"
            before = open_descriptors()
            async with websocket(server.port, tls=True) as other:
                assert await ask(other) == "are you there?"
                assert open_descriptors() == before + 2  # its own end, and the server's


HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(50)  # a quarter of one


@pytest.mark.parametrize("said", [b"", HELLO], ids=["nothing", "half a hello"])
async def test_who_stalls_has_so_much_time_and_nobody_waits(said, caplog):
    caplog.set_level("DEBUG", "nexios_trio.server")
    async with running(make_app(), tls_config(), settings(handshake_timeout=0.05)) as server:
        async with await server.connect() as one, await server.connect() as two:
            await one.send(said)
            await two.send(said)
            async with websocket(server.port, tls=True) as innocent:
                assert await ask(innocent) == "are you there?"
            assert await one.rest() == b""
            assert await two.rest() == b""
    assert "no TLS handshake: it took longer than 0.05 s" in caplog.text


async def test_who_has_not_shaken_hands_is_let_go_when_the_server_stops():
    async with running(make_app(), tls_config()) as server, await server.connect() as client:
        await client.send(HELLO)
        async with websocket(server.port, tls=True) as other:  # so that the first is surely accepted
            assert await ask(other) == "are you there?"
        server.stop()
        assert await client.rest() == b""
        await server.stopped()


async def test_plain_http_on_a_port_with_tls_is_said_to_the_log(caplog):
    caplog.set_level("INFO", "nexios_trio.server")
    async with running(make_app(), tls_config()) as server:
        await server.request(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert "http or ws was spoken to a port with TLS" in caplog.text


async def shaken(server: Running, context: ssl.SSLContext) -> trio.SSLStream[trio.SocketStream]:
    stream = await trio.open_tcp_stream("127.0.0.1", server.port)
    secure = trio.SSLStream(stream, context, server_hostname="localhost", https_compatible=True)
    with trio.fail_after(DEADLINE):
        await secure.do_handshake()
    return secure


@pytest.mark.parametrize("has_certificate", [True, False], ids=["with one", "without"])
async def test_clients_have_certificates_where_they_must(has_certificate):
    certificate, key = CERTIFICATES / "certificate.pem", CERTIFICATES / "key.pem"
    client = ssl.create_default_context(cafile=str(certificate))
    if has_certificate:
        client.load_cert_chain(certificate, key)
    mutual = tls_config(ca_certs=str(certificate), verify_mode=ssl.CERT_REQUIRED)
    async with running(make_app(), mutual) as server, Raw(await shaken(server, client)) as raw:
        if has_certificate:
            assert (await raw.handshake()).startswith(b"HTTP/1.1 101")
        else:
            with suppress(trio.BrokenResourceError):
                await raw.send(upgrade())
            assert await raw.rest() == b""


async def test_a_client_that_comes_back_shows_its_ticket():
    client = ssl.create_default_context(cafile=str(CERTIFICATES / "certificate.pem"))
    async with running(make_app(), tls_config()) as server:
        async with Raw(await shaken(server, client)) as raw:
            await raw.handshake()
            session = raw.stream.session
        sock = await trio.open_tcp_stream("127.0.0.1", server.port)
        again = trio.SSLStream(sock, client, server_hostname="localhost", https_compatible=True)
        again.session = session
        with trio.fail_after(DEADLINE):
            await again.do_handshake()
        async with Raw(again) as raw:
            assert again.session_reused
            assert (await raw.handshake()).startswith(b"HTTP/1.1 101")


async def test_a_long_body_and_a_long_answer():
    app = make_app()

    @app.post("/echo")
    async def echo(req, res):
        return res.text((await req.body()).decode())

    body = "0123456789" * 100_000
    request = (
        f"POST /echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    )
    async with running(app, tls_config()) as server, await server.connect(tls=True) as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send, request.encode())
            answer = await client.rest()
    assert answer.partition(b"\r\n\r\n")[2].decode() == body


async def test_http_ends_tls_in_order():
    """Who reads to the end has to know that it was the end."""
    client = ssl.create_default_context(cafile=str(CERTIFICATES / "certificate.pem"))
    async with running(make_app(), tls_config()) as server:
        stream = await trio.open_tcp_stream("127.0.0.1", server.port)
        secure = trio.SSLStream(stream, client, server_hostname="localhost")  # which raises where it was not
        async with Raw(secure) as raw:
            await raw.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            with trio.fail_after(DEADLINE):
                while await secure.receive_some():
                    pass


class OpenSsl:
    """OpenSSL's own client, which sends its input, and does what an input of one letter and a line end asks."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._said = b""

    async def say(self, data: bytes) -> None:
        """Write, and wait until it is taken: what it reads at once is one input."""
        stdin = self._process.stdin
        assert stdin is not None
        await stdin.send_all(data)
        await eventually(lambda: fcntl.ioctl(stdin.fileno(), termios.FIONREAD, bytes(4)) == bytes(4))

    async def until(self, mark: bytes) -> None:
        assert self._process.stdout is not None
        with trio.fail_after(DEADLINE):
            while mark not in self._said:
                data = await self._process.stdout.receive_some()
                assert data, self._said
                self._said += data
        self._said = self._said.partition(mark)[2]

    async def ended(self) -> int:
        with trio.fail_after(DEADLINE):
            return await self._process.wait()


@asynccontextmanager
async def openssl(server: Running, *options: str) -> AsyncIterator[OpenSsl]:
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-brief", *options]
    async with trio.open_nursery() as nursery:
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        process = await nursery.start(partial(trio.run_process, command, check=False, **streams))
        client = OpenSsl(process)
        yield client
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("command", [b"K\n", b"k\n"], ids=["of both", "of its own"])
async def test_a_client_may_change_its_keys(command):
    """KeyUpdate, which RFC 8446 allows at any time."""
    async with running(make_app(), tls_config()) as server, openssl(server, "-tls1_3") as client:
        await client.say(upgrade())
        await client.until(b"\r\n\r\n")
        for number in range(3):
            await client.say(command)
            await client.say(frame(1, b"after %d" % number))
            await client.until(b"after %d" % number)


async def test_a_client_may_not_negotiate_anew():
    async with running(make_app(), tls_config()) as server, websocket(server.port, tls=True) as innocent:
        async with openssl(server, "-tls1_2") as client:
            await client.say(upgrade())
            await client.until(b"\r\n\r\n")
            await client.say(b"R\n")
            assert await client.ended() != 0  # it gives up
        assert await ask(innocent) == "are you there?"
