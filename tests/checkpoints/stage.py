"""Where every public function finds what it needs: connections, a channel, a box, an application, a world."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from nexios_trio import Channel, ChannelBox, ChannelGroup, ChannelRegistry, NexiosApp, WebSocket, WebSocketConsumer
from nexios_trio.testing import Client, World
from nexios_trio.websockets import UserConnections
from tests.wire import House, Wire, house

# Calls the function. Where something has to be prepared first, an async function that returns such a function.
Recipe = Callable[["Stage"], Any]


@attrs.define
class Stage:
    """`ws` is accepted, `fresh` is not, `over` is over; the first is in group "room" through `channel`."""

    house: House
    wire: Wire
    ws: WebSocket
    fresh: WebSocket
    over: WebSocket
    channel: Channel
    consumer: WebSocketConsumer
    app: NexiosApp
    world: World
    client: Client
    group: ChannelGroup = attrs.field(factory=lambda: ChannelGroup("room"))
    registry: ChannelRegistry = attrs.field(factory=ChannelRegistry)

    @property
    def box(self) -> ChannelBox:
        return self.house.box

    @property
    def user(self) -> UserConnections:
        """Somebody whose connection `ws` is."""
        self.ws.user = "ann"
        return UserConnections(self.box, "ann")


@asynccontextmanager
async def stage() -> AsyncGenerator[Stage]:
    app = NexiosApp()
    app.add_ws_route("/", _echo)
    async with house() as home, World(app, check=False) as world, world.connect("/") as client:
        with home.runtime.activate():
            wires, (ws, fresh, over) = await _connections(home)
            channel = Channel(ws)
            await home.box.add_channel_to_group(channel, "room")
            consumer = WebSocketConsumer()
            consumer.websocket, consumer.channel = ws, channel
            yield Stage(home, wires[0], ws, fresh, over, channel, consumer, app, world, client)
        home.shut_down()


async def _echo(ws: WebSocket) -> None:
    await ws.accept()
    async for message in ws.iter_text():
        await ws.send_text(message)


async def _connections(home: House) -> tuple[list[Wire], list[WebSocket]]:
    sockets: list[WebSocket] = []

    async def accepted(ws: WebSocket) -> None:
        sockets.append(ws)
        await ws.accept()
        await trio.sleep_forever()

    async def waiting(ws: WebSocket) -> None:
        sockets.append(ws)
        await trio.sleep_forever()

    wires = [await home.connect(endpoint) for endpoint in (accepted, waiting, accepted)]
    wires[2].leave()
    await trio.testing.wait_all_tasks_blocked()
    return wires, sockets
