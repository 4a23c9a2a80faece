"""What the server listens on."""

import os
import socket
from errno import EADDRINUSE

import pytest
import trio

from nexios_trio import serve
from tests.server.support import (
    Raw,
    ask,
    config,
    frame,
    make_app,
    running,
    settings,
    websocket,
)


async def test_unix_inherited_and_several_binds(tmp_path):
    path = str(tmp_path / "server.sock")
    with socket.socket() as inherited:
        inherited.bind(("127.0.0.1", 0))
        binds = [f"unix:{path}", "127.0.0.1:0", f"fd://{os.dup(inherited.fileno())}"]
        async with running(make_app(), config(bind=binds)) as server:
            assert server.addresses[0] == f"http://unix:{path}"
            assert server.addresses[2].endswith(f":{inherited.getsockname()[1]}")
            for address in server.addresses[1:]:
                async with websocket(int(address.rpartition(":")[2])) as client:
                    assert await ask(client) == "are you there?"
            async with Raw(await trio.open_unix_socket(path)) as raw:
                assert (await raw.handshake()).startswith(b"HTTP/1.1 101")
                await raw.send(frame(1, b"local"))
                assert await raw.frame() == (1, b"local")
            async with Raw(await trio.open_unix_socket(path)) as raw:
                await raw.send(b"GET /client HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert (await raw.rest()).endswith(b'[null,"http"]')


async def test_an_address_in_use_is_said_before_the_application_starts():
    started = []

    async def app(scope, receive, send):
        started.append(scope)

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(OSError, match=f"127.0.0.1:{port}: another program listens there") as caught:
            await serve(app, config(bind=[f"127.0.0.1:{port}"]), settings=settings())
    assert caught.value.errno == EADDRINUSE
    assert not started
