"""Plain ASGI middleware keeps its powers: over the scope, over both directions, over the answer."""

from typing import Any

import pytest
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from nexios_trio.application import NexiosApp
from nexios_trio.middleware import wrap_asgi
from nexios_trio.routing import WebsocketRoute
from nexios_trio.websockets import Channel, ChannelBox, WebSocket, WebSocketConsumer, WebSocketDisconnect
from tests.asgi import connect


async def echo(ws: WebSocket) -> None:
    await ws.accept()
    async for message in ws:
        if isinstance(message, str):
            await ws.send_text(message)
        else:
            await ws.send_bytes(message)


def wrapped(cls: Any, handler: Any = echo, **options: Any) -> NexiosApp:
    return NexiosApp(routes=[WebsocketRoute("/", handler, [wrap_asgi(cls, **options)])])


class Through:
    """Passes everything on, in its own functions."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.received: list[str] = []
        self.sent: list[str] = []
        instances.append(self)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def own_receive() -> Any:
            event = await receive()
            self.received.append(event["type"])
            return event

        async def own_send(event: Any) -> None:
            self.sent.append(event["type"])
            await send(event)

        await self.app(scope, own_receive, own_send)


instances: list[Any] = []


class Echo(WebSocketConsumer):
    def on_receive(self, ws: WebSocket, data: str | bytes) -> None:
        ws.send_nowait(data)


async def test_one_that_receives_itself_does_not_go_with_a_synchronous_consumer(caplog: Any) -> None:
    async with connect(wrapped(Through, Echo)) as client:
        assert await client.denied() == 500
    assert "receives its messages itself, and that has to be awaited: make on_receive async" in caplog.text


async def test_one_that_sends_itself_sees_the_handshake_of_a_synchronous_consumer() -> None:
    sent = []

    class Sending:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            async def own_send(event: Any) -> None:
                sent.append(event["type"])
                await send(event)

            await self.app(scope, receive, own_send)

    async with connect(wrapped(Sending, Echo)) as client:
        await client.accepted()
        await client.send("x")
        assert await client.text() == "x"
    assert sent[0] == "websocket.accept"


async def test_it_sees_the_events_of_an_asgi_application() -> None:
    app = wrapped(Through)
    through = instances[-1]
    for _ in range(2):
        async with connect(app) as client:
            await client.accepted()
            await client.send("text")
            assert await client.text() == "text"
            await client.send(b"bytes")
            assert (await client.event())["bytes"] == b"bytes"
    received = ["websocket.connect", "websocket.receive", "websocket.receive", "websocket.disconnect"]
    assert through.received == received * 2
    assert through.sent == ["websocket.accept", "websocket.send", "websocket.send"] * 2


class Changing:
    """Adds a header to the response, a user to the scope, and shouts in both directions."""

    def __init__(self, app: Any, mark: str) -> None:
        self.app = app
        self.mark = mark

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def own_receive() -> Any:
            event = await receive()
            return {**event, "text": event["text"] + self.mark} if event["type"] == "websocket.receive" else event

        async def own_send(event: Any) -> None:
            if event["type"] == "websocket.accept":
                event = {**event, "headers": [*event["headers"], (b"x-mark", self.mark.encode())]}
            elif event["type"] == "websocket.send":
                event["text"] += self.mark  # in place, as middleware may
            await send(event)

        headers = [*scope["headers"], (b"x-seen", b"yes")]
        await self.app({**scope, "user": "alice", "headers": headers}, own_receive, own_send)


async def test_its_changes_reach_handler_and_client() -> None:
    async def handler(ws: WebSocket) -> None:
        await ws.accept(headers={"x-own": "1"})
        await ws.send_text(f"{ws.user} {ws.headers['x-seen']}")
        await ws.send_text(await ws.receive_text())
        await Channel(ws, "text").send("channel")

    async def reads_headers_first(websocket: WebSocket, next: Any) -> None:
        assert "x-seen" not in websocket.headers
        await next(websocket)

    app = wrapped(Changing, handler, mark="!")
    app.add_ws_middleware(reads_headers_first)
    async with connect(app) as client:
        assert (await client.accepted())["headers"] == [(b"x-own", b"1"), (b"x-mark", b"!")]
        assert await client.text() == "alice yes!"
        await client.send("hi")
        assert await client.text() == "hi!!"
        assert await client.text() == "channel!"
        assert await client.closed() == (1000, "")


async def test_two_of_them_nest() -> None:
    app = NexiosApp(middleware=[wrap_asgi(Changing, mark="1"), wrap_asgi(Changing, mark="2")])
    app.ws_route("/", echo)
    async with connect(app) as client:
        assert (await client.accepted())["headers"] == [(b"x-mark", b"2"), (b"x-mark", b"1")]
        await client.send("a")
        assert await client.text() == "a1221"


async def test_group_messages_go_past_it() -> None:
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        channel = Channel(ws, "text")
        await ChannelBox.add_channel_to_group(channel, "room")
        await ChannelBox.group_send("room", "from the group")
        await channel.receive()

    async with connect(wrapped(Changing, handler, mark="!")) as client:
        await client.accepted()
        assert await client.text() == "from the group"


async def test_closes_and_denials_go_through_it() -> None:
    async def closing(ws: WebSocket) -> None:
        await ws.accept()
        await ws.close(4005, "bye")

    async def denying(ws: WebSocket) -> None:
        await ws.deny(418)

    async def closing_early(ws: WebSocket) -> None:
        await ws.close()

    async with connect(wrapped(Through, closing)) as client:
        await client.accepted()
        assert await client.closed() == (4005, "bye")
    assert instances[-1].sent == ["websocket.accept", "websocket.close"]
    async with connect(wrapped(Through, denying)) as client:
        assert await client.denied() == 418
    assert instances[-1].sent == ["websocket.http.response.start", "websocket.http.response.body"]
    async with connect(wrapped(Through, closing_early)) as client:
        assert await client.denied() == 403
    async with connect(wrapped(Through, denying), http_response=False) as client:
        assert (await client.closed())[0] == 1008
    assert instances[-1].sent == ["websocket.close"]


class Refusing:
    def __init__(self, app: Any, event: dict[str, Any]) -> None:
        self.event = event

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "websocket.connect"
        await send(self.event)


async def test_it_may_refuse_without_the_handler() -> None:
    async with connect(wrapped(Refusing, event={"type": "websocket.close", "code": 1008})) as client:
        assert await client.denied() == 403


async def test_it_may_accept_and_close_without_the_handler() -> None:
    class AcceptsAndCloses(Refusing):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.send", "text": "no"})
            await send(self.event)

    async with connect(wrapped(AcceptsAndCloses, event={"type": "websocket.close", "code": 4003})) as client:
        await client.accepted()
        assert await client.text() == "no"
        assert await client.closed() == (4003, "")


async def test_an_event_that_is_none(caplog: pytest.LogCaptureFixture) -> None:
    async with connect(wrapped(Refusing, event={"type": "http.response.start"})) as client:
        assert await client.denied() == 500
    assert "cannot send 'http.response.start'" in caplog.text


class Failing(Exception):
    pass


async def test_errors_pass_through_it() -> None:
    async def handler(ws: WebSocket) -> None:
        raise Failing

    async def outermost(websocket: WebSocket, next: Any) -> None:
        with pytest.raises(Failing):
            await next(websocket)

    app = wrapped(Through, handler)
    app.add_ws_middleware(outermost)
    async with connect(app) as client:
        assert await client.denied() == 403


async def test_what_is_outside_is_not_behind_it_afterwards() -> None:
    async def outermost(websocket: WebSocket, next: Any) -> None:
        try:
            await next(websocket)
        except LookupError:
            await websocket.send_text("sorry")
            assert await websocket.receive_text() == "more"

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        raise LookupError

    app = wrapped(Changing, handler, mark="!")
    app.add_ws_middleware(outermost)
    async with connect(app) as client:
        await client.accepted()
        assert await client.text() == "sorry"
        await client.send("more")
        assert await client.closed() == (1000, "")


async def test_a_peer_that_is_gone_before_accept() -> None:
    seen = []

    class Late(Through):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            async def own_receive() -> Any:
                return {"type": "websocket.disconnect", "code": 1006}

            await self.app(scope, own_receive, send)

    async def handler(ws: WebSocket) -> None:
        try:
            await ws.accept()
        except WebSocketDisconnect as error:
            seen.append(error.code)
            raise

    async with connect(wrapped(Late, handler)):
        pass
    assert seen == [1006]


async def test_starlettes_trusted_host() -> None:
    async with connect(wrapped(TrustedHostMiddleware, allowed_hosts=["example.com"])) as client:
        await client.accepted()
    async with connect(wrapped(TrustedHostMiddleware, allowed_hosts=["other.example"])) as client:
        assert await client.denied() == 400


async def test_starlettes_authentication() -> None:
    from starlette.authentication import AuthCredentials, AuthenticationBackend, AuthenticationError, SimpleUser

    class Backend(AuthenticationBackend):
        async def authenticate(self, conn: Any) -> Any:
            if "name" not in conn.query_params:
                raise AuthenticationError("who?")
            return AuthCredentials(["in"]), SimpleUser(conn.query_params["name"])

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        await ws.send_text(ws.user.username)

    app = wrapped(AuthenticationMiddleware, handler, backend=Backend())
    async with connect(app, "/?name=bob") as client:
        await client.accepted()
        assert await client.text() == "bob"
    async with connect(app, "/") as client:
        assert await client.denied() == 403


def test_what_cannot_be_wrapped() -> None:
    wrong: Any = Middleware(Through)
    with pytest.raises(TypeError, match="wrap_asgi takes an ASGI middleware class"):
        wrap_asgi(7)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        wrap_asgi(Changing)
    with pytest.raises(TypeError):
        wrap_asgi(wrong)


async def test_a_scope_without_its_way_back(caplog: pytest.LogCaptureFixture) -> None:
    class Forgetful(Through):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await self.app({"type": "websocket", "path": "/"}, receive, send)

    async with connect(wrapped(Forgetful)) as client:
        assert await client.denied() == 500
    assert "has to keep what it does not know" in caplog.text
