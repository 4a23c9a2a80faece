"""How long a request's body may take: the client's time, not the handler's."""

from typing import Any

import pytest
import trio

from nexios_trio import NexiosApp
from tests.asgi import Answer


async def ask(app: NexiosApp, gaps: list[float]) -> Answer:
    """Send a body in pieces, each so many seconds after the handler has asked for it."""
    left = list(gaps)
    events: list[Any] = []

    async def receive() -> Any:
        await trio.sleep(left.pop(0))
        return {"type": "http.request", "body": b"x", "more_body": bool(left)}

    async def send(event: Any) -> None:
        events.append(event)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "query_string": b""}
    await app(scope, receive, send)
    return Answer(events)


@pytest.fixture
def app() -> NexiosApp:
    app = NexiosApp(handshake_timeout=10)

    @app.post("/")
    async def slow(req: Any, res: Any) -> Any:
        count = 0
        async for _ in req.stream():
            count += 1
            await trio.sleep(8)
        return {"count": count}

    return app


async def test_the_handler_s_own_time_is_not_the_client_s(app: NexiosApp, autojump_clock: Any) -> None:
    answer = await ask(app, [0, 0, 0, 0])
    assert (answer.status, answer.json()["count"]) == (200, 5)  # the last piece is an empty one


@pytest.mark.parametrize("gaps", [[11], [4, 4, 4], [0, 3, 3, 3, 3]])
async def test_the_client_s_time_adds_up(app: NexiosApp, autojump_clock: Any, gaps: list[float]) -> None:
    answer = await ask(app, gaps)
    assert (answer.status, answer.json()["error"]) == (408, "the body took too long")


async def test_a_client_just_in_time(app: NexiosApp, autojump_clock: Any) -> None:
    assert (await ask(app, [3, 3, 3])).status == 200
