"""What is over is freed at once, without a collection, whatever the application wove around it.

A cycle of the application's own may keep a closed WebSocket or Channel; never a transport, its buffers, or a task.
"""

import functools
import gc
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import hypercorn.trio
import pytest
import trio

from nexios_trio import NexiosApp
from nexios_trio.exceptions import HandshakeError
from nexios_trio.protocol.parser import FrameParser
from nexios_trio.routing import WebsocketRoute
from nexios_trio.transports.base import Transport
from nexios_trio.transports.receive_queue import Inbox
from nexios_trio.transports.send_queue import Outbox
from nexios_trio.websockets import (
    Channel,
    ChannelBox,
    ChannelGroup,
    ChannelRegistry,
    OfflineQueue,
    SecureChannel,
    WebSocket,
    WebSocketConsumer,
    WebSocketDisconnect,
    WebSocketException,
    open_channel,
    valid_messages,
)
from nexios_trio.websockets.middleware import (
    AuthenticationMiddleware,
    ConnectionRateLimitMiddleware,
    HeartbeatMiddleware,
    MessageRateLimitMiddleware,
    OriginMiddleware,
    token_in_cookie,
    token_in_first_message,
    token_in_subprotocol,
    wrap_asgi,
)
from tests.asgi import connect, lifespan
from tests.server.support import Running, config, frame, running, upgrade

CONNECTIONS = 13  # of each pattern and way; all together more than a thousand
MOST_ALIVE = 8
KINDS = (Transport, Inbox, Outbox, FrameParser, trio.lowlevel.Task)
HEADERS = ("Cookie: token=ann", "Sec-WebSocket-Protocol: bearer, ann")


class Parts:
    """Parts of connections, and tasks that have run out, that are alive and were not when this was made."""

    def __init__(self) -> None:
        gc.collect()
        self._before = _parts()  # kept, so that no id becomes another's

    def left(self, path: str = "") -> list[str]:
        before = set(map(id, self._before))
        left = [type(each).__name__ for each in _parts() if id(each) not in before]
        # A nursery of the handler's own that an error leaves: trio itself ties its tasks and their Cancelled together.
        return [each for each in left if each != "Task"] if path == "own-nursery" else left


def _parts() -> list[Any]:
    found = [each for each in gc.get_objects() if isinstance(each, KINDS)]
    return [
        each
        for each in found
        if not isinstance(each, trio.lowlevel.Task) or getattr(each.coro, "cr_frame", None) is None
    ]


# ---------------------------------------------------------------- handlers


async def echo(ws: WebSocket) -> None:
    await ws.accept()
    async for message in ws:
        assert isinstance(message, str)
        await ws.send_text(message)


async def in_a_block(ws: WebSocket) -> None:
    async with open_channel(ws) as channel:
        async for message in channel:
            await channel.send(message)


def on(event: str) -> Callable[[WebSocket], Any]:
    """A handler of that event that refers to its own channel."""

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        channel = Channel(ws, expires=3600)

        @getattr(channel, event)  # type: ignore[untyped-decorator]
        async def happened(*_: object) -> None:
            channel.touch()

        async with channel.member("room"):
            async for message in channel:
                await ChannelBox.group_send("room", message)

    return handler


async def knotted(ws: WebSocket) -> None:
    """Everything refers to everything."""
    await ws.accept()
    channel: Any = Channel(ws)
    channel.me = channel
    ws.state.all = [ws, channel]

    async def task() -> None:
        ws.state.task = task
        await channel.send("x")
        await trio.sleep_forever()

    ws.start_soon(task)
    async for message in channel:
        await channel.send(message)


async def kept_errors(ws: WebSocket) -> None:
    await ws.accept()
    ws.state.errors = []
    for use in (*[ws.receive_json] * 4, lambda: ws.send_text("x"), lambda: ws.send_json({}), ws.close):
        try:
            await use()
        except WebSocketDisconnect as error:
            ws.state.errors.append((error, ws))
    assert len(ws.state.errors) == 4


def raising(error: Callable[[], Exception], *, accept: bool = True) -> Callable[[WebSocket], Any]:
    async def handler(ws: WebSocket) -> None:
        mistake = error()
        ws.state.error = mistake  # and its traceback refers to this frame
        if accept:
            await ws.accept()
            await ws.receive()
        raise mistake

    return handler


async def own_nursery(ws: WebSocket) -> None:
    """Tasks of the handler's own, one of which waits for the peer when the other ends."""
    await ws.accept()

    async def wait() -> None:
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        while True:
            await ws.send_text(await ws.receive_text())


