"""A collector of readings: devices send binary frames, eight bytes each, and watchers get them as JSON.

$ nexios-trio run examples.iot:app
$ python -m websockets ws://127.0.0.1:8000/iot/watch
$ python -m examples.iot_device pump 7 1.5              # second 7, value 1.5
$ curl http://127.0.0.1:8000/api/readings
"""

import struct
import time
from typing import Any

from nexios_trio import get_application
from nexios_trio.routing import WSRouter
from nexios_trio.websockets import ChannelGroup, WebSocket
from nexios_trio.websockets.channels import Channel, ChannelBox
from nexios_trio.websockets.consumers import WebSocketConsumer

READING = struct.Struct(">If")  # seconds since the device was started, value
RECEIVED = b"\x06"
app = get_application()
ws_router = WSRouter(prefix="/iot")


class Device(WebSocketConsumer):
    encoding = "bytes"

    async def on_receive(self, ws: WebSocket, data: bytes) -> None:
        if len(data) != READING.size:
            await ws.send_json({"error": f"a reading has {READING.size} bytes, not {len(data)}"})
            return
        seconds, value = READING.unpack(data)
        reading = {"device": ws.path_params["device"], "seconds": seconds, "value": value, "seen": time.time()}
        await ChannelBox.group_send("readings", reading, save_history=True)
        await ws.send_bytes(RECEIVED)


@ws_router.ws_route("/watch")
async def watch(ws: WebSocket) -> None:
    channel = Channel(ws, "json", expires=600)
    await channel.accept()
    await ChannelGroup("readings").add(channel)
    async for _ in channel:
        await channel.send({"error": "watchers only listen"})


ws_router.add_ws_route(Device.as_route("/device/{device}"))
app.mount_ws_router(ws_router)


@app.get("/api/readings")
async def readings(req: Any, res: Any) -> Any:
    return [message.payload for message in await ChannelBox.show_history("readings")]
