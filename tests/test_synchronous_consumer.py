"""Consumers with a plain `on_receive`: which are refused, and when; what else they see."""

import functools
from typing import Any

import pytest
import trio

from nexios_trio import NexiosApp, Router
from nexios_trio.testing import World, connect, run_app
from nexios_trio.websockets import Channel, ChannelBox, WebSocket, WebSocketConsumer
from tests.wire import house, settle


class Echo(WebSocketConsumer):
    def on_receive(self, ws: WebSocket, data: Any) -> None:
        ws.send_nowait(data)


async def never(channel: Any, group: str, action: str) -> bool:
    return False


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize("name", ["on_connect", "on_disconnect"])
def test_on_connect_and_on_disconnect_are_async(name: str) -> None:
    with pytest.raises(TypeError, match=rf"Mixed.{name} is not async: .* declare it with `async def`"):
        type("Mixed", (Echo,), {name: lambda self, *args: None})


@pytest.mark.parametrize("name", ["on_decode_error", "on_invalid"])
def test_hooks_that_nobody_could_await(name: str) -> None:
    async def hook(self: Any, ws: Any, error: Any) -> None:
        await trio.lowlevel.checkpoint()

    with pytest.raises(TypeError, match=f"on_receive is synchronous, so nobody can await {name}"):
        type("Mixed", (Echo,), {name: hook})


ROUTES = {
    "a class": Echo,
    "an instance": Echo(),
    "partial": functools.partial(Echo()),
    "as_route": None,
}


@pytest.mark.parametrize("kind", ROUTES)
@pytest.mark.parametrize("where", ["application", "router", "mounted before", "routes"])
@pytest.mark.parametrize("how", ["authorize", "box"])
def test_an_authorize_that_has_to_be_awaited(kind: str, where: str, how: str) -> None:
    options: Any = {"authorize": never} if how == "authorize" else {"box": ChannelBox(authorize=never)}
    route = Echo.as_route("/") if ROUTES[kind] is None else ROUTES[kind]
    args = (route,) if ROUTES[kind] is None else ("/", route)
    app = NexiosApp(**options)
    router, inner = Router(prefix="/outer"), Router(prefix="/inner")
    with pytest.raises(TypeError, match=r"on_receive is synchronous, so nobody can await the authorize"):
        match where:
            case "application":
                app.add_ws_route(*args)
            case "router":
                inner.add_ws_route(*args)
                router.mount_router(inner)
                app.mount_router(router)
            case "mounted before":
                router.mount_router(inner)
                app.mount_router(router)
                inner.add_ws_route(*args)
            case "routes":
                inner.add_ws_route(*args)
                NexiosApp(routes=[inner], **options)
    assert not list(app._walk("")) or where == "routes"


def test_others_may_have_one() -> None:
    NexiosApp(authorize=never).add_ws_route("/", WebSocketConsumer)
    NexiosApp(authorize=lambda channel, group, action: True).add_ws_route("/", Echo)


# ---------------------------------------------------------------- what it sees


async def test_events_of_its_channel() -> None:
    seen: list[Any] = []

    async def slow(channel: Channel, *what: Any) -> None:
        await trio.lowlevel.checkpoint()
        seen.append(("slow", *map(str, what)))

    def fails(channel: Channel, *what: Any) -> None:
        raise ZeroDivisionError("a handler's")

    class Json(Echo):
        encoding = "json"

        async def on_connect(self, ws: WebSocket) -> None:
            await ws.accept()
            self.channel.on_message(lambda channel, message: seen.append(("message", message)))
            self.channel.on_message(slow)
            self.channel.on_message(fails)
            self.channel.on_error(lambda channel, error: seen.append(("error", type(error).__name__)))

        def on_receive(self, ws: WebSocket, data: Any) -> None:
            seen.append(("on_receive", data))

        def on_decode_error(self, ws: WebSocket, error: ValueError) -> None:
            seen.append(("on_decode_error", type(error).__name__))

    async with house() as inside:
        wire = await inside.connect(Json())
        wire.say("1")
        await settle()
        assert seen[:2] == [("message", 1), ("on_receive", 1)]
        assert sorted(seen[2:]) == [("error", "ZeroDivisionError"), ("slow", "1")]
        seen.clear()
        wire.say("{")
        await settle()
        assert sorted(seen) == [("error", "InvalidJson"), ("on_decode_error", "InvalidJson")]


@pytest.mark.parametrize("encoding", ["json", "text", "bytes", None])
async def test_whoever_speaks_hears_itself_for_hours(autojump_clock: Any, encoding: Any) -> None:
    class Chat(Echo):
        async def on_connect(self, ws: WebSocket) -> None:
            await ws.accept()
            self.join_nowait("tea")

        def on_receive(self, ws: WebSocket, data: Any) -> None:
            self.broadcast_nowait("x", "tea")

    Chat.encoding = encoding
    async with house() as inside:
        wire = await inside.connect(Chat())
        for minute in range(0, 200, 50):
            await trio.sleep(50 * 60)
            wire.say(b"1" if encoding == "bytes" else "1")
            await settle()
            assert len(wire.messages) == 1, minute
        await trio.sleep(61 * 60)
        assert wire.closes == [(1001, "expired")]


async def test_in_a_world_with_delays(autojump_clock: Any) -> None:
    app = NexiosApp()
    app.add_ws_route("/", Echo)
    async with run_app(app), connect(app) as client:
        for number in range(100):
            await client.send_text(str(number))
        assert [await client.receive() for _ in range(100)] == [str(number) for number in range(100)]
    async with World(app) as world, world.connect("/") as one, world.connect("/") as two:
        for client in (one, two):
            await client.send_text("x")
            assert await client.receive() == "x"


async def test_what_is_raised_while_the_connection_ends() -> None:
    """An error after the peer's end was seen is an error all the same."""
    seen: list[Any] = []

    class Failing(Echo):
        def on_receive(self, ws: WebSocket, data: Any) -> None:
            ws.close_nowait(4000, "bye")
            raise ZeroDivisionError("after it")

        async def on_disconnect(self, ws: WebSocket, close_code: int) -> None:
            await trio.lowlevel.checkpoint()
            seen.append(close_code)

    async with house() as inside:
        wire = await inside.connect(Failing())
        wire.say("x")
        await settle()
        assert wire.closes == [(4000, "bye")]
    assert seen == [4000]