async def own_receiver(ws: WebSocket) -> None:
    await ws.accept()

    async def receive() -> None:
        await ws.receive_text()
        await ws.receive_text()
        await ws.receive_text()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await trio.sleep(0.01)
        raise ZeroDivisionError


async def failing_task(ws: WebSocket) -> None:
    async def task() -> None:
        await ws.receive()
        raise ZeroDivisionError

    await ws.accept()
    ws.start_soon(task)
    await trio.sleep_forever()


async def refusing(ws: WebSocket) -> None:
    ws.state.ws = ws
    await ws.deny(401, {"www-authenticate": "Bearer"}, b"who?")


async def rejecting(ws: WebSocket) -> None:
    ws.state.ws = ws
    await ws.reject(4003, "no")


async def silent(ws: WebSocket) -> None:
    """Never accepts."""
    ws.state.ws = ws


async def groups(ws: WebSocket) -> None:
    await ws.accept()
    group, registry = ChannelGroup("handles"), ChannelRegistry()
    channels = [Channel(ws, kind) for kind in ("json", "text", "bytes")]
    for channel in channels:
        await group.add(channel)
        await registry.add(channel)
    ws.state.registry = registry
    async for message in ws:
        await group.send(message, save_history=True, exclude=channels[0])


class Overriding(Channel):
    async def send(self, payload: Any) -> None:
        await super().send([payload])


class Secured(SecureChannel):
    async def verify_token(self, token: str) -> str:
        await trio.lowlevel.checkpoint()
        return token


async def overridden(ws: WebSocket) -> None:
    await ws.accept()
    async with Overriding(ws).member("overridden"):
        async for message in ws:
            await ChannelBox.group_send("overridden", message)


async def secured(ws: WebSocket) -> None:
    await ws.accept()
    channel = Secured(ws)
    await channel.authenticate(await channel.receive(), lifetime=60)
    async with channel.member("secured"):
        await ChannelBox.group_send("secured", "x")
        await ws.receive()


offline_queue = OfflineQueue()


async def queued(ws: WebSocket) -> None:
    await ws.accept()
    async with offline_queue.connected(ws.id, Channel(ws)):
        await offline_queue.send(ws.id, "x")
        await ws.receive_text()
        await ws.receive()


@attrs.frozen
class Move:
    x: int


async def validated(ws: WebSocket) -> None:
    await ws.accept()
    async for move in valid_messages(ws, Move):
        await ws.send_json(move.x)


class Consumer(WebSocketConsumer):
    async def on_connect(self, websocket: WebSocket) -> None:
        await websocket.accept()
        self.channel.on_message(self.note)
        self.channel.on_disconnect(self.note)
        websocket.state.consumer = self
        await self.join_group("consumers")

    async def note(self, channel: Channel, message: Any = None) -> None:
        await trio.lowlevel.checkpoint()

    async def on_receive(self, websocket: WebSocket, data: Any) -> None:
        await self.broadcast(data, "consumers")


class Mover(WebSocketConsumer):
    message_type = Move


# ---------------------------------------------------------------- middleware


class Passing:
    """Plain ASGI middleware that changes nothing."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


class Wrapping(Passing):
    """One that sees everything, and copies the scope as far as it goes."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def our_receive() -> Any:
            return await receive()

        async def our_send(event: Any) -> None:
            await send(event)

        scope = {**scope, "extensions": {**scope["extensions"]}, "state": {**scope["state"]}}
        scope["state"]["mine"] = (scope, our_receive, our_send)
        await self.app(scope, our_receive, our_send)


async def verify(token: str) -> str:
    await trio.lowlevel.checkpoint()
    return token


async def keeping(ws: WebSocket, call_next: Any) -> None:
    """Middleware that keeps all it is given."""
    ws.state.kept = (ws, call_next)
    await call_next(ws)


MIDDLEWARE: dict[str, Any] = {
    "cookie": AuthenticationMiddleware(token_in_cookie("token", verify), lifetime=3600),
    "first-message": AuthenticationMiddleware(token_in_first_message(verify, field=None)),
    "subprotocol": AuthenticationMiddleware(token_in_subprotocol(verify)),
    "nobody": AuthenticationMiddleware(token_in_cookie("other", verify)),
    "connection-rate": ConnectionRateLimitMiddleware(100_000),
    "too-many": ConnectionRateLimitMiddleware(1),
    "message-rate": MessageRateLimitMiddleware(),
    "too-fast": MessageRateLimitMiddleware(0.001, 1),
    "heartbeat": HeartbeatMiddleware(0.5, 1),
    "origin": OriginMiddleware(),
    "asgi": wrap_asgi(Passing),
    "asgi-wrapping": wrap_asgi(Wrapping),
    "keeping": keeping,
}


