"""How many connections there may be."""

import resource
import socket
from contextlib import AsyncExitStack
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexios_trio import Settings
from nexios_trio.core.proxy_headers import plain_address
from nexios_trio.server.connection_limits import (
    RESERVED_DESCRIPTORS,
    AcceptedConnection,
    ConnectionLimits,
    connection_capacity,
)
from tests.server.processes import QUICK, command
from tests.server.support import ask, frame, make_app, running, settings, websocket


class FakeSocket:
    """Only what a connection needs of it."""

    def getsockname(self):
        return ("127.0.0.1", 80)

    def close(self):
        pass


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3))), st.integers(1, 8), st.none() | st.integers(1, 3))
def test_nobody_is_counted_wrong(steps, most, each):
    limits = ConnectionLimits(most, each)
    present: list[tuple[str, AcceptedConnection]] = []
    for comes, who in steps:
        address = f"192.0.2.{who}"
        if comes:
            same = sum(other == address for other, _ in present)
            connection = limits.admit(cast(socket.socket, FakeSocket()), (address, 1))
            assert (connection is not None) == (len(present) < most and (each is None or same < each))
            if connection is not None:
                present.append((address, connection))
        elif present:
            _, connection = present.pop(who % len(present))
            connection.close()
            connection.close()  # idempotent
        assert limits.total == len(present)
    for _, connection in present:
        connection.close()
    assert limits.total == 0
    assert not limits._by_key


def test_a_network_of_ipv6_is_one_address():
    """Whoever has one address of a /64 has them all."""
    limits = ConnectionLimits(100, 2)
    network = "2001:db8:0:7"
    here = [limits.admit(cast(socket.socket, FakeSocket()), (f"{network}::{n}", 1, 0, 0)) for n in range(3)]
    assert [connection is not None for connection in here] == [True, True, False]
    assert limits.admit(cast(socket.socket, FakeSocket()), ("2001:db8:0:8::1", 1, 0, 0)) is not None
    assert limits.admit_forwarded(f"{network}:ffff::1") is None
    for connection in here[:2]:
        assert connection is not None
        connection.close()
    free = limits.admit_forwarded(f"{network}:ffff::1")
    assert free is not None
    free()
    assert len(limits._by_key) == 1


@pytest.mark.parametrize(
    ("raw", "parsed"),
    [
        (("127.0.0.1", 80), ("127.0.0.1", 80)),
        (("::1", 80, 0, 0), ("::1", 80)),
        (("::ffff:192.0.2.1", 80, 0, 0), ("192.0.2.1", 80)),
        ("", None),
        ("/run/server.sock", None),
        (b"\0abstract", None),
    ],
)
def test_addresses(raw, parsed):
    assert plain_address(raw) == parsed


def test_the_file_limit_bounds_the_connections(caplog):
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = connection_capacity(Settings())
    assert soft - 2 * RESERVED_DESCRIPTORS - 200 < room <= soft - RESERVED_DESCRIPTORS
    assert connection_capacity(Settings(), connected=3) == pytest.approx(room + 3, abs=2)
    assert connection_capacity(Settings(max_connections=5)) == 5
    assert not caplog.records
    assert connection_capacity(Settings(max_connections=soft)) == pytest.approx(room, abs=2)
    assert "raise it (ulimit -n)" in caplog.text


async def test_over_the_limit_is_503_and_places_are_used_again():
    async with running(make_app(), None, settings(max_connections=2)) as server:
        async with websocket(server.port) as one:
            async with await server.connect() as two:
                await two.handshake()
                for _ in range(3):
                    assert (await server.get()).startswith(b"HTTP/1.1 503")
                assert await ask(one) == "are you there?"
                await two.send(frame(8, b"\x03\xe8"))
                await two.rest()
            for _ in range(5):
                assert (await server.get()).endswith(b"hello")


@pytest.mark.parametrize(
    "data", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x00", b"GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n"]
)
async def test_every_way_to_leave_frees_the_place(data):
    async with running(make_app(), None, settings(max_connections=1)) as server:
        for _ in range(3):
            client = await server.connect()
            await client.send(data)
            if data:
                await client.rest()
            client.reset()
            answer = b"HTTP/1.1 503"
            while answer.startswith(b"HTTP/1.1 503"):
                answer = await server.get()
            assert answer.endswith(b"hello")


async def test_connections_of_one_address():
    async with running(make_app(), None, settings(max_connections_per_address=1)) as server:
        async with websocket(server.port) as client:
            assert (await server.get()).startswith(b"HTTP/1.1 503")
            assert await ask(client) == "are you there?"


async def test_connections_of_one_address_behind_a_proxy():
    limits = settings(max_connections_per_address=1, trusted_proxies="127.0.0.0/8")
    async with running(make_app(), None, limits) as server, AsyncExitStack() as stack:
        one = await stack.enter_async_context(await server.connect())
        assert (await one.handshake("/echo", "X-Forwarded-For: 192.0.2.1")).startswith(b"HTTP/1.1 101")
        two = await stack.enter_async_context(await server.connect())
        assert (await two.handshake("/echo", "X-Forwarded-For: 192.0.2.1")).startswith(b"HTTP/1.1 503")
        three = await stack.enter_async_context(await server.connect())
        assert (await three.handshake("/echo", "X-Forwarded-For: 192.0.2.2")).startswith(b"HTTP/1.1 101")
        await one.send(frame(8, b"\x03\xe8"))
        await one.rest()
        answer = b"HTTP/1.1 503"
        while answer.startswith(b"HTTP/1.1 503"):
            async with await server.connect() as again:
                answer = await again.handshake("/echo", "X-Forwarded-For: 192.0.2.1")


async def test_a_process_never_runs_out_of_descriptors(tmp_path):
    """More clients than its file limit allows: those who are in stay, the others get 503, and files still open."""
    log = tmp_path / "log"
    limit = 160
    async with command(log, "tests.server.apps:app", *QUICK) as server:
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (limit, limit))
        # its own limit was computed from what it had; so this server must survive EMFILE itself
        async with AsyncExitStack() as stack:
            first = await stack.enter_async_context(await server.connect())
            await first.handshake()
            for _ in range(limit + 20):
                await stack.enter_async_context(await server.connect())
            await first.send(frame(1, b"still"))
            assert await first.frame() == (1, b"still")
        assert (await server.get()).endswith(b"hello")
        server.signal()
        assert await server.status() == 0


async def test_the_default_limit_keeps_below_the_file_limit(tmp_path):
    log = tmp_path / "log"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = 200
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        starting = command(log, "tests.server.apps:app", *QUICK)
        server = await starting.__aenter__()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        async with AsyncExitStack() as stack:
            answers = []
            for _ in range(limit):
                client = await stack.enter_async_context(await server.connect())
                answers.append((await client.handshake())[:12])
            let_in = answers.count(b"HTTP/1.1 101")
            assert answers == [b"HTTP/1.1 101"] * let_in + [b"HTTP/1.1 503"] * (limit - let_in)
            assert limit - RESERVED_DESCRIPTORS - 40 < let_in <= limit - RESERVED_DESCRIPTORS
        server.signal()
        assert await server.status() == 0
    finally:
        await starting.__aexit__(None, None, None)
    assert "cannot accept" not in log.read_text()
