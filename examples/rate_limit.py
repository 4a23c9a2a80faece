"""Rate limits: five connections a minute from one address, a hundred messages a minute on one connection.

    $ nexios-trio run examples.rate_limit:app
    $ for i in 1 2 3 4 5 6; do sleep 1 | python -m websockets ws://127.0.0.1:8000/ws; done

The sixth connection is closed with 4002, the message that is too many with 1008. A burst of ten messages is fine.
"""

from nexios_trio import NexiosApp, WebSocket
from nexios_trio.websockets.middleware import ConnectionRateLimitMiddleware, MessageRateLimitMiddleware

app = NexiosApp()
app.add_ws_middleware(ConnectionRateLimitMiddleware(rate_limit=5, time_window=60))
app.add_ws_middleware(MessageRateLimitMiddleware(rate=100 / 60, burst=10))


@app.ws_route("/ws")
async def echo(ws: WebSocket) -> None:
    await ws.accept()
    async for message in ws.iter_text():
        await ws.send_text(f"You said: {message}")
