"""What the nodes serve: groups that keep their messages, and a way to publish to them, with what comes of it.

Its engine is that of `NEXIOS_ENGINE`. `FAULTS_DEADLINE` and `FAULTS_PROBE` are the engine's seconds; `FAULTS_SKEW` sets this
node's clock.
"""

import os
import time
from typing import Any

from nexios_trio import OLDEST, NexiosApp
from nexios_trio.core.message import Position
from nexios_trio.exceptions import EngineError, MessageTooBig
from nexios_trio.websockets import Channel, ChannelBox, WebSocket, open_channel

_skew = float(os.environ.get("FAULTS_SKEW", "0"))
if _skew:
    _now = time.time
    time.time = lambda: _now() + _skew

app = NexiosApp(name="faults")
app.box.keep("kept.*", max_messages=1_000_000, max_bytes=128_000_000, max_age=3600)
_engine: Any = app.box.engine
_engine.deadline = float(os.environ.get("FAULTS_DEADLINE", "5"))
_engine.client._probe_seconds = float(os.environ.get("FAULTS_PROBE", "10"))


@app.ws_route("/member/{group}")
async def member(ws: WebSocket, group: str) -> None:
    """Tell what was missed, then what comes. With "gaps" in the query its peer is told of gaps; without, it is closed."""
    async with open_channel(ws, positions=True) as channel:
        if "gaps" in ws.query_params:

            @channel.on_gap
            async def tell(channel: Channel, group: str, after: Position | None, upto: Position | None) -> None:
                await channel.send({"after": str(after), "upto": str(upto)})

        async with channel.member(group, since=ws.query_params.get("since", OLDEST)) as joined:
            await channel.send({"recovered": joined.recovered, "position": str(joined.position)})
            async for _ in channel:
                pass


@app.ws_route("/publish")
async def publish(ws: WebSocket) -> None:
    """Publish what the peer wants, one after the other."""
    await ws.accept()
    async for order in ws.iter_json():
        data = [*order["data"], "x" * order.get("size", 0)]
        answer: dict[str, Any]
        try:
            position = await ChannelBox.post(order["group"], data, key=order.get("key"))
            answer = {"position": str(position)}
        except EngineError as error:
            answer = {"error": str(error), "maybe": error.maybe_published}
        except MessageTooBig as error:
            answer = {"error": str(error), "maybe": False}
        await ws.send_json(answer)
