"""Connections with a synchronous consumer have no task while nothing has to be done for them, and lack nothing by it."""

import functools
import gc
import logging
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from nexios_trio import NexiosApp, Router
from nexios_trio.connections.message_calls import MAX_CALLS
from nexios_trio.exceptions import WebSocketDisconnect
from nexios_trio.server.idle_connections import IdleConnections
from nexios_trio.testing.checks.stacks import all_tasks
from nexios_trio.transports.direct import DirectTransport
from nexios_trio.websockets import WebSocket, WebSocketConsumer
from tests.server.support import Raw, Running, frame, make_app, running, settings

TEXT = 1
name: ContextVar[str] = ContextVar("name", default="nobody")
seen: list[Any] = []


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    seen.clear()


class Told(WebSocketConsumer):
    """Answers each message, and notes when it is over."""

    async def on_connect(self, ws: WebSocket) -> None:
        name.set(ws.query_params.get("name", ""))

    def on_receive(self, ws: WebSocket, data: Any) -> None:
        ws.send_nowait(data)

    async def on_disconnect(self, ws: WebSocket, close_code: int) -> None:
        await trio.lowlevel.checkpoint()
        seen.append((close_code, name.get()))


def told(**methods: Any) -> type[Told]:
    return type("Consumer", (Told,), methods)


async def connected(server: Running, path: str = "/") -> Raw:
    client = await server.connect()
    head = await client.handshake(path)
    assert head.startswith(b"HTTP/1.1 101"), head
    await wait_all_tasks_blocked(0.005)
    return client


async def say(client: Raw, *texts: str) -> None:
    await client.send(b"".join(frame(TEXT, text.encode()) for text in texts))


async def hear(client: Raw, count: int = 1) -> list[str]:
    return [(await client.frame())[1].decode() for _ in range(count)]


async def echoed(client: Raw, text: str = "x") -> None:
    await say(client, text)
    assert await hear(client) == [text]


@asynccontextmanager
async def serving(handler: Any, app: NexiosApp | None = None, **options: Any) -> AsyncIterator[Running]:
    app = app or make_app()
    app.add_ws_route(handler) if not isinstance(handler, type) and hasattr(handler, "path") else app.add_ws_route(
        "/", handler, **options
    )
    async with running(app) as server:
        await wait_all_tasks_blocked(0.005)
        yield server


async def tasks_of(server: Running, connections: int = 5, path: str = "/") -> int:
    """How many tasks so many connections have: one of the server's may stand for all of them."""
    before = all_tasks()
    clients = [await connected(server, path) for _ in range(connections)]
    for client in clients:
        await echoed(client)
    await wait_all_tasks_blocked(0.005)
    count = len(all_tasks() - before)
    for client in clients:
        await trio.aclose_forcefully(client.stream)
    await wait_all_tasks_blocked(0.005)
    return count


@pytest.mark.parametrize("how", ["class", "instance", "as_route", "router"])
async def test_no_task_while_it_is_idle(how: str) -> None:
    handler: Any = {"class": Told, "instance": Told(), "as_route": Told.as_route("/"), "router": Told}[how]
    app = make_app()
    if how == "router":
        router = Router()
        router.add_ws_route("/in/{room}", Told)
        app.mount_router(router)
    async with serving(handler, app) as server:
        path = "/in/tea" if how == "router" else "/"
        assert await tasks_of(server, path=path) == 1  # which stays until the server stops
        assert await tasks_of(server, path=path) == 0
    assert seen == [(1006, "")] * 10


def around(handler: Any) -> Any:
    @functools.wraps(handler)
    async def decorated(ws: WebSocket) -> None:
        await handler(ws)
        seen.append("behind it")

    return decorated


async def inner(ws: WebSocket) -> None:
    await Told()(ws)
    seen.append("behind it")


class Outer(Told):
    async def on_connect(self, ws: WebSocket) -> None:
        await Told()(ws)
        seen.append("behind it")


class OwnCall(Told):
    async def __call__(self, websocket: WebSocket) -> None:
        await super().__call__(websocket)
        seen.append("behind it")


async def middleware(ws: WebSocket, call_next: Callable[..., Any]) -> None:
    await call_next(ws)
    seen.append("behind it")


