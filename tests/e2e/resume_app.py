"""What the tests of resuming with several workers serve: a room that keeps its messages, and a way to publish."""

import json
import os
from typing import Any

import trio

from nexios_trio import OLDEST, NexiosApp
from nexios_trio.websockets import Channel, ChannelBox, WebSocket, open_channel

ROOM = "room"
BATCH = 10

app = NexiosApp()
app.box.keep(ROOM, max_messages=1_000_000, max_bytes=128_000_000)


async def watch_outbox(channel: Channel, found: dict[str, Any]) -> None:
    """Look at each pass of the scheduler how much is queued."""
    while not channel.is_over:
        found["most"] = max(found["most"], channel.statistics().queued_bytes)
        await trio.lowlevel.checkpoint()


@app.ws_route("/chat")
async def chat(ws: WebSocket) -> None:
    """Say which worker this is, then what was missed, then what comes. With "report", write there how it ended."""
    report = ws.query_params.get("report")
    found: dict[str, Any] = {"most": 0}
    async with open_channel(ws, positions=True) as channel:
        await channel.send({"pid": os.getpid()})
        async with channel.member(ROOM, since=ws.query_params.get("since", OLDEST)) as joined:
            if not joined.recovered:
                await channel.send({"gone": True})
            if report is not None:
                await watch_outbox(channel, found)
            async for _ in channel:
                pass
    if report is not None and ws.end is not None:
        with open(report, "w") as file:
            json.dump({**found, "code": ws.end.code}, file)


@app.ws_route("/flood")
async def flood(ws: WebSocket) -> None:
    """Send numbers to the room, some hundred a second, until the client says something; then tell it the last."""
    await ws.accept()
    size, number = int(ws.query_params["size"]), 0
    async with trio.open_nursery() as nursery:

        async def until_told() -> None:
            await ws.receive_text()
            nursery.cancel_scope.cancel(reason="told to stop")

        nursery.start_soon(until_told)
        while True:
            for _ in range(BATCH):
                number += 1
                receipt = ChannelBox.post(ROOM, [number, "x" * size])
            with trio.CancelScope(shield=True):
                await receipt
            await trio.sleep(0.005)
    await ws.send_json(number)


@app.ws_route("/say")
async def say(ws: WebSocket) -> None:
    """Send each number to the room, once however often it comes, and tell the client when that is done."""
    await ws.accept()
    async for number in ws.iter_json():
        await ChannelBox.group_send(ROOM, [number, ""], key=str(number))
        await ws.send_json(number)
