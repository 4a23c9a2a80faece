"""Children that are forked from a server have none of its sockets."""

import os
import signal
import sys

import pytest
import trio

from tests.server.processes import PROJECT, QUICK, command, kill
from tests.server.support import CERTIFICATES, DEADLINE, Running, frame

TLS = ("--certfile", str(CERTIFICATES / "certificate.pem"), "--keyfile", str(CERTIFICATES / "key.pem"))


@pytest.mark.parametrize("options", [(), TLS], ids=["plain", "tls"])
async def test_connections_end_and_the_port_is_free_though_a_child_lives_on(tmp_path, options):
    is_tls = bool(options)
    async with command(tmp_path / "log", "tests.server.apps:app", *QUICK, *options) as server:
        async with await server.connect(tls=is_tls) as client:
            await client.handshake()
            async with await server.connect(tls=is_tls) as other:
                await other.send(b"GET /fork HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                child = int((await other.rest()).rpartition(b"\r\n\r\n")[2])
            try:
                server.signal()
                assert await client.closed() == 1012
                await client.send(frame(8, b"\x03\xf4"))
                assert await client.rest() == b""  # and not silence, for as long as the child lives
                assert await server.status() == 0
                with pytest.raises(OSError, match="all attempts to connect"):
                    await server.connect()
            finally:
                os.kill(child, signal.SIGKILL)


async def test_a_socket_that_was_taken_over_ends_too(tmp_path, unused_port):
    with (tmp_path / "log").open("wb") as log:
        program = [sys.executable, "-m", "hypercorn", "-c", "python:nexios_trio.serving.hypercorn_config"]
        process = await trio.lowlevel.open_process(
            [*program, "-b", f"127.0.0.1:{unused_port}", "tests.server.apps:app"],
            cwd=PROJECT,
            stderr=log,
            stdout=log,
            start_new_session=True,
        )
    server = Running([f"http://127.0.0.1:{unused_port}"], trio.Event(), trio.Event())
    try:
        with trio.fail_after(DEADLINE):
            while not (tmp_path / "log").read_text().count("Running on"):
                await trio.sleep(0.01)  # for another process, which has no condition to wait for
        async with await server.connect() as client:
            await client.handshake()
            await server.get("/fork")
            await client.send(frame(8, b"\x03\xe8"))
            assert await client.closed() == 1000
            assert await client.rest() == b""
    finally:
        kill(process)  # with the worker that serves, and its child
        with trio.CancelScope(shield=True):
            await process.wait()