@pytest.mark.parametrize(
    ("handler", "options"),
    [
        pytest.param(inner, {}, id="called-by-a-handler"),
        pytest.param(around(Told.as_route("/").handler), {}, id="decorated"),
        pytest.param(Outer, {}, id="called-by-a-consumer"),
        pytest.param(OwnCall, {}, id="own-call"),
        pytest.param(Told, {"middleware": [middleware]}, id="middleware"),
    ],
)
async def test_what_stands_around_it_waits_for_its_end(handler: Any, options: Any) -> None:
    async with serving(handler, **options) as server:
        client = await connected(server)
        await echoed(client)
        assert seen == []
        await client.send(frame(8, b""))
        await client.closed()
        await wait_all_tasks_blocked(0.005)
        assert seen[:2] == [(1005, ""), "behind it"]
        await client.stream.aclose()


async def test_a_flood_and_idle_again() -> None:
    many = [str(number) for number in range(5 * MAX_CALLS)]
    async with serving(Told) as server:
        client = await connected(server)
        at_rest = len(all_tasks())
        for _ in range(3):
            await say(client, *many)
            assert await hear(client, len(many)) == many
            await wait_all_tasks_blocked(0.005)
            assert len(all_tasks()) == at_rest
        await client.stream.aclose()


async def test_its_tasks_have_its_context_and_end_with_it() -> None:
    async def work(ws: WebSocket, text: str) -> None:
        if text == "stay":
            try:
                await trio.sleep_forever()
            finally:
                seen.append(("cancelled", name.get()))
        await ws.send_text(f"{text} of {name.get()}")

    def on_receive(self: Any, ws: WebSocket, data: str) -> None:
        name.set(f"{name.get()}{data[0]}")
        ws.start_soon(work, ws, data)

    async with serving(told(on_receive=on_receive)) as server:
        client = await connected(server, "/?name=ann")
        at_rest = len(all_tasks())
        await say(client, "1")
        assert await hear(client) == ["1 of ann1"]
        await say(client, "2", "3")
        assert sorted(await hear(client, 2)) == ["2 of ann12", "3 of ann123"]
        await wait_all_tasks_blocked(0.005)
        assert len(all_tasks()) == at_rest
        await say(client, "stay")
        await say(client, "5")
        assert await hear(client) == ["5 of ann123s5"]
        await client.stream.aclose()
        await wait_all_tasks_blocked(0.005)
    assert sorted(map(str, seen)) == ["('cancelled', 'ann123s')", "(1006, 'ann123s5')"]


