"""What the conformance cases talk to: every message comes back."""

from nexios_trio import NexiosApp
from nexios_trio.http import Request, Response
from nexios_trio.websockets import WebSocket

app = NexiosApp()


@app.ws_route("/")
async def echo(ws: WebSocket) -> None:
    await ws.accept()
    while (event := await ws.receive())["type"] == "websocket.receive":
        if "text" in event:
            await ws.send_text(event["text"])
        else:
            await ws.send_bytes(event["bytes"])


@app.get("/")
async def ready(req: Request, res: Response) -> str:
    return "ready"