class Synchronous(Consumer):
    def on_receive(self, websocket: WebSocket, data: Any) -> Any:
        self.broadcast_nowait(data, "consumers")
        websocket.send_nowait("x")
        websocket.start_soon(trio.sleep, 0)


class Failing(Synchronous):
    def on_receive(self, websocket: WebSocket, data: Any) -> Any:
        websocket.state.kept = self
        raise ZeroDivisionError


HANDLERS: dict[str, Any] = {
    "echo": echo,
    "block": in_a_block,
    **{event: on(event) for event in ("on_connect", "on_disconnect", "on_message", "on_error", "on_expire")},
    "knotted": knotted,
    "errors": kept_errors,
    "failing": raising(ZeroDivisionError),
    "failing-before-accept": raising(ZeroDivisionError, accept=False),
    "closing": raising(lambda: WebSocketException(4000, "x")),
    "refusing-by-error": raising(lambda: HandshakeError(401, "x"), accept=False),
    "failing-task": failing_task,
    "own-nursery": own_nursery,
    "own-receiver": own_receiver,
    "deny": refusing,
    "reject": rejecting,
    "silent": silent,
    "groups": groups,
    "overridden": overridden,
    "secured": secured,
    "offline": queued,
    "validated": validated,
}


def application(**limits: Any) -> NexiosApp:
    app = NexiosApp(**limits)
    for name, handler in HANDLERS.items():
        app.add_ws_route(f"/{name}", handler)
    for name, middleware in MIDDLEWARE.items():
        app.add_ws_route(f"/{name}", in_a_block, middleware=[middleware])
    app.add_ws_route("/all", in_a_block, middleware=[*list(MIDDLEWARE.values())[:3], MIDDLEWARE["asgi-wrapping"]])
    app.add_ws_route(Consumer.as_route("/consumer"))
    app.add_ws_route(WebsocketRoute("/instance", Consumer()))
    app.add_ws_route(Mover.as_route("/mover"))
    app.add_ws_route(Synchronous.as_route("/synchronous"))
    app.add_ws_route(Failing.as_route("/synchronous-failing"))
    app.add_ws_route(Failing.as_route("/synchronous-limited", middleware=[MessageRateLimitMiddleware()]))
    return app


PATHS = [
    *HANDLERS,
    *MIDDLEWARE,
    "all",
    "consumer",
    "instance",
    "mover",
    "synchronous",
    "synchronous-failing",
    "synchronous-limited",
]


@pytest.fixture
def parts() -> Iterator[Parts]:
    before = Parts()
    gc.disable()
    yield before
    gc.enable()


async def talk(server: Any, path: str) -> None:
    async with await server.connect() as client:
        await client.send(upgrade(f"/{path}", *HEADERS))
        head = await client.until(b"\r\n\r\n")
        if b" 101 " in head:
            await client.send(frame(1, b'"token"') + frame(1, b'"hello"') + frame(8, b"\x03\xe8"))
        await client.rest()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("path", PATHS)
async def test_on_our_own_sockets(parts: Parts, path: str) -> None:
    async with running(application()) as server:
        for _ in range(CONNECTIONS):
            await talk(server, path)
        await trio.testing.wait_all_tasks_blocked(0.001)
        left = parts.left(path)
    assert len(left) <= MOST_ALIVE, left


@pytest.mark.parametrize("path", PATHS)
async def test_behind_any_server(parts: Parts, path: str) -> None:
    app = application()
    headers = [(b"cookie", b"token=ann")]
    async with lifespan(app):
        for _ in range(CONNECTIONS):
            async with connect(app, f"/{path}", headers=headers, subprotocols=["bearer", "ann"]) as client:
                await client.send('"token"')
                await client.send('"hello"')
                await client.leave()
        left = parts.left(path)
    assert len(left) <= MOST_ALIVE, left


@pytest.mark.parametrize("takeover", [True, False])
async def test_under_hypercorn(parts: Parts, takeover: bool) -> None:
    stop = trio.Event()
    serve = functools.partial(
        hypercorn.trio.serve, application(takeover=takeover), config(graceful_timeout=0.1), shutdown_trigger=stop.wait
    )
    async with trio.open_nursery() as nursery:
        server = Running(await nursery.start(serve), stop, trio.Event())
        for path in PATHS:
            for _ in range(3):
                await talk(server, path)
        await trio.testing.wait_all_tasks_blocked(0.01)
        left = [part for part in parts.left() if part.endswith("Transport") or part == "TakenOver"]
        stop.set()
    assert len(left) <= MOST_ALIVE, left
