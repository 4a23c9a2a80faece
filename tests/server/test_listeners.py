"""What the server listens on."""

import os
import socket
from errno import EADDRINUSE

import pytest
import trio

from nexios_trio import serve
from nexios_trio.server.listeners import open_listeners
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


async def test_a_unix_socket_in_use_has_advice_that_knows_of_no_ports(tmp_path):
    path = tmp_path / "sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(OSError, match=f"unix:{path}: another program listens there; stop it, or .* another path$"):
            await serve(make_app(), config(bind=[f"unix:{path}"]), settings=settings())


def connects(host, port):
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as client:
        client.settimeout(5)
        return client.connect_ex((host, port)) == 0


@pytest.mark.parametrize("bind", ["localhost:0", "LOCALHOST:0"])
async def test_localhost_is_both_families(bind):
    async with running(make_app(), config(bind=[bind])) as server:
        assert [address.rpartition(":")[0] for address in server.addresses] == ["http://127.0.0.1", "http://[::1]"]
        for address in server.addresses:
            host, _, port = address.removeprefix("http://").rpartition(":")
            assert connects(host.strip("[]"), int(port))


async def test_a_number_is_a_port(unused_port):
    async with running(make_app(), config(bind=[str(unused_port)])) as server:
        assert server.addresses == [f"http://127.0.0.1:{unused_port}"]


@pytest.mark.parametrize("binds", [["0.0.0.0:{0}", "[::]:{0}"], ["[::]:{0}", "127.0.0.1:{0}"]])
async def test_both_families_on_one_port(binds, unused_port):
    async with running(make_app(), config(bind=[bind.format(unused_port) for bind in binds])):
        assert connects("127.0.0.1", unused_port)
        assert connects("::1", unused_port)


async def test_all_of_ipv6_alone_is_ipv4_too(unused_port):
    async with running(make_app(), config(bind=[f"[::]:{unused_port}"])):
        assert connects("127.0.0.1", unused_port)
        assert connects("::1", unused_port)


@pytest.mark.parametrize(
    "binds",
    [
        ["127.0.0.1:{0}", "127.0.0.1:{0}"],
        ["0.0.0.0:{0}", "127.0.0.1:{0}"],
        ["[::1]:{0}", "[::]:{0}"],
        ["localhost:{0}", "127.0.0.1:{0}"],
        ["unix:{1}/sock", "unix:{1}/sock"],
    ],
)
async def test_binds_that_overlap_are_said_before_the_application_starts(binds, unused_port, tmp_path):
    async def app(scope, receive, send):
        raise AssertionError

    with pytest.raises(ValueError, match="it overlaps with http.*, which is listed too"):
        await serve(app, config(bind=[bind.format(unused_port, tmp_path) for bind in binds]))


async def test_a_host_that_does_not_exist_is_said():
    with pytest.raises(OSError, match=r"cannot listen on nowhere\.invalid:80: "):
        await serve(make_app(), config(bind=["nowhere.invalid:80"]))


async def test_descriptor_0_can_be_inherited():
    """A worker's is its link to the parent."""
    with socket.socket() as inherited:
        inherited.bind(("127.0.0.1", 0))
        kept = os.dup(0)
        try:
            os.dup2(inherited.fileno(), 0)
            with open_listeners(config(bind=["fd://0"])) as [listener]:
                assert listener.sock.fileno() > 2
                assert listener.sock.getsockname() == inherited.getsockname()
            assert os.fstat(0) == os.fstat(inherited.fileno())
        finally:
            os.dup2(kept, 0)
            os.close(kept)


@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o700), (0o007, 0o770), (0o000, 0o777)])
def test_a_socket_that_no_proxy_can_reach_is_said(umask, mode, tmp_path, caplog):
    path = tmp_path / "sock"
    caplog.set_level("INFO", "nexios_trio.server")
    with open_listeners(config(bind=[f"unix:{path}"], umask=umask)):
        assert path.stat().st_mode & 0o777 == mode
    assert ("--umask 007" in caplog.text) == (mode == 0o700)
