"""Pings and pongs in virtual time: who answers stays, who does not is closed, and nobody is blamed for our slowness."""

import pytest
import trio

from nexios_trio.realtime.protocol.codecs import JSON, PROTOBUF
from nexios_trio.realtime.protocol.requests import Command, RPCRequest
from tests.realtime.support import PATH, open_app, talking

both = pytest.mark.parametrize("codec", [JSON, PROTOBUF], ids=["json", "protobuf"])


async def pong(talker):
    await talker.send_raw("{}" if talker.codec is JSON else b"\x00")


@both
async def test_who_answers_pings_stays(codec, autojump_clock):
    app, _ = open_app()
    async with talking(app, codec, timeout=100.0) as talker:
        start = trio.current_time()
        for number in range(1, 5):
            while talker.pings < number:
                await talker.read()
            await pong(talker)
        assert trio.current_time() - start == pytest.approx(100.0, abs=1.0)


@both
async def test_who_does_not_is_closed(codec, autojump_clock):
    app, _ = open_app()
    async with talking(app, codec, timeout=100.0) as talker:
        start = trio.current_time()
        await talker.read()
        assert talker.pings == 1
        assert await talker.closed() == 3012
        assert trio.current_time() - start == pytest.approx(33.0, abs=1.0)


async def test_a_pong_that_nobody_asked_for(autojump_clock):
    app, _ = open_app()
    async with talking(app) as talker:
        await pong(talker)
        assert await talker.client.receive_close() == (3501, "a pong that nobody asked for")


async def test_a_pong_that_waits_behind_a_slow_handler_counts(autojump_clock):
    app, realtime = open_app()

    @realtime.rpc("slow")
    async def slow(client):
        await trio.sleep(60)

    async with talking(app, timeout=200.0) as talker:
        await talker.send(Command(9, RPCRequest(method="slow")))
        await talker.read()
        await pong(talker)
        assert (await talker.answer(9)).data.value is None
        while talker.pings < 2:
            await talker.read()
        await pong(talker)


async def test_times_are_the_endpoints(autojump_clock):
    app, _ = open_app()
    app.realtime("/quick", ping_interval=2.5, pong_timeout=0.5, connect_timeout=1.0)
    async with talking(app, path="/quick", connects=False, timeout=100.0) as talker:
        assert await talker.closed() == 3502
    async with talking(app, path="/quick", connects=False, timeout=100.0) as talker:
        assert (await talker.connect()).ping == 3
        start = trio.current_time()
        await talker.read()
        assert await talker.closed() == 3012
        assert trio.current_time() - start == pytest.approx(3.0, abs=0.2)


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), 100_000])
@pytest.mark.parametrize("name", ["ping_interval", "pong_timeout", "connect_timeout"])
def test_bad_times_are_refused(name, seconds):
    app, _ = open_app()
    with pytest.raises(ValueError, match=name):
        app.realtime("/x", **{name: seconds})


@pytest.mark.parametrize(
    ("register", "text"),
    [
        (lambda r: r.on_connect(lambda: None), "on_connect is a function \\(client\\)"),
        (lambda r: r.on_connect(7), "not 7"),
        (lambda r: r.rpc("m")(lambda client, a, b: None), "an rpc is a function \\(client\\) or \\(client, data\\)"),
        (lambda r: r.rpc(lambda client: None), 'as in @realtime.rpc\\("add"\\)'),
        (lambda r: r.on_publish("a")(lambda client: None), "on_publish is a function \\(client, group\\)"),
        (lambda r: r.groups("a", subscribe=1), "subscribe is True, False or a function"),
        (lambda r: r.groups(7), "a pattern of group names is a str"),
    ],
)
def test_mistakes_in_registering_are_told(register, text):
    _, realtime = open_app()
    with pytest.raises(TypeError, match=text):
        register(realtime)


def test_more_mistakes():
    app, realtime = open_app()
    realtime.rpc("twice")(lambda client: None)
    with pytest.raises(ValueError, match="has a function already"):
        realtime.rpc("twice")(lambda client: None)
    with pytest.raises(TypeError, match="authorize is a function"):
        app.realtime(PATH, authorize=lambda client: True)
