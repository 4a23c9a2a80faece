"""A dashboard: one task measures, and everybody who looks on gets every measurement, the last ten at once.

    $ nexios-trio run examples.dashboard:app
    $ python -m websockets ws://127.0.0.1:8000/ws/dashboard
    $ curl http://127.0.0.1:8000/api/clients

Open a hundred of them: a group send waits for none.
"""

import os
import time
from typing import Any

import trio

from nexios_trio import get_application
from nexios_trio.websockets import WebSocket, WebSocketDisconnect
from nexios_trio.websockets.channels import Channel, ChannelBox, PayloadTypeEnum

INTERVAL = 1.0  # seconds
app = get_application()


@app.on_startup
async def setup() -> None:
    app.start_soon(push_metrics)


async def push_metrics() -> None:
    while True:
        metrics = {"load": os.getloadavg()[0], "timestamp": time.time()}
        await ChannelBox.group_send(group_name="dashboard", payload=metrics, save_history=True)
        await trio.sleep(INTERVAL)


@app.websocket("/ws/dashboard")
async def dashboard(ws: WebSocket) -> None:
    await ws.accept()
    channel = Channel(websocket=ws, payload_type=PayloadTypeEnum.JSON.value, expires=3600)
    # The history first: a value that comes between the two is missed; the next one makes up for it. Whoever must not
    # miss any joins first, and may get one twice.
    for message in (await ChannelBox.show_history(group_name="dashboard"))[-10:]:
        await channel.send(message.payload)
    await ChannelBox.add_channel_to_group(channel, group_name="dashboard")
    try:
        while ws.is_connected():
            await ws.receive_text()
    except WebSocketDisconnect as e:
        print(f"Client disconnected with code {e.code}")
    finally:
        await ChannelBox.remove_channel_from_group(channel, group_name="dashboard")
        await ws.close()


@app.get("/api/clients")
async def clients(req: Any, res: Any) -> Any:
    channels = await ChannelBox.show_groups().get("dashboard", {})
    return res.json({"clients": len(channels)})
