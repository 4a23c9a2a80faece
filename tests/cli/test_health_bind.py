"""`nexios-trio run --health-bind`, as those see it who ask there."""

import re

import pytest

from tests.server.processes import QUICK, Command, command, failed
from tests.server.support import Running

APP = "tests.server.apps:app"


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


def health_of(server: Command) -> Running:
    found = re.search(r"health is answered on http://127\.0\.0\.1:(\d+)", server.log)
    assert found is not None, server.log
    return Running([f":{found[1]}"], server._stop, server._stopped)


async def test_ready_until_it_drains(log):
    async with command(log, APP, *QUICK, "--health-bind", "127.0.0.1:0") as server:
        health = health_of(server)
        assert (await health.get("/readyz")).endswith(b'{"ready":true}')
        assert (await server.get("/readyz")).startswith(b"HTTP/1.1 404")
        async with await server.connect() as client:
            await client.handshake("/stubborn")
            server.signal()
            assert await client.closed() == 1012
            assert (await health.get("/readyz")).endswith(b'{"ready":false,"not_ready":{"server":"draining"}}')
            assert (await health.get("/healthz")).endswith(b'{"alive":true}')
        assert await server.status() == 0
    assert "Traceback" not in server.log


async def test_an_address_that_is_taken(log):
    async with command(log, APP, *QUICK) as server:
        address = f"127.0.0.1:{server.port}"
        assert await failed(log, APP, "--health-bind", address) == 2
    assert f"cannot listen on {address}: another program listens there" in log.read_text()
