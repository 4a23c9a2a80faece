"""The application that every measured server offers, written on the public API with default settings.

/echo answers each text message; /sub joins the group "room"; /pub sends each JSON message to that group.
"""

from nexios_trio import NexiosApp
from nexios_trio.websockets import ChannelBox, WebSocket, open_channel

app = NexiosApp()


@app.ws_route("/echo")
async def echo(ws: WebSocket) -> None:
    await ws.accept()
    while True:
        await ws.send_text(await ws.receive_text())


@app.ws_route("/sub")
async def sub(ws: WebSocket) -> None:
    async with open_channel(ws) as channel, channel.member("room"):
        async for _ in channel:
            pass


@app.ws_route("/pub")
async def pub(ws: WebSocket) -> None:
    await ws.accept()
    async for message in ws.iter_json():
        await ChannelBox.group_send("room", message)
