"""A connection is accepted once, also where authentication has accepted it ahead of the handler."""

from nexios_trio import NexiosApp, WebSocket
from nexios_trio.middleware import AuthenticationMiddleware, token_in_first_message
from nexios_trio.testing import connect, run_app


async def test_a_connection_that_authenticates_by_its_first_message_counts_once() -> None:
    app = NexiosApp(middleware=[AuthenticationMiddleware(token_in_first_message(lambda token: token))])

    @app.ws_route("/")
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        await ws.send_text(str(ws.user))
        await ws.receive()

    async with run_app(app), connect(app) as client:
        await client.send_json({"token": "ann"})
        assert await client.receive_text() == "ann"
        assert app.runtime.counts.accepted == {"asgi": 1}
        assert len(await app.user("ann").connections()) == 1
