"""`serve`: binds, both lanes, lifespan, and how it stops and fails."""

import signal

import pytest
import trio

from nexios_trio import NexiosApp, Settings, serve
from tests.server.support import (
    DEADLINE,
    Raw,
    ask,
    config,
    frame,
    make_app,
    open_descriptors,
    running,
    settings,
    tls_config,
    upgrade,
    websocket,
)

# Start


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
            seen.append(scope["extensions"]["nexios_trio.transport"].transport.settings.max_groups_per_channel)

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
