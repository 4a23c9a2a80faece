"""`serve`: binds, both lanes, lifespan, and how it stops and fails."""

import gc
import logging
import os
import signal
import socket
from contextlib import asynccontextmanager
from errno import EADDRINUSE

import pytest
import trio
import trio_websocket
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute

from nexios_trio import NexiosApp, Settings, WebSocketDisconnect, serve
from nexios_trio.server.hypercorn.stream import ServedStream
from nexios_trio.serving import ApplicationFailed, ShutdownFailed, StartupFailed
from tests.server.support import (
    DEADLINE,
    Raw,
    ask,
    config,
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


async def test_http_and_websockets_share_an_address():
    async with running(make_app()) as server:
        assert (await server.get()).endswith(b"\r\n\r\nhello")
        async with websocket(server.port) as client:
            assert await ask(client, "one") == "one"
            assert await ask(client, b"two") == b"two"


async def test_a_connection_is_kept_alive_for_several_requests():
    async with running(make_app()) as server, await server.connect() as client:
        for _ in range(3):
            await client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (await client.until(b"hello")).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("more", [b"\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\xff" * 1000])
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_what_follows_the_last_request_does_not_cost_it_the_answer(more, version):
    async with running(make_app()) as server:
        last = b"GET / HTTP/" + version + b"\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        answer = await server.request(last + more)
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.endswith(b"\r\n\r\nhello")


@pytest.mark.parametrize(("make_config", "tls"), [(config, False), (tls_config, True)])
async def test_connections_that_are_over_are_gone_without_the_collector(make_config, tls):
    """A server that tunes it collects everything once in many thousand connections, of some 20 KiB each with TLS."""

    def served():
        return sum(type(each) is ServedStream for each in gc.get_objects())

    async def visit(server, data, end):
        async with await server.connect(tls=tls) as client:
            await client.send(data)
            await client.until(end)

    gc.collect()
    gc.disable()
    try:
        before = served()
        async with running(make_app(), make_config()) as server:
            for _ in range(3):
                await visit(server, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"hello")
                await visit(server, b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", b"hello")
                await visit(server, upgrade() + frame(1, b"here"), b"here")
                await visit(server, upgrade().replace(b"\r\n", b"\n") + frame(1, b"here"), b"here")
            await eventually(lambda: served() == before)
    finally:
        gc.enable()


async def test_a_websocket_may_follow_an_http_request_on_its_connection():
    async with running(make_app()) as server, await server.connect() as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await client.until(b"hello")
        head = await client.handshake("/echo", "Sec-WebSocket-Extensions: permessage-deflate")
        assert head.startswith(b"HTTP/1.1 101")
        assert b"extensions" not in head.lower()
        await client.send(frame(1, b"hi"))
        assert await client.frame() == (1, b"hi")


@pytest.mark.parametrize("first", [b"", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"])
async def test_a_body_of_two_lengths_ends_its_connection(first):
    """A proxy that reads it the other way would take the body for the next request, or the reverse."""
    unclear = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40\r\ntransfer-encoding: chunked\r\n\r\n"
    smuggled = b"0\r\n\r\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with running(make_app()) as server:
        answer = await server.request(first + unclear + smuggled)
    assert answer.count(b"HTTP/1.1 200") == bool(first)
    assert answer.count(b"HTTP/1.1 400") == answer.count(b"HTTP/1.1") - bool(first) == 1


async def test_frames_behind_the_handshake_are_not_lost():
    async with running(make_app()) as server, await server.connect() as client:
        await client.send(upgrade() + frame(1, b"early"))
        await client.until(b"\r\n\r\n")
        assert await client.frame() == (1, b"early")


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


async def test_the_root_path_and_the_lifespans_state_reach_every_scope():
    seen = {}

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            scope["state"]["database"] = "open"
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        seen[scope["type"]] = scope["root_path"], scope["state"]
        scope["state"]["mine"] = "alone"
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 204})
            await send({"type": "http.response.body"})

    async with running(app, config(root_path="/chat")) as server:
        await server.get()
        await server.request(upgrade())
        await server.request(upgrade())
    expected = ("/chat", {"database": "open", "mine": "alone"})
    assert seen == {"http": expected, "websocket": expected}


async def test_a_starlette_application_with_websockets():
    async def talk(ws):
        await ws.accept("chat", headers=[(b"x-one", b"1")])
        async for text in ws.iter_text():
            await ws.send_json({"you": text})

    async def refuse(ws):
        await ws.close()

    routes = [
        Route("/", lambda request: PlainTextResponse("starlette")),
        WebSocketRoute("/talk", talk),
        WebSocketRoute("/refuse", refuse),
    ]
    async with running(Starlette(routes=routes)) as server:
        assert (await server.get()).endswith(b"starlette")
        async with websocket(server.port, "/talk", subprotocols=["chat"]) as client:
            assert client.subprotocol == "chat"
            assert await ask(client, "x") == '{"you":"x"}'
        assert (await server.request(upgrade("/refuse"))).startswith(b"HTTP/1.1 403")
        assert (await server.request(upgrade("/nowhere"))).startswith(b"HTTP/1.1 403")


async def test_close_codes_go_both_ways_to_any_application():
    seen = []

    async def app(scope, receive, send):
        assert scope["type"] == "websocket"
        await receive()
        await send({"type": "websocket.accept"})
        message = await receive()
        if message["type"] == "websocket.disconnect":
            seen.append((message["code"], message["reason"]))
            with pytest.raises(OSError, match="over"):
                await send({"type": "websocket.send", "text": "too late"})
        else:
            await send({"type": "websocket.close", "code": 4002, "reason": "enough"})

    async with running(app) as server:
        async with websocket(server.port) as client:
            await client.aclose(4001, "bye")
        async with websocket(server.port) as client:
            with pytest.raises(trio_websocket.ConnectionClosed) as closed:
                await ask(client)
            assert (closed.value.reason.code, closed.value.reason.reason) == (4002, "enough")
    assert seen == [(4001, "bye")]


async def test_a_handler_is_told_the_latency():
    app = make_app(settings=settings(ping_interval=0.01))
    seen = []

    @app.ws_route("/latency")
    async def latency(ws):
        await ws.accept()
        seen.append(ws.latency)
        with trio.fail_after(DEADLINE):
            while ws.latency is None:
                await trio.sleep(0.001)
        seen.append(ws.latency)
        await ws.send_text("measured")

    async with running(app, None, app.settings) as server, websocket(server.port, "/latency") as client:
        with trio.fail_after(DEADLINE):
            assert await client.get_message() == "measured"
    assert seen[0] is None
    assert 0 < seen[1] < DEADLINE


async def test_an_application_that_fails_costs_its_own_connection(caplog):
    async def app(scope, receive, send):
        if scope["path"] == "/exit":
            raise SystemExit(1)
        if scope["path"] == "/fail":
            raise RuntimeError("a bug")
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": (await receive())["text"]})
        await receive()

    async with running(app) as server, websocket(server.port) as innocent:
        assert (await server.request(upgrade("/fail"))).startswith(b"HTTP/1.1 500")
        assert (await server.request(upgrade("/exit"))).startswith(b"HTTP/1.1 500")
        await server.get("/exit")
        assert await ask(innocent) == "are you there?"
    assert caplog.text.count("the application failed") == 2


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


# Start


async def test_a_failing_startup_raises_and_nothing_listens(unused_port):
    app = make_app()

    @app.on_startup
    async def fail():
        raise RuntimeError("no database")

    with pytest.raises(StartupFailed, match="no database"):
        await serve(app, config(bind=[f"127.0.0.1:{unused_port}"]), settings=settings())
    with pytest.raises(OSError):
        await trio.open_tcp_stream("127.0.0.1", unused_port)


async def test_starlettes_failing_startup_raises():
    @asynccontextmanager
    async def lifespan(app):
        raise RuntimeError("no database")
        yield

    with pytest.raises(StartupFailed, match="no database"):
        await serve(Starlette(lifespan=lifespan), config(), settings=settings())


async def test_an_application_that_crashes_before_it_is_up_has_failed_to_start():
    async def app(scope, receive, send):
        await receive()
        raise ZeroDivisionError

    with pytest.raises(StartupFailed, match="ZeroDivisionError") as failed:
        await serve(app, config(), settings=settings())
    assert isinstance(failed.value.__cause__, ZeroDivisionError)


async def test_a_startup_that_takes_too_long():
    async def app(scope, receive, send):
        await trio.sleep_forever()

    with pytest.raises(StartupFailed, match="startup_timeout"):
        await serve(app, config(startup_timeout=0.01), settings=settings())


async def test_an_application_without_lifespan_is_served():
    async def app(scope, receive, send):
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    async with running(app) as server:
        assert (await server.get()).startswith(b"HTTP/1.1 204")


async def test_a_lifespan_that_returns_early_is_no_failure():
    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.complete"})

    async with running(app) as server:
        await server.get()


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


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"quic_bind": ["127.0.0.1:0"]}, "quic_bind is not served"),
        ({"certfile": "here.pem"}, "go together"),
        ({"certfile": "nowhere.pem", "keyfile": "nowhere.pem"}, "nowhere.pem"),
        ({"bind": ["127.0.0.1:http"]}, "HOST:PORT"),
    ],
)
async def test_what_cannot_be_served_is_said(values, text):
    with pytest.raises((OSError, ValueError), match=text):
        await serve(make_app(), config(**values), settings=settings())


