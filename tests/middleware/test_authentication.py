"""Nobody gets in who is nobody, and a refused client sees 4001."""

import json
import math
from typing import Any

import pytest
import trio

from nexios_trio.application import NexiosApp
from nexios_trio.middleware import (
    AuthenticationMiddleware,
    token_in_cookie,
    token_in_first_message,
    token_in_subprotocol,
)
from nexios_trio.routing import WebsocketRoute
from nexios_trio.websockets import Channel, WebSocket, WebSocketConsumer
from tests.asgi import connect

USERS = {"secret": "alice"}


async def verify(token: str) -> str | None:
    await trio.lowlevel.checkpoint()
    return USERS.get(token)


async def who(ws: WebSocket) -> None:
    assert not ws.is_connected()
    await ws.accept()
    assert ws.is_connected()
    await ws.send_text(f"{ws.scope['user']} {ws.user}")
    await ws.send_text(await ws.receive_text())


def guarded(authenticate: Any, handler: Any = who, **options: Any) -> NexiosApp:
    return NexiosApp(routes=[WebsocketRoute("/", handler, [AuthenticationMiddleware(authenticate, **options)])])


async def welcomed(client: Any) -> None:
    assert await client.text() == "alice alice"
    await client.send("echo")
    assert await client.text() == "echo"
    assert await client.closed() == (1000, "")


async def refused(client: Any, reason: str = "authentication failed") -> None:
    assert await client.closed() == (4001, reason)


@pytest.mark.parametrize("asynchronous", [True, False])
async def test_regression_the_user_is_in_the_scope(asynchronous: bool) -> None:
    async def authenticate(websocket: WebSocket) -> Any:
        return USERS.get(websocket.query_params.get("token", ""))

    def plain(websocket: WebSocket) -> Any:
        return USERS.get(websocket.query_params.get("token", ""))

    app = guarded(authenticate if asynchronous else plain)
    async with connect(app, "/?token=secret") as client:
        await client.accepted()
        await welcomed(client)
    async with connect(app) as client:
        await client.accepted()
        await refused(client)


async def test_without_it_there_is_no_user() -> None:
    seen = []

    async def handler(ws: WebSocket) -> None:
        seen.append((ws.user, "user" in ws.scope))

    async with connect(NexiosApp(routes=[WebsocketRoute("/", handler)])) as client:
        await client.denied()
    assert seen == [(None, False)]


async def test_a_cookie() -> None:
    app = guarded(token_in_cookie("session", verify))
    async with connect(app, headers=[(b"cookie", b"a=b; session=secret")]) as client:
        await client.accepted()
        await welcomed(client)
    for headers in [(b"cookie", b"session=wrong")], []:
        async with connect(app, headers=headers) as client:
            await client.accepted()
            await refused(client)


async def test_a_subprotocol() -> None:
    app = guarded(token_in_subprotocol(verify))
    async with connect(app, subprotocols=["bearer", "secret"]) as client:
        assert (await client.accepted())["subprotocol"] == "bearer"
        await welcomed(client)
    async with connect(app, subprotocols=["bearer", "wrong"]) as client:
        assert (await client.accepted())["subprotocol"] == "bearer"  # a browser would not show the code otherwise
        await refused(client)
    for offered in ["bearer"], ["chat", "secret"], []:
        async with connect(app, subprotocols=offered) as client:
            await client.accepted()
            await refused(client)


@pytest.mark.parametrize(
    ("field", "message", "is_welcome"),
    [
        ("token", '{"token": "secret"}', True),
        ("token", b'{"token": "secret"}', True),
        ("token", '{"token": "wrong"}', False),
        ("token", '{"token": 7}', False),
        ("token", '["secret"]', False),
        ("token", "secret", False),
        ("token", "{", False),
        (None, "secret", True),
        (None, b"secret", True),
        (None, b"\xff", False),
        (None, "", False),
    ],
)
async def test_the_first_message(field: str | None, message: str | bytes, is_welcome: bool) -> None:
    async with connect(guarded(token_in_first_message(verify, field=field))) as client:
        await client.accepted()
        await client.send(message)
        await (welcomed if is_welcome else refused)(client)


