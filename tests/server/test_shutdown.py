"""How the server stops: everyone is told, nobody can hold it up, the application goes last."""

import signal

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from nexios_trio import NexiosApp, serve
from nexios_trio.server import stop_signals
from nexios_trio.server.shutdown import DrainSchedule
from tests.server.support import (
    DEADLINE,
    Raw,
    config,
    frame,
    make_app,
    running,
    settings,
    tls_config,
    upgrade,
    websocket,
)

seconds = st.floats(min_value=0, max_value=1e6)


@given(now=seconds, timeout=seconds, jitter=seconds, grace=seconds, later=seconds)
def test_no_step_is_after_the_next(now, timeout, jitter, grace, later):
    schedule = DrainSchedule.starting(now, timeout, jitter, grace)
    assert now <= schedule.last_close <= schedule.cancel <= schedule.reset <= schedule.end == now + timeout
    hurried = schedule.hurried(now + later)
    assert hurried.last_close <= hurried.cancel <= hurried.reset <= hurried.end
    assert hurried.cancel <= now + later
    assert hurried.reset <= schedule.reset


async def test_every_client_is_told():
    async with running(make_app(), tls_config(insecure_bind=["127.0.0.1:0"])) as server:
        plain = int(server.addresses[1].rpartition(":")[2])
        async with websocket(plain) as one, websocket(plain) as two, websocket(server.port, tls=True) as three:
            server.stop()
            for client in (one, two, three):
                with trio.fail_after(DEADLINE), pytest.raises(Exception, match="1012"):
                    await client.get_message()


async def test_goodbyes_are_spread_over_the_jitter():
    async with running(make_app(), None, settings(drain_jitter=0.2)) as server:
        clients = [await server.connect() for _ in range(5)]
        for client in clients:
            await client.handshake()
        begun = trio.current_time()
        server.stop()
        for client in clients:
            assert await client.closed() == 1012
            await client.send(frame(8, b"\x03\xf4"))
            await trio.aclose_forcefully(client.stream)
        assert trio.current_time() - begun >= 0.2 * 4 / 5


async def test_what_is_queued_comes_before_the_goodbye():
    app = make_app()
    sent = trio.Event()

    @app.ws_route("/flood")
    async def flood(ws):
        await ws.accept()
        for number in range(200):
            await ws.send_bytes(b"%3d" % number + b"x" * 20_000)
            if number == 100:  # more than the kernel takes, less than the outbox
                sent.set()
        await ws.receive()

    async with running(app) as server, await server.connect() as client:
        await client.handshake("/flood")
        await sent.wait()
        server.stop()
        await refused(server)
        numbers = []
        while (message := await client.frame())[0] != 8:
            numbers.append(int(message[1][:3]))
    assert len(numbers) > 100
    assert numbers == list(range(len(numbers)))
    assert message == (8, b"\x03\xf4the server stops")


async def refused(server):
    """Nobody listens any more."""
    while True:
        try:
            client = await server.connect()
        except OSError:
            return
        await trio.aclose_forcefully(client.stream)


async def test_a_handler_may_finish_its_work():
    done = []
    app = make_app()

    @app.ws_route("/work")
    async def work(ws):
        await ws.accept()
        await ws.receive()
        with trio.fail_after(DEADLINE):
            for _ in range(100):
                await trio.lowlevel.checkpoint()
        done.append("work")

    app.on_shutdown(lambda: done.append("shutdown"))
    async with running(app) as server, await server.connect() as client:
        await client.handshake("/work")
        server.stop()
        assert await client.closed() == 1012
    assert done == ["work", "shutdown"]


async def test_a_handler_that_does_not_notice_is_cancelled():
    events = []
    app = make_app()

    @app.ws_route("/sleep")
    async def sleep(ws):
        await ws.accept()
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            events.append("cancelled")
            raise

    app.on_shutdown(lambda: events.append("shutdown"))
    async with running(app, config(graceful_timeout=0.05)) as server, await server.connect() as client:
        await client.handshake("/sleep")
        server.stop()
        assert await client.closed() == 1012
        await client.send(frame(8, b"\x03\xf4"))
        await server.stopped()
    assert events == ["cancelled", "shutdown"]