async def test_settings_come_from_the_argument_the_application_or_the_environment(monkeypatch):
    seen = []

    async def app(scope, receive, send):
        if scope["type"] == "websocket":
            seen.append(scope["extensions"]["nexios_trio.transport"][0].settings.max_groups_per_channel)

    async def once(app, **options):
        async with trio.open_nursery() as nursery:
            [address] = await nursery.start(
                lambda task_status: serve(app, config(), task_status=task_status, **options)
            )
            async with Raw(await trio.open_tcp_stream("127.0.0.1", int(address.rpartition(":")[2]))) as client:
                await client.send(upgrade())
                await client.rest()
            nursery.cancel_scope.cancel()

    monkeypatch.setenv("NEXIOS_MAX_GROUPS_PER_CHANNEL", "3")
    await once(app)
    await once(app, settings=Settings(max_groups_per_channel=5))
    assert seen == [3, 5]


async def test_the_applications_own_settings_are_the_lanes(monkeypatch):
    app = NexiosApp(settings=settings(max_message_size=200))

    @app.ws_route("/echo")
    async def echo(ws):
        await ws.accept()
        await ws.receive_text()

    async with trio.open_nursery() as nursery:
        [address] = await nursery.start(lambda task_status: serve(app, config(), task_status=task_status))
        async with Raw(await trio.open_tcp_stream("127.0.0.1", int(address.rpartition(":")[2]))) as client:
            await client.handshake()
            await client.send(frame(1, b"x" * 201))
            assert await client.closed() == 1009
        nursery.cancel_scope.cancel()


