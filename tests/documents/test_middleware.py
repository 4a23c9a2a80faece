"""Middleware written as document 004 does."""

import pytest
import trio

from nexios_trio import NexiosApp
from nexios_trio.testing import Denied, run_app
from nexios_trio.testing.client import connect
from nexios_trio.websockets import WebSocket
from tests.documents.catalogue import covers


async def hello(websocket):
    await websocket.accept()
    await websocket.send_text("hello")


@covers("004 middleware: authentication")
async def test_authentication():
    async def authenticate(websocket):
        return websocket.query_params.get("token") == "right"

    class AuthChannelMiddleware:
        async def __call__(self, websocket: WebSocket, next):
            if not await authenticate(websocket):
                await websocket.close(code=4001)
                return None
            return await next(websocket)

    app = NexiosApp()
    app.add_ws_middleware(AuthChannelMiddleware())
    app.ws_route("/ws")(hello)
    async with run_app(app):
        async with connect(app, "/ws?token=right") as client:
            assert await client.receive_text() == "hello"
        with pytest.raises(Denied) as refused:  # before accept, a close code cannot be told
            async with connect(app, "/ws?token=wrong"):
                pass
        assert refused.value.status == 403


@covers("004 middleware: a rate limit on connections")
async def test_a_rate_limit_on_connections(autojump_clock):
    class RateLimitChannelMiddleware:
        def __init__(self, rate_limit: int, time_window: int):
            self.rate_limit = rate_limit
            self.time_window = time_window
            self.requests = {}

        async def __call__(self, websocket: WebSocket, next):
            client_id = websocket.client.host
            if not self._check_rate_limit(client_id):
                await websocket.close(code=4002)
                return None
            return await next(websocket)

        def _check_rate_limit(self, client_id: str) -> bool:
            now = trio.current_time()
            if client_id not in self.requests:
                self.requests[client_id] = []
            self.requests[client_id] = [
                req_time for req_time in self.requests[client_id] if now - req_time < self.time_window
            ]
            if len(self.requests[client_id]) >= self.rate_limit:
                return False
            self.requests[client_id].append(now)
            return True

    app = NexiosApp(middleware=[RateLimitChannelMiddleware(rate_limit=2, time_window=60)])
    app.ws_route("/ws")(hello)

    async def status_for(address):
        try:
            async with connect(app, "/ws", client=(address, 1)) as client:
                assert await client.receive_text() == "hello"
        except Denied as refused:
            return refused.status
        return 101

    async with run_app(app):
        assert [await status_for("192.0.2.1") for _ in range(3)] == [101, 101, 403]
        assert await status_for("192.0.2.2") == 101
        await trio.sleep(61)
        assert await status_for("192.0.2.1") == 101
