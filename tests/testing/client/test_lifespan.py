"""`run_app`, and the client against our own applications, with and without a lifespan."""

import pytest
import trio

from nexios_trio.application import NexiosApp
from nexios_trio.testing import Broker, Unmet, run_app
from nexios_trio.testing.client import connect
from nexios_trio.websockets import ChannelBox, WebSocket, open_channel


def make_app() -> NexiosApp:
    app = NexiosApp()

    @app.ws_route("/ws/chat/{room}")
    async def chat(ws: WebSocket, room: str):
        async with open_channel(ws) as channel, channel.member(room):
            async for message in channel:
                await ChannelBox.group_send(room, message)

    return app


@pytest.mark.parametrize("server", ["hypercorn", "direct"])
@pytest.mark.parametrize("running", [True, False])
async def test_the_chat(server, running):
    app = make_app()

    async def talk():
        async with connect(app, "/ws/chat/1", server=server) as one, connect(app, "/ws/chat/1", server=server) as two:
            await trio.testing.wait_all_tasks_blocked()
            await one.send_json("hello")
            assert [await one.receive_json(), await two.receive_json()] == ["hello", "hello"]
            assert app.box.size_of("1") == 2
        assert app.box.size_of("1") == 0

    if running:
        async with run_app(app) as same:
            assert same is app
            await talk()
    else:
        await talk()


async def test_startup_and_shutdown_run_and_state_is_shared():
    log = []
    app = NexiosApp(lifespan=None)
    app.on_startup(lambda: log.append("start"))
    app.on_shutdown(lambda: log.append("stop"))
    async with run_app(app):
        assert log == ["start"]
    assert log == ["start", "stop"]


async def test_the_state_of_the_lifespan_reaches_connections():
    seen = []

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            scope["state"]["db"] = "open"
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        else:
            seen.append(scope["state"])
            await send({"type": "websocket.accept"})
            await receive()
            await receive()

    async with run_app(app):
        async with connect(app):
            pass
    async with connect(app):
        pass
    assert seen == [{"db": "open"}, {}]


async def test_a_failing_startup():
    app = NexiosApp()

    @app.on_startup
    def boom():
        raise ZeroDivisionError("at startup")

    with pytest.raises(Unmet, match=r"expected lifespan.startup.complete, .* ZeroDivisionError: at startup"):
        async with run_app(app):
            raise AssertionError("never here")


async def test_a_slow_startup(autojump_clock):
    async def app(scope, receive, send):
        await trio.sleep(10)

    with pytest.raises(Unmet, match="within 2 s"):
        async with run_app(app, timeout=2):
            pass


async def test_a_crash_while_running_cancels_the_block():
    async def crash():
        raise ZeroDivisionError("in the background")

    app = NexiosApp()
    with pytest.raises(ZeroDivisionError, match="in the background"):
        async with run_app(app):
            app.start_soon(crash)
            await trio.sleep_forever()


async def test_the_block_comes_first():
    log = []
    app = NexiosApp()
    app.on_shutdown(lambda: log.append("stop"))
    with pytest.raises(KeyError, match="block"):
        async with run_app(app):
            raise KeyError("block")
    assert log == ["stop"]


async def test_an_application_without_a_lifespan():
    async def app(scope, receive, send):
        pass

    async with run_app(app):
        pass


async def keep(app: NexiosApp) -> None:
    await app.box.group_send("tea", "hello", save_history=True)


async def kept(app: NexiosApp) -> list[object]:
    return [message.payload for message in await app.box.show_history("tea")]


async def test_tests_with_one_application_do_not_see_each_other_s_messages():
    app = make_app()
    await keep(app)
    async with run_app(app):
        assert await kept(app) == ["hello"]  # what a test has prepared is there
        async with run_app(app):
            await keep(app)
        assert await kept(app) == ["hello", "hello"]
    assert await kept(app) == []


async def test_nor_those_of_a_test_that_failed():
    app = make_app()
    with pytest.raises(ZeroDivisionError):
        async with run_app(app):
            await keep(app)
            raise ZeroDivisionError
    with trio.CancelScope() as scope:
        async with run_app(app):
            await keep(app)
            scope.cancel()
            await trio.sleep_forever()
    assert await kept(app) == []


async def test_an_engine_that_outlives_a_process_keeps_its_histories():
    broker = Broker()
    app = NexiosApp(box=ChannelBox(engine=broker.engine()))
    async with run_app(app):
        await keep(app)
    async with run_app(app):
        assert await kept(app) == ["hello"]


async def test_what_somebody_is_still_connected_to_forgets_nothing():
    app = make_app()
    async with connect(app, "/ws/chat/tea"):
        async with run_app(app):
            await keep(app)
        assert await kept(app) == ["hello"]