# End


async def test_a_crashed_task_of_the_application_stops_the_server():
    app = make_app()
    crash = trio.Event()

    @app.on_startup
    async def start():
        async def background():
            await crash.wait()
            raise RuntimeError("the feed broke")

        app.start_soon(background)

    with pytest.raises(ApplicationFailed, match="the feed broke"):
        async with running(app) as server, await server.connect() as client:
            await client.handshake()
            crash.set()
            assert await client.closed() in (1011, 1012)
            await client.send(frame(8, b"\x03\xf4"))
            await server.stopped()


async def test_a_failing_shutdown_is_reported():
    app = make_app()

    @app.on_shutdown
    async def fail():
        raise RuntimeError("cannot flush")

    with pytest.raises(ShutdownFailed, match="cannot flush"):
        async with running(app):
            pass


async def test_a_shutdown_that_takes_too_long_is_reported():
    app = make_app()
    app.on_shutdown(trio.sleep_forever)
    with pytest.raises(ShutdownFailed, match="drain_timeout"):
        async with running(app, None, settings(drain_timeout=0.2)):
            pass


async def test_a_trigger_that_fails_stops_the_server_and_is_raised():
    async def trigger():
        raise LookupError("no such secret")

    with pytest.raises(LookupError, match="no such secret"):
        await serve(make_app(), config(), settings=settings(), shutdown_trigger=trigger)


