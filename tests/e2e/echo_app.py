"""What the conformance cases talk to: every message comes back. `/` tells which transports that went over.

`synchronous` is the same as a synchronous consumer.
"""

from nexios_trio import NexiosApp
from nexios_trio.http import Request, Response
from nexios_trio.websockets import WebSocket, WebSocketConsumer

app = NexiosApp()
lanes: set[str] = set()


@app.ws_route("/")
async def echo(ws: WebSocket) -> None:
    await ws.accept()
    lanes.add(ws._session.transport.name)
    async for message in ws:
        await (ws.send_text(message) if isinstance(message, str) else ws.send_bytes(message))


class Echo(WebSocketConsumer):
    def on_receive(self, ws: WebSocket, data: str | bytes) -> None:
        lanes.add(ws._session.transport.name)
        ws.send_nowait(data)


synchronous = NexiosApp()
synchronous.add_ws_route("/", Echo)


@synchronous.get("/")
@app.get("/")
async def transports(req: Request, res: Response) -> list[str]:
    return sorted(lanes)
