"""Plain ASGI middleware around an application of ours: it sees what passes, also on our own runner."""

import pytest
import trio
import trio_websocket

from nexios_trio import NexiosApp, WebSocket
from tests.server.support import DEADLINE, ask, make_app, running, websocket


def wrapped(app: NexiosApp, seen: list[str], sees: str):
    async def middleware(scope, receive, send):
        async def receiving():
            event = await receive()
            seen.append(event["type"])
            return event

        async def sending(event):
            seen.append(event["type"])
            await send(event)

        await app(scope, receiving if "receive" in sees else receive, sending if "send" in sees else send)

    return middleware


@pytest.mark.parametrize(
    ("sees", "expected"),
    [
        ("receive", ["websocket.connect", "websocket.receive", "websocket.disconnect"]),
        ("send", ["websocket.accept", "websocket.send"]),
    ],
)
async def test_middleware_sees_the_messages(sees, expected):
    seen: list[str] = []
    async with running(wrapped(make_app(), seen, sees)) as server:
        async with websocket(server.port) as client:
            assert await ask(client) == "are you there?"
    assert [kind for kind in seen if kind.startswith("websocket.")] == expected


async def test_close_codes_go_through_it():
    app = make_app()
    codes: list[int] = []

    @app.ws_route("/code")
    async def code(ws: WebSocket) -> None:
        await ws.accept()
        codes.append((await ws.receive())["code"])

    async with running(wrapped(app, [], "receive, send")) as server:
        async with websocket(server.port, "/code") as client:
            with trio.fail_after(DEADLINE):
                await client.aclose(4001, "so")
    assert codes == [4001]


async def test_middleware_that_only_looks_at_the_scope_costs_nothing():
    lanes: list[str] = []
    app = make_app()

    @app.ws_route("/lane")
    async def lane(ws: WebSocket) -> None:
        lanes.append(ws._session.transport.name)
        await ws.accept()

    async def middleware(scope, receive, send):
        await app({**scope, "user": "alice"}, receive, send)

    for served in (middleware, wrapped(app, [], "send")):
        async with running(served) as server, websocket(server.port, "/lane") as client:
            with trio.fail_after(DEADLINE), pytest.raises(trio_websocket.ConnectionClosed):
                await client.get_message()
    assert lanes == ["direct", "asgi"]