async def test_a_task_that_fails_ends_it(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise LookupError("of a task")

    async with serving(told(on_receive=lambda self, ws, data: ws.start_soon(fail))) as server:
        good, bad = await connected(server), await connected(server)
        await say(bad, "x")
        assert await bad.closed() == 1011
        await wait_all_tasks_blocked(0.005)
        assert seen == [(1012, "")]  # cancelled, as whatever the failed task's nursery had
        await good.stream.aclose()
        await bad.stream.aclose()
    assert "of a task" in caplog.text


@pytest.mark.parametrize("how", ["closed", "gone", "posted"])
async def test_without_hooks_of_its_own(how: str) -> None:
    class Plain(WebSocketConsumer):
        def on_receive(self, ws: WebSocket, data: Any) -> None:
            self.join_nowait("room")
            ws.send_nowait(data)
            if data == "leave":
                ws.start_soon(trio.sleep_forever)
                ws.close_nowait(4000)

    app = make_app()
    async with serving(Plain, app) as server:
        client = await connected(server)
        await echoed(client)
        assert len(app.box._index.groups) == 1
        if how == "closed":
            await client.send(frame(8, b"\x0f\xa0"))
        elif how == "posted":
            await say(client, "leave")
        if how != "gone":
            assert await client.closed() == 4000
        await client.stream.aclose()
        await wait_all_tasks_blocked(0.005)
        assert (len(app.box._index.groups), len(app.runtime.sessions)) == (0, 0)
    assert app.runtime.counts.ended == {{"closed": "peer_closed", "gone": "peer_lost", "posted": "local_close"}[how]: 1}


async def test_hooks_of_an_instance() -> None:
    class Made(WebSocketConsumer):
        def __init__(self) -> None:
            super().__init__()
            self.on_connect = self.hook  # type: ignore[method-assign, assignment]
            self.on_disconnect = self.hook  # type: ignore[method-assign, assignment]

        async def hook(self, ws: WebSocket, *code: int) -> None:
            seen.append(code)

        def on_receive(self, ws: WebSocket, data: Any) -> None:
            ws.send_nowait(data)

    async with serving(Made) as server:
        client = await connected(server)
        await echoed(client)
        await client.stream.aclose()
        await wait_all_tasks_blocked(0.005)
    assert seen == [(), (1006,)]


@pytest.mark.parametrize("has_on_disconnect", [True, False])
async def test_an_error_behind_the_end_is_told(has_on_disconnect: bool, caplog: pytest.LogCaptureFixture) -> None:
    class Closing(WebSocketConsumer):
        def on_receive(self, ws: WebSocket, data: Any) -> None:
            ws.close_nowait(4000)
            raise LookupError("behind the end")

    class Told(Closing):
        async def on_disconnect(self, ws: WebSocket, close_code: int) -> None:
            seen.append(close_code)

    async with serving(Told if has_on_disconnect else Closing) as server:
        client = await connected(server)
        await say(client, "x")
        assert await client.closed() == 4000
        await client.stream.aclose()
        await wait_all_tasks_blocked(0.005)
    assert caplog.text.count("LookupError: behind the end") == 1
    assert seen == [4000] * has_on_disconnect


async def test_a_task_that_is_started_behind_the_end_begins() -> None:
    async def work() -> None:
        seen.append("begun")

    class Closing(WebSocketConsumer):
        def on_receive(self, ws: WebSocket, data: Any) -> None:
            ws.close_nowait(4000)
            ws.start_soon(work)

    async with serving(Closing) as server:
        client = await connected(server)
        await say(client, "x")
        assert await client.closed() == 4000
        await client.stream.aclose()
        await wait_all_tasks_blocked(0.005)
        assert seen == ["begun"]


async def test_a_peer_that_has_left_while_it_was_greeted() -> None:
    has_left = trio.Event()

    async def on_connect(self: Any, ws: WebSocket) -> None:
        await ws.accept()
        await has_left.wait()

    async with serving(told(on_connect=on_connect)) as server:
        client = await connected(server)
        await client.stream.aclose()
        await wait_all_tasks_blocked(0.005)
        has_left.set()
        await wait_all_tasks_blocked(0.005)
        assert seen == [(1006, "nobody")]


async def test_a_nursery_that_is_cancelled_wakes_those_that_are_idle() -> None:
    class Idling:
        def wake(self) -> None:
            seen.append("woken")

    async with trio.open_nursery() as nursery:
        IdleConnections(nursery.start_soon).add(Idling())
        await wait_all_tasks_blocked()
        assert seen == []
        nursery.cancel_scope.cancel()
    assert seen == ["woken"]


async def test_who_is_told_of_the_end_hears_of_it_who_receives() -> None:
    """Events of the channel are behind the end, where there is no on_disconnect as well."""

    class Receiving(WebSocketConsumer):
        async def on_connect(self, ws: WebSocket) -> None:
            async def receive(channel: Any) -> None:
                with pytest.raises(WebSocketDisconnect):
                    await ws.receive_text()
                seen.append("told")

            self.channel.on_disconnect(receive)

        def on_receive(self, ws: WebSocket, data: Any) -> None:
            ws.send_nowait(data)

    async with serving(Receiving) as server:
        client = await connected(server)
        await echoed(client)
        await client.stream.aclose()
        await wait_all_tasks_blocked(0.005)
    assert seen == ["told"]


async def test_a_stranger_starts_a_task_in_it() -> None:
    members: dict[str, WebSocket] = {}

    async def work(ws: WebSocket) -> None:
        await ws.send_text(name.get())

    async def on_connect(self: Any, ws: WebSocket) -> None:
        name.set(ws.query_params["name"])
        members[name.get()] = ws

    def on_receive(self: Any, ws: WebSocket, data: str) -> None:
        members[data].start_soon(work, members[data])

    async with serving(told(on_connect=on_connect, on_receive=on_receive)) as server:
        ann, bob = await connected(server, "/?name=ann"), await connected(server, "/?name=bob")
        await say(ann, "bob")
        assert await hear(bob) == ["bob"]
        await say(ann, "ann")
        assert await hear(ann) == ["ann"]
        await ann.stream.aclose()
        await bob.stream.aclose()


async def test_a_task_from_on_connect_and_idle_when_that_is_over() -> None:
    is_enough = trio.Event()

    async def ticker() -> None:
        await is_enough.wait()

    async def on_connect(self: Any, ws: WebSocket) -> None:
        ws.start_soon(ticker)

    async with serving(told(on_connect=on_connect)) as server:
        before = len(all_tasks())
        client = await connected(server)
        await echoed(client)
        assert len(all_tasks()) == before + 2  # its own, and the ticker
        is_enough.set()
        await wait_all_tasks_blocked(0.005)
        assert len(all_tasks()) == before + 1
        await echoed(client)
        await client.stream.aclose()


async def test_nobody_else_may_receive_meanwhile() -> None:
    sockets: list[WebSocket] = []

    async def on_connect(self: Any, ws: WebSocket) -> None:
        sockets.append(ws)

    async with serving(told(on_connect=on_connect)) as server:
        client = await connected(server)
        with pytest.raises(trio.BusyResourceError):
            await sockets[0].receive_text()
        await echoed(client)
        await client.stream.aclose()


async def test_a_stranger_that_receives_first_ends_it(caplog: pytest.LogCaptureFixture) -> None:
    """As where a task waits: the second to receive is told so, and nothing of the connection is left."""

    async def receive(ws: WebSocket) -> None:
        with suppress(WebSocketDisconnect):
            await ws.receive_text()

    async with trio.open_nursery() as strangers:

        async def on_connect(self: Any, ws: WebSocket) -> None:
            await ws.accept()
            strangers.start_soon(receive, ws)
            await wait_all_tasks_blocked()

        async with serving(told(on_connect=on_connect)) as server:
            client = await connected(server)
            assert await client.closed() == 1011
            await client.stream.aclose()
            await wait_all_tasks_blocked(0.005)
            assert seen == [(1011, "nobody")]
    assert "another task is already receiving" in caplog.text


async def test_what_is_kept_for_the_end(autojump_clock: Any) -> None:
    """A time to live, of a channel and of a connection, ends one that is idle."""

    class Short(Told):
        expires = 5.0

    class Expiring(Told):
        async def on_connect(self, ws: WebSocket) -> None:
            ws.expire_after(7.0)

    app = NexiosApp()
    app.add_ws_route("/short", Short)
    app.add_ws_route("/expiring", Expiring)
    async with running(app) as server:
        short, expiring = await connected(server, "/short"), await connected(server, "/expiring")
        assert await short.closed() == 1001
        assert await expiring.closed() == 4001
        await short.stream.aclose()
        await expiring.stream.aclose()


async def test_a_hurried_stop_ends_it_as_any_other(caplog: pytest.LogCaptureFixture) -> None:
    """A server that is cancelled: each is told, and nothing is left."""
    app = make_app(settings=settings(drain_timeout=2.0))
    app.add_ws_route("/", Told)
    with trio.CancelScope() as scope:
        async with running(app) as server:
            clients = [await connected(server, f"/?name={number}") for number in range(20)]
            scope.cancel()
    assert sorted(seen) == sorted((1012, str(number)) for number in range(20))
    for client in clients:
        await trio.aclose_forcefully(client.stream)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_handler_that_is_cancelled_by_its_server() -> None:
    """Who does not answer the close frame is cancelled at the end of the grace, and reset."""
    app = make_app(settings=settings(drain_timeout=1.0, close_timeout=0.2))
    app.add_ws_route("/", Told)
    async with running(app) as server:
        client = await connected(server)
        server.stop()
        await server.stopped()
        await client.rest()
        await client.stream.aclose()
    assert seen == [(1012, "")]


async def test_an_error_that_is_kept_keeps_no_socket() -> None:
    kept: list[Exception] = []
    transports: list[weakref.ref[Any]] = []

    def on_receive(self: Any, ws: WebSocket, data: str) -> None:
        assert isinstance(ws._session.transport, DirectTransport)
        transports.append(weakref.ref(ws._session.transport))  # no name for it, which the error would keep
        try:
            raise LookupError(data)
        except LookupError as error:
            kept.append(error)
            raise

    async with serving(told(on_receive=on_receive)) as server:
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                client = await connected(server)
                await say(client, "x")
                assert await client.closed() == 1011
                await client.stream.aclose()
            await wait_all_tasks_blocked(0.005)
            assert [one() for one in transports] == [None] * 3
        finally:
            gc.enable()
    assert len(kept) == 3


async def test_an_application_that_overrides_its_call_is_called() -> None:
    class Counting(NexiosApp):
        calls = 0

        async def __call__(self, scope: Any, receive: Any, send: Any, *more: Any) -> None:
            self.calls += scope["type"] == "websocket"
            await super().__call__(scope, receive, send, *more)

    app = Counting(settings=settings())
    async with serving(Told, app) as server:
        assert await tasks_of(server) == 5
    assert app.calls == 5


async def test_mounted_in_another_application() -> None:
    inside, outside = NexiosApp(), make_app()
    inside.add_ws_route("/", Told)
    outside.mount("/inside", inside)
    async with running(outside) as server:
        client = await connected(server, "/inside/")
        await echoed(client)
        await client.stream.aclose()
        await wait_all_tasks_blocked(0.005)
    assert seen == [(1006, "")]