async def test_cancellation_drains_in_a_hurry():
    events = []
    app = make_app()
    app.on_shutdown(lambda: events.append("shutdown"))
    async with trio.open_nursery() as nursery:
        patient = settings(drain_jitter=60.0, drain_timeout=300.0)

        async def run(task_status):
            await serve(app, config(), settings=patient, task_status=task_status)

        [address] = await nursery.start(run)
        stream = await trio.open_tcp_stream("127.0.0.1", int(address.rpartition(":")[2]))
        with trio.CancelScope(shield=True), trio.fail_after(DEADLINE):
            async with Raw(stream) as client:
                await client.handshake("/stubborn")
                nursery.cancel_scope.cancel()
                assert await client.closed() == 1012
    assert events == ["shutdown"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_without_a_trigger_signals_drain(number):
    async with trio.open_nursery() as nursery:

        async def run(task_status):
            await serve(make_app(), config(), settings=settings(), task_status=task_status)

        [address] = await nursery.start(run)
        async with Raw(await trio.open_tcp_stream("127.0.0.1", int(address.rpartition(":")[2]))) as client:
            await client.handshake()
            signal.raise_signal(number)
            assert await client.closed() == 1012


async def test_a_stop_during_startup_ends_it():
    async def app(scope, receive, send):
        await receive()
        await trio.sleep_forever()

    with trio.fail_after(DEADLINE):
        await serve(app, config(), settings=settings(), shutdown_trigger=trio.lowlevel.checkpoint)


async def test_nothing_is_left():
    before = open_descriptors()
    async with running(make_app(), tls_config()) as server:
        async with websocket(server.port, tls=True) as client:
            await ask(client)
    async with running(make_app()) as server:
        async with websocket(server.port) as client:
            await ask(client)
        await server.get()
    assert open_descriptors() == before


async def test_only_the_named_hosts_are_served():
    async with running(make_app(), config(server_names=["localhost"])) as server:
        assert (await server.request(upgrade().replace(b"localhost", b"other"))).startswith(b"HTTP/1.1 404")
        assert (await server.request(upgrade().replace(b"localhost", b"\xff"))).startswith(b"HTTP/1.1 400")
        async with await server.connect() as client:
            assert (await client.handshake()).startswith(b"HTTP/1.1 101")


async def test_handshakes_are_in_the_access_log():
    lines = []
    log = logging.getLogger("test.access")
    log.setLevel(logging.INFO)
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    log.addHandler(handler)
    async with running(make_app(), config(accesslog=log, access_log_format="%(R)s %(s)s")) as server:
        async with await server.connect() as client:
            await client.handshake("/echo?token=secret")
        await server.request(upgrade("/nowhere"))
        await server.get("/%0d%0aforged%22?token=secret")
    assert lines[0] == "GET /echo?... 1.1 101"
    assert lines[1] == "GET /nowhere 1.1 404"
    assert lines[2] == r"GET /\r\nforged\"?... 1.1 404" or lines[2] == r"GET /\r\nforged\"?... 1.1 400"
