"""What the tests of slow members serve: a room, a way to publish, and what became of the members."""

from typing import Any

from nexios_trio import NexiosApp
from nexios_trio.http import Request, Response
from nexios_trio.websockets import ChannelBox, WebSocket, open_channel

app = NexiosApp()
ended: dict[str, int] = {}  # how many connections of the room ended, by cause


@app.ws_route("/room")
async def room(ws: WebSocket) -> None:
    try:
        async with open_channel(ws) as channel, channel.member("room"):
            async for _ in channel:
                pass
    finally:
        cause = ws.end.cause.value if ws.end is not None else "none"
        ended[cause] = ended.get(cause, 0) + 1


@app.ws_route("/publish")
async def publish(ws: WebSocket) -> None:
    await ws.accept()
    async for message in ws.iter_json():
        await ChannelBox.group_send("room", message)


@app.get("/")
async def state(req: Request, res: Response) -> dict[str, Any]:
    members = await ChannelBox.show_groups().get("room", {})
    return {
        "members": len(members),
        "ended": ended,
        "undelivered": sum(channel.statistics().undelivered for channel in members),
    }
