"""The application under attack: one route for each thing that can be done wrong to it.

`python -m tests.attack.app` is not a thing: the server command imports `tests.attack.app:app`. Its settings come from
the environment.
"""

import hmac
import json
import os
from pathlib import Path
from typing import Any

import trio

from nexios_trio import NexiosApp, Router, WebSocket, open_channel
from nexios_trio.middleware import AuthenticationMiddleware, MessageRateLimitMiddleware, token_in_first_message
from nexios_trio.websockets import Channel, ChannelBox, WebSocketConsumer

SECRET = "xyzzy-internal-detail"
TOKEN = "correct horse"
LIFETIME = 2.0  # seconds that a token is good for

# Of `Settings`: what an attack has to wait for, short enough to wait for.
FAST = {
    "handshake_timeout": 2.0,
    "accept_timeout": 1.0,
    "auth_timeout": 1.0,
    "write_timeout": 2.0,
    "close_timeout": 0.5,
    "disconnect_grace": 1.0,
    "ping_interval": 1.0,
    "ping_timeout": 4.0,
    "drain_timeout": 3.0,
    "drain_jitter": 0.1,
    "max_connections_per_address": 100,
    "max_fragments": 256,
}


def may(channel: Channel | None, group: str, action: str) -> bool:
    """`authorize`: nobody joins what is forbidden, nobody sends to what may only be read."""
    return group != "forbidden" and not (group == "read-only" and action == "send")


def make_app(**settings: Any) -> NexiosApp:
    # A history that is full soon: what a soak sees growing after that is no history.
    app = NexiosApp(box=ChannelBox(history_limit=100, history_overflow="trim", authorize=may), **settings)
    app.mount_router(router)
    return app


router = Router()


@router.ws_route("/echo")
async def echo(ws: WebSocket) -> None:
    await ws.accept(subprotocol=(ws.subprotocols or [None])[0])
    async for message in ws:
        await (ws.send_text(message) if isinstance(message, str) else ws.send_bytes(message))


class Echo(WebSocketConsumer):
    """The same, called in the turns of its connections."""

    def on_receive(self, ws: WebSocket, data: str | bytes) -> None:
        ws.send_nowait(data)


router.add_ws_route("/sync", Echo)


@router.ws_route("/room/{name}")
async def room(ws: WebSocket, name: str) -> None:
    """What anybody says, everybody hears."""
    async with open_channel(ws) as channel, channel.member(name):
        await channel.send("welcome")
        while True:
            try:
                message = await channel.receive()
                await ChannelBox.group_send(name, message, save_history=True)
            except ValueError as error:  # the message is at fault, not the connection
                await channel.send({"error": type(error).__name__})


@router.ws_route("/groups")
async def groups(ws: WebSocket) -> None:
    """Joins the groups that it is told to."""
    async with open_channel(ws) as channel:
        async for message in ws.iter_json():
            try:
                await ChannelBox.add_channel_to_group(channel, message)
                await channel.send("joined")
            except ValueError:
                await channel.send("refused")


@router.ws_route("/amplify")
async def amplify(ws: WebSocket) -> None:
    """Sends the room a message of as many bytes as it is told."""
    await ws.accept()
    async for message in ws.iter_json():
        try:
            await ChannelBox.group_send("innocent", "x" * message)
        except ValueError as error:
            await ws.send_text(type(error).__name__)


@router.ws_route("/never")
async def never(ws: WebSocket) -> None:
    await trio.sleep_forever()


@router.ws_route("/busy")
async def busy(ws: WebSocket) -> None:
    """Accepts, and never receives."""
    await ws.accept()
    await trio.sleep_forever()


@router.ws_route("/crash")
async def crash(ws: WebSocket) -> None:
    await ws.accept()
    raise RuntimeError(f"{SECRET} \x1b[31m\r\n{await ws.receive_text()}")


@router.ws_route("/unoffered")
async def unoffered(ws: WebSocket) -> None:
    await ws.accept(subprotocol="never-offered")


@router.ws_route("/header")
async def header(ws: WebSocket) -> None:
    await ws.accept(headers={"x-name": ws.query_params.get("name", "")})


@router.ws_route("/read-only")
async def read_only(ws: WebSocket) -> None:
    async with open_channel(ws) as channel, channel.member("read-only"):
        async for message in channel:
            await ChannelBox.group_send("read-only", message)


@router.ws_route("/limited", middleware=[MessageRateLimitMiddleware])
async def limited(ws: WebSocket) -> None:
    await echo(ws)


def verify(token: str) -> str | None:
    """Compared in constant time: how far a guess was right must not show."""
    return "alice" if hmac.compare_digest(token.encode(), TOKEN.encode()) else None


authentication = AuthenticationMiddleware(token_in_first_message(verify), lifetime=LIFETIME)


@router.ws_route("/private", middleware=[authentication])
async def private(ws: WebSocket) -> None:
    """Says who it is talking to; a token, again, moves the deadline."""
    await ws.accept()
    await ws.send_text(ws.user)
    async for message in ws.iter_json():
        if verify(str(message.get("token", ""))) == ws.user:
            ws.expire_after(LIFETIME)
            await ws.send_text("refreshed")


@router.get("/")
async def hello(req: Any, res: Any) -> Any:
    return res.text("hello")


@router.post("/upload")
async def upload(req: Any, res: Any) -> Any:
    return res.json({"size": len(await req.body())})


@router.post("/json")
async def read_json(req: Any, res: Any) -> Any:
    return res.json({"type": type(await req.json()).__name__})


@router.get("/file/{name}")
async def file(req: Any, res: Any, name: str) -> Any:
    return res.json({"name": name})


@router.get("/number/{number:int}")
async def number(req: Any, res: Any, number: int) -> Any:
    return res.text("a number")


@router.get("/big")
async def big(req: Any, res: Any) -> Any:
    return res.text("x" * 8_000_000)


@router.ws_route("/cookies")
async def cookies(ws: WebSocket) -> None:
    await ws.accept()
    await ws.send_json(len(ws.cookies))


@router.get("/client")
async def client(req: Any, res: Any) -> Any:
    return res.json({"host": req.client.host if req.client else None})


def _resident() -> int:
    """Bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@router.get("/state")
async def state(req: Any, res: Any) -> Any:
    """What must be back where it was when an attack is over."""
    sizes = ChannelBox.statistics()
    tasks = trio.lowlevel.current_statistics().tasks_living
    resident = _resident()
    descriptors = len(os.listdir("/proc/self/fd"))
    queued = sum(channel.statistics().queued_messages for channel in app.box.channels())
    counts = {"queued": queued, "channels": sizes.channels, "groups": sizes.groups, "undelivered": sizes.undelivered}
    return res.text(json.dumps({**counts, "tasks": tasks, "descriptors": descriptors, "resident": resident}))


app = make_app()
