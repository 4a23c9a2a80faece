"""Litestar: its channels plugin."""

from litestar import Litestar, WebSocket, websocket
from litestar.channels import ChannelsPlugin
from litestar.channels.backends.memory import MemoryChannelsBackend
from litestar.exceptions import WebSocketDisconnect


@websocket("/echo")
async def echo(socket: WebSocket) -> None:
    await socket.accept()
    try:
        while True:
            await socket.send_text(await socket.receive_text())
    except WebSocketDisconnect:
        pass


@websocket("/sub")
async def sub(socket: WebSocket, channels: ChannelsPlugin) -> None:
    await socket.accept()
    async with channels.start_subscription("room") as subscriber, subscriber.run_in_background(socket.send_text):
        try:
            while True:
                await socket.receive_text()
        except WebSocketDisconnect:
            pass


@websocket("/pub")
async def pub(socket: WebSocket, channels: ChannelsPlugin) -> None:
    await socket.accept()
    try:
        while True:
            channels.publish(await socket.receive_json(), "room")
    except WebSocketDisconnect:
        pass


app = Litestar([echo, sub, pub], plugins=[ChannelsPlugin(backend=MemoryChannelsBackend(), channels=["room"])])
