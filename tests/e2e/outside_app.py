"""What the tests of publishing from outside serve: a room that keeps its messages, and the API of two keys."""

import os
from typing import Any

from nexios_trio import OLDEST, NexiosApp
from nexios_trio.websockets import WebSocket, open_channel

ROOM = "room"
KEYS = ("a-key-that-is-old-already", "a-key-that-is-new-now")

app = NexiosApp(name="outside")
app.box.keep(ROOM)
app.mount_api("/api", key=KEYS)


@app.ws_route("/room")
async def room(ws: WebSocket) -> None:
    async with open_channel(ws) as channel, channel.member(ROOM, since=OLDEST):
        async for _ in channel:
            pass


@app.get("/pid")
async def pid(req: Any, res: Any) -> Any:
    return {"pid": os.getpid()}
