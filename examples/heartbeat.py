"""A heartbeat: every five seconds the client is sent one, and who says nothing for fifteen is closed with 4000.

    $ nexios-trio run examples.heartbeat:app
    $ python -m websockets ws://127.0.0.1:8000/ws

Anything that the client sends counts as a sign of life. If it sends the heartbeat back, the handler never sees that.
"""

from nexios_trio import NexiosApp, WebSocket
from nexios_trio.websockets.middleware import HeartbeatMiddleware

app = NexiosApp()


@app.ws_route("/ws", middleware=[HeartbeatMiddleware(interval=5, timeout=15)])
async def echo(ws: WebSocket) -> None:
    await ws.accept()
    async for message in ws.iter_text():
        await ws.send_text(f"You said: {message}")
