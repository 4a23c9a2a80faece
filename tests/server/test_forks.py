"""Children that are forked from a server have none of its sockets."""

import os
import signal

import pytest

from tests.server.processes import QUICK, command
from tests.server.support import CERTIFICATES, frame

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
