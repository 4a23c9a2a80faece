"""The smallest application: every message comes back."""

from nexios_trio import NexiosApp
from nexios_trio.websockets import WebSocket

app = NexiosApp()


@app.ws_route("/echo")
async def echo(ws: WebSocket) -> None:
    await ws.accept()
    async for message in ws.iter_text():
        await ws.send_text(f"You said: {message}")
