"""While authentication runs before accept, `auth_timeout` bounds it, and not `accept_timeout`."""

from typing import Any

import pytest
import trio

from nexios_trio.application import NexiosApp
from nexios_trio.routing import WebsocketRoute
from nexios_trio.websockets import WebSocket
from nexios_trio.websockets.middleware import AuthenticationMiddleware
from tests.asgi import connect

HOUR = 3600


async def greet(ws: WebSocket) -> None:
    await ws.accept()
    await ws.send_text(f"welcome {ws.user}")
    await ws.receive_text()


def application(seconds: float, handler: Any = greet, count: int = 1, **options: Any) -> NexiosApp:
    async def directory(websocket: WebSocket) -> str:
        await trio.sleep(seconds)
        return "bob"

    middleware = [AuthenticationMiddleware(directory, **options)] * count
    return NexiosApp(routes=[WebsocketRoute("/", handler, middleware)], accept_timeout=10, auth_timeout=15)


async def test_a_slow_directory_has_auth_timeout(autojump_clock: Any) -> None:
    async with connect(application(14), patience=HOUR) as client:
        await client.accepted()
        assert await client.text() == "welcome bob"


@pytest.mark.parametrize(("options", "seconds"), [({}, 15), ({"timeout": 12}, 12), ({"timeout": 40}, 40)])
async def test_and_no_longer(autojump_clock: Any, options: Any, seconds: float) -> None:
    async with connect(application(100, **options), patience=HOUR) as client:
        start = trio.current_time()
        await client.accepted()
        assert await client.closed() == (4001, "authentication took too long")
        assert trio.current_time() - start == seconds


async def test_authentication_one_inside_the_other(autojump_clock: Any) -> None:
    async with connect(application(14, count=3), patience=HOUR) as client:
        await client.accepted()
        assert await client.text() == "welcome bob"


async def test_after_it_the_handler_has_accept_timeout(autojump_clock: Any) -> None:
    async def late(ws: WebSocket) -> None:
        await trio.sleep(HOUR)

    async with connect(application(14, late), patience=HOUR) as client:
        start = trio.current_time()
        assert await client.denied() == 503
        assert 14 + 9 <= trio.current_time() - start <= 14 + 10


async def test_a_peer_that_leaves_meanwhile_is_not_waited_for(autojump_clock: Any) -> None:
    start = trio.current_time()
    async with connect(application(14), patience=HOUR) as client:
        await client.leave()
    assert trio.current_time() - start <= 15


async def test_without_authentication_accept_timeout_holds(autojump_clock: Any) -> None:
    async def never(ws: WebSocket) -> None:
        await trio.sleep(HOUR)

    app = NexiosApp(routes=[WebsocketRoute("/", never)], accept_timeout=10, auth_timeout=15)
    async with connect(app, patience=HOUR) as client:
        start = trio.current_time()
        assert await client.denied() == 503
        assert trio.current_time() - start == 10
