"""The application that every measured server offers, written on the public API with default settings.

/echo answers each text message, and so does /sync, a consumer with a synchronous `on_receive`; /sub joins the group
"room", and so does /syncsub, such a consumer; /pub sends each JSON message to that group.
"""

from nexios_trio import NexiosApp
from nexios_trio.websockets import WebSocket, WebSocketConsumer, open_channel

app = NexiosApp()


@app.ws_route("/echo")
async def echo(ws: WebSocket) -> None:
    await ws.accept()
    while True:
        await ws.send_text(await ws.receive_text())


class Echo(WebSocketConsumer):
    def on_receive(self, ws: WebSocket, data: str | bytes) -> None:
        ws.send_nowait(data)


app.add_ws_route("/sync", Echo)


class Member(WebSocketConsumer):
    async def on_connect(self, ws: WebSocket) -> None:
        await ws.accept()
        self.join_nowait("room")

    def on_receive(self, ws: WebSocket, data: str | bytes) -> None:
        pass


app.add_ws_route("/syncsub", Member)


@app.ws_route("/sub")
async def sub(ws: WebSocket) -> None:
    async with open_channel(ws) as channel, channel.member("room"):
        async for _ in channel:
            pass


@app.ws_route("/pub")
async def pub(ws: WebSocket) -> None:
    await ws.accept()
    async for message in ws.iter_json():
        app.box.post("room", message)