async def test_the_first_message_before_a_consumer() -> None:
    class Echo(WebSocketConsumer):
        encoding = "json"

        async def on_receive(self, websocket: WebSocket, data: Any) -> None:
            await self.channel.send([websocket.user, data])

    async with connect(guarded(token_in_first_message(verify), Echo)) as client:
        await client.accepted()
        await client.send('{"token": "secret"}')
        await client.send("1")
        assert await client.json() == ["alice", 1]


async def test_a_silent_client_is_not_waited_for(autojump_clock: Any) -> None:
    for options, seconds in (({}, 15), ({"timeout": 3}, 3)):
        start = trio.current_time()
        async with connect(guarded(token_in_first_message(verify), **options), patience=60) as client:
            await client.accepted()
            await refused(client, "authentication took too long")
        assert trio.current_time() - start == pytest.approx(seconds)


async def test_a_client_that_leaves_instead(caplog: pytest.LogCaptureFixture) -> None:
    async with connect(guarded(token_in_first_message(verify), timeout=math.inf)) as client:
        await client.accepted()
    assert not caplog.records


async def test_an_error_is_not_a_welcome(caplog: pytest.LogCaptureFixture) -> None:
    def broken(websocket: WebSocket) -> Any:
        raise LookupError

    async with connect(guarded(broken)) as client:
        assert await client.denied() == 500
    assert len(caplog.records) == 1


# A connection that the middleware has accepted is, to the handler, as any other.


async def ahead(handler: Any) -> Any:
    """What a client sees of `handler` behind `token_in_first_message`."""
    async with connect(guarded(token_in_first_message(verify), handler)) as client:
        await client.accepted()
        await client.send('{"token": "secret"}')
        return await client.closed()


async def test_the_handler_may_still_refuse() -> None:
    async def closes(ws: WebSocket) -> None:
        await ws.close()

    async def denies(ws: WebSocket) -> None:
        await ws.deny(429, reason="slow down")

    async def rejects(ws: WebSocket) -> None:
        await ws.reject(4100, "not you")

    async def returns(ws: WebSocket) -> None: ...

    assert await ahead(closes) == (1008, "")
    assert await ahead(denies) == (1008, "slow down")
    assert await ahead(rejects) == (4100, "not you")
    assert await ahead(returns) == (1000, "")


async def test_the_handler_still_has_to_accept() -> None:
    problems = []

    async def handler(ws: WebSocket) -> None:
        for call in (lambda: ws.send_text("early"), ws.receive_text):
            with pytest.raises(RuntimeError, match=r"call accept\(\)"):
                await call()
            problems.append(ws.client_state)
        channel = Channel(ws)
        connected = []
        channel.on_connect(lambda _: connected.append(True))
        await ws.accept()
        with pytest.raises(RuntimeError, match="accepted once"):
            await ws.accept()
        await trio.testing.wait_all_tasks_blocked()
        await ws.close(4000, str(connected))

    assert await ahead(handler) == (4000, "[True]")
    assert [state.name for state in problems] == ["CONNECTING", "CONNECTING"]


async def test_a_client_that_leaves_between() -> None:
    seen = []

    async def handler(ws: WebSocket) -> None:
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(Exception, match="1001") as caught:
            await ws.accept()
        seen.append(type(caught.value).__name__)

    async with connect(guarded(token_in_first_message(verify), handler)) as client:
        await client.accepted()
        await client.send(json.dumps({"token": "secret"}))
        await client.leave(1001)
    assert seen == ["WebSocketDisconnect"]


@pytest.mark.parametrize(
    ("args", "error"), [((7,), TypeError), ((verify, 0), ValueError), ((verify, math.nan), ValueError)]
)
def test_wrong_arguments(args: Any, error: Any) -> None:
    authenticate, *timeout = args
    with pytest.raises(error):
        AuthenticationMiddleware(authenticate, timeout=timeout[0] if timeout else None)
