"""Nexios: consumers and groups."""

from nexios import NexiosApp
from nexios.websockets import WebSocketConsumer


class Quiet(WebSocketConsumer):
    encoding = "json"

    def __init__(self):
        super().__init__(logging_enabled=False)


class Echo(Quiet):
    encoding = "text"

    async def on_receive(self, websocket, data):
        await websocket.send_text(data)


class Sub(Quiet):
    async def on_connect(self, websocket):
        await websocket.accept()
        await self.join_group("room")

    async def on_disconnect(self, websocket, close_code):
        await self.leave_group("room")


class Pub(Quiet):
    async def on_receive(self, websocket, data):
        await self.broadcast(data, "room")


app = NexiosApp()
app.add_ws_route(Echo.as_route("/echo"))
app.add_ws_route(Sub.as_route("/sub"))
app.add_ws_route(Pub.as_route("/pub"))
