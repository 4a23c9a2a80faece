"""Connections that break while a group is talking, over real sockets: nothing is missed, and nothing comes twice."""

import json

import pytest
import trio

from nexios_trio import OLDEST, ChannelBox, NexiosApp, WebSocket, open_channel
from tests.server.support import running, settings

pytestmark = pytest.mark.slow

ROOM = "room"
RECONNECTS = 20
MEMBERS = 5
MESSAGES = 2500
PATIENCE = 120.0  # seconds, on a machine that does much else besides


def chat() -> NexiosApp:
    app = NexiosApp(box=ChannelBox())
    app.box.keep(ROOM, max_messages=MESSAGES, max_bytes=64_000_000)

    @app.ws_route("/chat")
    async def serve(ws: WebSocket) -> None:
        since = ws.query_params.get("since", OLDEST)
        async with open_channel(ws, positions=True) as channel, channel.member(ROOM, since=since) as joined:
            assert joined.recovered
            await channel.receive()

    return app


async def talk(app: NexiosApp, size: int = 10, first: int = 1) -> None:
    for number in range(first, MESSAGES + 1):
        await app.box.group_send(ROOM, [number, "x" * size])


class Client:
    """Keeps what it gets, and the position of the last of it."""

    def __init__(self, server) -> None:
        self.server = server
        self.numbers: list[int] = []
        self.position = ""

    async def take(self, raw) -> bool:
        """Take a message; False when the server closes."""
        opcode, data = await raw.frame()
        if opcode == 8:
            return False
        message = json.loads(data)
        self.position = message["position"]
        self.numbers.append(message["data"][0])
        return True

    async def stay(self, most: int) -> None:
        """Connect, take so many messages at most, and break the connection without a word."""
        async with await self.server.connect() as raw:
            path = f"/chat?since={self.position}" if self.position else "/chat"
            assert b" 101 " in await raw.handshake(path)
            for _ in range(most):
                if self.is_done or not await self.take(raw):
                    return

    @property
    def is_done(self) -> bool:
        return bool(self.numbers) and self.numbers[-1] == MESSAGES


async def test_twenty_broken_connections_under_load() -> None:
    async def come_and_go(client: Client, step: int) -> None:
        for _ in range(RECONNECTS):
            await client.stay(step)
        while not client.is_done:
            await client.stay(MESSAGES)

    app = chat()
    with trio.fail_after(PATIENCE):
        async with running(app, server_settings=settings()) as server:
            clients = [Client(server) for _ in range(MEMBERS)]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(talk, app)
                for number, client in enumerate(clients):
                    nursery.start_soon(come_and_go, client, 17 + number)
    for client in clients:
        assert client.numbers == list(range(1, MESSAGES + 1))


async def test_a_member_that_was_too_slow_comes_back_for_all_of_it() -> None:
    """It is disconnected while it does not read, for megabytes, and its outbox never holds more than its bounds."""
    app = chat()
    limits = settings(outbox_bytes=262_144, outbox_messages=256, write_timeout=PATIENCE)
    with trio.fail_after(PATIENCE):
        async with running(app, server_settings=limits) as server:
            client = Client(server)
            async with await server.connect() as raw:
                assert b" 101 " in await raw.handshake("/chat")
                while app.box.size_of(ROOM) != 1:
                    await trio.lowlevel.checkpoint()
                await app.box.group_send(ROOM, [1, ""])
                assert await client.take(raw)
                [channel] = app.box.channels()
                queued = [0]

                async def watch(task_status=trio.TASK_STATUS_IGNORED) -> None:
                    task_status.started()
                    while not channel.is_over:
                        queued.append(channel.statistics().queued_bytes)
                        await trio.lowlevel.checkpoint()

                async with trio.open_nursery() as nursery:
                    await nursery.start(watch)
                    await talk(app, 4000, first=2)
            assert channel.websocket.end.code == 1013
            assert max(queued) <= limits.outbox_bytes + 4200  # and the message that is being written
            while not client.is_done:
                await client.stay(MESSAGES)
    assert client.numbers == list(range(1, MESSAGES + 1))


async def test_a_loop_that_sends_in_each_turn_is_caught_up_with():
    """What a newcomer is sent is written in fewer turns than it was said in, as long as its peer takes it."""
    app = NexiosApp(box=ChannelBox())
    app.box.keep(ROOM, max_messages=1_000_000, max_bytes=128_000_000)
    recovered = []

    @app.ws_route("/chat")
    async def serve(ws: WebSocket) -> None:
        async with open_channel(ws) as channel, channel.member(ROOM, since=OLDEST) as joined:
            recovered.append(joined.recovered)
            await channel.receive()

    async def talk() -> None:
        while True:
            await app.box.group_send(ROOM, "on and on")

    async with running(app, server_settings=settings()) as server, trio.open_nursery() as nursery:
        for _ in range(1000):
            await app.box.group_send(ROOM, "what was said before")
        nursery.start_soon(talk)
        for number in range(1, 4):
            async with await server.connect() as raw:
                await raw.handshake("/chat")
                while len(recovered) < number:
                    await raw.stream.receive_some(1_048_576)
            assert recovered[-1]
        nursery.cancel_scope.cancel()
