"""How many connections there may be."""

import resource
import socket
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from nexios_trio import Settings
from nexios_trio.server.accept import RESERVE, Admission, Arrival, accept_forever, parse_address, room_for_connections
from nexios_trio.server.tls_proxy import TlsRelays
from tests.server.processes import QUICK, command
from tests.server.support import ask, frame, make_app, running, settings, tls_config, websocket


class FakeSocket:
    """Only what an arrival needs of it."""

    def getsockname(self):
        return ("127.0.0.1", 80)

    def close(self):
        pass


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3))), st.integers(1, 8), st.none() | st.integers(1, 3))
def test_nobody_is_counted_wrong(steps, most, each):
    admission = Admission(most, each)
    present: list[tuple[str, Arrival]] = []
    for comes, who in steps:
        address = f"192.0.2.{who}"
        if comes:
            same = sum(other == address for other, _ in present)
            arrival = admission.admit(cast(socket.socket, FakeSocket()), (address, 1))
            assert (arrival is not None) == (len(present) < most and (each is None or same < each))
            if arrival is not None:
                present.append((address, arrival))
        elif present:
            _, arrival = present.pop(who % len(present))
            arrival.leave()
            arrival.leave()  # idempotent
        assert admission.total == len(present)
    for _, arrival in present:
        arrival.leave()
    assert admission.total == 0
    assert not admission._by_address


def test_a_network_of_ipv6_is_one_address():
    """Whoever has one address of a /64 has them all."""
    admission = Admission(100, 2)
    network = "2001:db8:0:7"
    here = [admission.admit(cast(socket.socket, FakeSocket()), (f"{network}::{n}", 1, 0, 0)) for n in range(3)]
    assert [arrival is not None for arrival in here] == [True, True, False]
    assert admission.admit(cast(socket.socket, FakeSocket()), ("2001:db8:0:8::1", 1, 0, 0)) is not None
    assert admission.claim(f"{network}:ffff::1") is None
    for arrival in here[:2]:
        assert arrival is not None
        arrival.leave()
    free = admission.claim(f"{network}:ffff::1")
    assert free is not None
    free()
    assert len(admission._by_address) == 1


async def test_small_answers_over_tls_do_not_wait():
    """TLS 1.3 sends tickets first, and Nagle's algorithm would keep the answer until those are acknowledged."""
    started: list[Any] = []
    lane = cast(Any, SimpleNamespace(admission=Admission(10)))
    relays = TlsRelays(cast(Any, None), settings(), 1.0, lane, lambda *task: started.append(task))
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()):
        sock, peer = listener.accept()
        with sock:
            relays.receive(sock, peer)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert len(started) == 1


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
    assert parse_address(raw) == parsed


def test_the_file_limit_bounds_the_connections(caplog):
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = room_for_connections(Settings(), 1)
    assert soft - 2 * RESERVE - 200 < room <= soft - RESERVE
    assert room_for_connections(Settings(), 3) == pytest.approx(room / 3, abs=1)
    assert room_for_connections(Settings(max_connections=5), 1) == 5
    assert not caplog.records
    assert room_for_connections(Settings(max_connections=soft), 1) == pytest.approx(room, abs=2)
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


async def test_over_the_limit_with_tls_is_an_end():
    async with running(make_app(), tls_config(), settings(max_connections=1)) as server:
        async with websocket(server.port, tls=True) as client:
            assert await server.request(b"") == b""
            assert await ask(client) == "are you there?"


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
            assert limit - RESERVE - 40 < let_in <= limit - RESERVE
        server.signal()
        assert await server.status() == 0
    finally:
        await starting.__aexit__(None, None, None)
    assert "cannot accept" not in log.read_text()


async def test_a_listener_survives_what_accept_says(caplog):
    class Listener:
        """A real descriptor that is always readable, and an accept that fails in every way."""

        def __init__(self, ready):
            self.ready = ready
            self.errors = [ConnectionAbortedError(103, "aborted"), OSError(24, "Too many open files")]

        def fileno(self):
            return self.ready.fileno()

        def accept(self):
            if self.errors:
                raise self.errors.pop(0)
            accepted.set()
            raise BlockingIOError

    accepted = trio.Event()
    reader, writer = socket.socketpair()
    with reader, writer:
        writer.send(b"x")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept_forever, Listener(reader), lambda sock, peer: None)
            with trio.fail_after(5):
                await accepted.wait()
            nursery.cancel_scope.cancel()
    assert caplog.text.count("cannot accept connections: Too many open files") == 1
