"""A system without epoll, as macOS is one: in a process from which epoll, and more that only Linux has, is taken away."""

import os
import sys

import pytest
import trio

from tests.server.processes import PROJECT, QUICK, command, failed, kill
from tests.server.support import CERTIFICATES, DEADLINE, ask, frame, websocket

APP = "tests.server.apps:app"
# Trio keeps what it needs of epoll for itself.
TAKES_AWAY = """
import os, select, socket, types
import trio._core._io_epoll as of_trio

of_trio.select = types.SimpleNamespace(**vars(select))
for name in [name for name in vars(select) if name.lower().startswith("epoll")]:
    delattr(select, name)
del os.memfd_create, socket.TCP_INFO
"""
LINE = "has no epoll: hypercorn serves everything, and WebSockets go the plain ASGI way\n"


@pytest.fixture
def log(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(TAKES_AWAY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "log"


async def test_run_serves_and_stops_in_order_and_says_so_in_one_line(log, unused_port):
    health = f"127.0.0.1:{unused_port}"
    async with command(log, APP, *QUICK, "--health-bind", health) as server:
        assert (await server.get()).endswith(b"hello")
        async with await server.connect() as client, websocket(server.port) as other:
            assert await ask(other) == "are you there?"
            await client.handshake()
            async with await trio.open_tcp_stream("127.0.0.1", unused_port) as probe:
                await probe.send_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                assert b'{"ready":true}' in b"".join([data async for data in probe])
            server.signal()
            assert await client.closed() == 1012
        assert await server.status() == 0
        assert server.log.count(LINE) == 1
        assert "Traceback" not in server.log


async def test_limits_hold(log):
    limits = ("--set", "max_message_size=200", "--set", "max_connections=1")
    async with command(log, "tests.server.apps:fresh", *limits) as server:
        async with await server.connect() as client:
            await client.handshake()
            async with await server.connect() as other:
                assert await other.rest() == b""
            await client.send(frame(1, b"x" * 201))
            assert await client.closed() == 1009


@pytest.mark.slow
async def test_workers_and_tls(log):
    files = ("--certfile", str(CERTIFICATES / "certificate.pem"), "--keyfile", str(CERTIFICATES / "key.pem"))
    async with command(log, APP, *QUICK, *files, "--workers", "2") as server:
        async with websocket(server.port, tls=True) as client:
            assert await ask(client) == "are you there?"
        server.signal()
        assert await server.status() == 0


async def test_a_startup_that_fails_exits_with_3(log):
    assert await failed(log, "tests.server.apps:broken") == 3
    assert log.read_text().count("the application failed to start: RuntimeError: no database") == 1


@pytest.mark.slow
async def test_the_demo_under_hypercorns_own_command(log, unused_port):
    """As `make demo` serves it."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "hypercorn", "-k", "trio", "-b", f"127.0.0.1:{unused_port}", "examples.chat.app:app"],
        cwd=PROJECT,
        env=os.environ,
        start_new_session=True,
    )
    try:
        with trio.fail_after(DEADLINE):
            while True:
                try:
                    stream = await trio.open_tcp_stream("127.0.0.1", unused_port)
                except OSError:
                    await trio.sleep(0.05)  # for another process
                    continue
                break
            async with stream:
                await stream.send_all(b"GET /api/chat/rooms HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                assert b" 200 " in b"".join([data async for data in stream])
            async with websocket(unused_port, path="/ws/lobby") as client:
                await client.get_message()
    finally:
        kill(process)  # with the worker that serves, if there is one
        with trio.CancelScope(shield=True):
            await process.wait()