@pytest.mark.parametrize("make_config", [config, tls_config])
@pytest.mark.parametrize("path", ["/flood", "/download"])
async def test_a_peer_that_does_not_read_holds_nothing_up(make_config, path):
    app = NexiosApp(settings=settings())

    @app.ws_route("/flood")
    async def flood(ws):
        await ws.accept()
        while True:
            await ws.send_bytes(b"x" * 50_000)

    @app.get("/download")
    async def download(req, res):
        return res.bytes(b"x" * 50_000_000)

    timeout = 0.8
    async with running(app, make_config(), settings(drain_timeout=timeout)) as server:
        async with await server.connect(tls=make_config is tls_config) as client:
            if path == "/flood":
                await client.handshake(path)
            else:
                await client.send(b"GET /download HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await client.exactly(1)
            server.stop()
            begun = trio.current_time()
            await server.stopped()
            assert trio.current_time() - begun < timeout + 2  # a busy machine, not another mechanism


async def test_who_is_not_accepted_yet_gets_503():
    app = make_app()
    arrived = trio.Event()

    @app.ws_route("/slow")
    async def slow(ws):
        arrived.set()
        await trio.sleep_forever()

    async with running(app, config(graceful_timeout=0)) as server:
        async with await server.connect() as client:
            await client.send(upgrade("/slow"))
            await arrived.wait()
            server.stop()
            assert (await client.rest()).startswith(b"HTTP/1.1 503")


async def test_a_request_under_way_is_answered_and_idle_connections_are_closed():
    app = make_app()
    arrived, go_on = trio.Event(), trio.Event()

    @app.get("/slow")
    async def slow(req, res):
        arrived.set()
        await go_on.wait()
        return res.text("done")

    async with running(app) as server, await server.connect() as idle, await server.connect() as busy:
        await idle.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await idle.until(b"hello")
        await busy.send(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await arrived.wait()
        server.stop()
        assert await idle.rest() == b""
        go_on.set()
        assert (await busy.rest()).endswith(b"done")


async def test_a_second_signal_hurries(monkeypatch):
    monkeypatch.setattr(stop_signals, "SAME_SIGNAL_SECONDS", 0.0)
    patient = settings(drain_jitter=100.0, drain_timeout=1000.0)
    begun = trio.current_time()
    async with trio.open_nursery() as nursery:

        async def run(task_status):
            await serve(make_app(), config(graceful_timeout=1000), settings=patient, task_status=task_status)

        [address] = await nursery.start(run)
        async with Raw(await trio.open_tcp_stream("127.0.0.1", int(address.rpartition(":")[2]))) as client:
            await client.handshake("/stubborn")
            signal.raise_signal(signal.SIGTERM)
            assert await client.closed() == 1012  # the first of the spread goodbyes goes out at once
            signal.raise_signal(signal.SIGTERM)
            await client.rest()
    assert trio.current_time() - begun < DEADLINE


async def test_the_same_signal_twice_does_not_hurry():
    finished = []
    app = make_app()
    go_on = trio.Event()

    @app.ws_route("/work")
    async def work(ws):
        await ws.accept()
        await ws.receive()
        await go_on.wait()
        finished.append(True)

    async with trio.open_nursery() as nursery:

        async def run(task_status):
            await serve(app, config(), settings=settings(), task_status=task_status)

        [address] = await nursery.start(run)
        async with Raw(await trio.open_tcp_stream("127.0.0.1", int(address.rpartition(":")[2]))) as client:
            await client.handshake("/work")
            signal.raise_signal(signal.SIGTERM)
            assert await client.closed() == 1012
            signal.raise_signal(signal.SIGTERM)
            await client.send(frame(8, b"\x03\xf4"))
            go_on.set()
    assert finished


async def test_a_drain_without_time_ends_at_once():
    async with running(make_app(), None, settings(drain_timeout=0.0)) as server, await server.connect() as client:
        await client.handshake("/stubborn")
        server.stop()
        await server.stopped()
