"""What the tests with the SDKs of others serve."""

from typing import Any

import attrs
import trio

from nexios_trio import NexiosApp
from nexios_trio.exceptions import AuthenticationError, RealtimeError
from nexios_trio.middleware import OverflowMiddleware
from nexios_trio.realtime import Connected, Realtime, RealtimeClient
from nexios_trio.websockets import Channel, WebSocket, open_channel

app = NexiosApp()
app.box.keep("room.*", max_messages=100_000, max_bytes=64_000_000)
app.box.keep_presence("room.*", grace=0.0)

expired_shown: dict[str, int] = {}  # by the name in the token, how often it was shown


def register(realtime: Realtime) -> Realtime:
    """Have an endpoint do all that the tests ask for."""

    @realtime.on_connect
    async def connect(client: RealtimeClient) -> Any:
        """Know people by a token that is their name; `bad` is none, `expired:NAME` was one."""
        if client.token == "bad":
            raise AuthenticationError("no such token")
        if client.token.startswith("expired:"):
            raise RealtimeError(109, "token expired")
        groups = client.data["groups"] if isinstance(client.data, dict) and "groups" in client.data else ()
        return Connected(client.token or None, {"hello": client.token, "sent": client.data}, groups)

    @realtime.rpc("echo")
    def echo(client: RealtimeClient, data: Any) -> Any:
        return data

    @attrs.frozen
    class Sum:
        numbers: list[int]

    @realtime.rpc("add")
    async def add(client: RealtimeClient, data: Sum) -> int:
        await trio.lowlevel.checkpoint()
        return sum(data.numbers)

    @realtime.rpc("refuse")
    def refuse(client: RealtimeClient) -> None:
        raise RealtimeError(444, "not today")

    @realtime.rpc("fail")
    def fail(client: RealtimeClient) -> None:
        raise RuntimeError("a mistake of the application's")

    @realtime.rpc("flood")
    async def flood(client: RealtimeClient, data: dict[str, Any]) -> int:
        """Publish numbers to a group, a thousand a second, in a task of the application."""
        app.start_soon(publish, data["group"], data["count"], data.get("size", 0), data.get("pause", 0.005))
        return int(data["count"])

    @realtime.rpc("drop")
    def drop(client: RealtimeClient, data: str) -> bool:
        return client.unsubscribe(data)

    @realtime.rpc("end")
    async def end(client: RealtimeClient, data: Any) -> None:
        await client.close(data["code"], data["reason"])

    @realtime.rpc("enter")
    async def enter(client: RealtimeClient, data: str) -> None:
        await client.subscribe(data)

    @realtime.on_message
    async def message(client: RealtimeClient, data: Any) -> None:
        """Send it back, to the client alone."""
        await client.send({"you said": data})

    @realtime.on_publish("room.checked")
    def check(client: RealtimeClient, group: str, data: Any) -> Any:
        if data == "bad":
            raise RealtimeError(450, "bad words")
        return {"by": client.user, "text": data}

    realtime.groups("room.*", subscribe=True, publish=True, presence=True, history=True)
    realtime.groups("news", subscribe=True)
    return realtime


async def publish(group: str, count: int, size: int, pause: float) -> None:
    for number in range(1, count + 1):
        app.box.post(group, [number, "x" * size])
        if number % 5 == 0:
            await trio.sleep(pause)


register(app.realtime("/realtime"))
register(app.realtime("/drops", middleware=[OverflowMiddleware("drop_oldest")]))
register(app.realtime("/quick", ping_interval=1.0, pong_timeout=0.5, connect_timeout=0.5))


@app.ws_route("/plain")
async def plain(ws: WebSocket) -> None:
    """Be a plain channel in the group that SDKs are in."""
    channel: Channel
    async with open_channel(ws, positions=True) as channel:
        async with channel.member("room.shared"):
            await channel.send({"ready": True})
            async for _ in channel:
                pass
