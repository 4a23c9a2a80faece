"""What a box does on this node, and on all."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest

from nexios_trio import NexiosApp
from nexios_trio.exceptions import MessageTooBig
from nexios_trio.testing import Broker, connect, run_app
from nexios_trio.websockets import ChannelBox, WebSocket, open_channel


def make_app(broker: Broker) -> NexiosApp:
    app = NexiosApp(box=ChannelBox(broker.engine()))

    @app.ws_route("/{room}")
    async def member(ws: WebSocket, room: str) -> None:
        async with open_channel(ws) as channel, channel.member(room):
            await channel.send(str(channel.uuid))
            async for _ in channel:
                pass

    return app


class Cluster:
    """Two nodes."""

    def __init__(self, here: NexiosApp, there: NexiosApp, stack: AsyncExitStack) -> None:
        self.here, self.there = here.box, there.box
        self._apps = {self.here: here, self.there: there}
        self._stack = stack

    async def join(self, box: ChannelBox, room: str = "room") -> tuple[Any, str]:
        client = await self._stack.enter_async_context(connect(self._apps[box], f"/{room}"))
        return client, await client.receive_json()


@asynccontextmanager
async def two_nodes() -> AsyncIterator[Cluster]:
    broker = Broker()
    async with AsyncExitStack() as stack:
        here, there = (make_app(broker) for _ in range(2))
        for app in (here, there):
            await stack.enter_async_context(run_app(app))
        yield Cluster(here, there, stack)


async def test_a_group_has_members_here_and_everywhere():
    async with two_nodes() as cluster:
        for box in (cluster.here, cluster.there, cluster.there):
            await cluster.join(box)
        assert await cluster.here.group_size("room") == 1
        assert await cluster.here.group_size("room", scope="all") == 3
        assert await cluster.here.group_size("nobody", scope="all") == 0
        with pytest.raises(ValueError, match='scope is "node" .* or "all"'):
            await cluster.here.group_size("room", scope="everywhere")


async def test_send_to_finds_a_channel_wherever_it_is():
    async with two_nodes() as cluster:
        ann, ann_id = await cluster.join(cluster.here)
        bob, bob_id = await cluster.join(cluster.there)
        for client, channel_id in ((ann, ann_id), (bob, bob_id)):
            for payload in ({"x": [1, "ä"]}, "text"):
                assert await cluster.here.send_to(channel_id, payload)
                assert await client.receive_json() == payload
        assert not await cluster.here.send_to(str(uuid4()), "x")
        assert not await cluster.here.send_to("no id", "x")
        with pytest.raises(MessageTooBig):
            await cluster.here.send_to(bob_id, "x" * 20_000_000)
        with pytest.raises(ValueError, match="set"):
            await cluster.here.send_to(bob_id, {1})


async def test_send_to_comes_behind_what_was_sent_to_the_group():
    async with two_nodes() as cluster:
        bob, bob_id = await cluster.join(cluster.there)
        for number in range(5):
            await cluster.here.group_send("room", number)
            await cluster.here.send_to(bob_id, -number)
        assert [await bob.receive_json() for _ in range(10)] == [0, 0, 1, -1, 2, -2, 3, -3, 4, -4]


async def test_groups_are_shown_and_emptied_here_or_everywhere():
    async with two_nodes() as cluster:
        _, ann = await cluster.join(cluster.here)
        _, bob = await cluster.join(cluster.there)
        _, eve = await cluster.join(cluster.there, "other")
        shown = await cluster.here.show_groups(scope="all")
        assert {name: sorted(map(str, ids.values())) for name, ids in shown.items()} == {
            "room": sorted([ann, bob]),
            "other": [eve],
        }
        assert sorted(map(str, (await cluster.here.show_groups(scope="all").get("room")).values())) == sorted(
            [ann, bob]
        )
        assert [str(one) for one in (await cluster.here.show_groups().get("room")).values()] == [ann]
        await cluster.here.flush_groups()
        assert await cluster.here.group_size("room", scope="all") == 1
        await cluster.here.flush_groups(scope="all")
        assert await cluster.here.group_size("room", scope="all") == 0


async def test_connections_are_closed_here_or_everywhere():
    async with two_nodes() as cluster:
        ann, _ = await cluster.join(cluster.here)
        bob, bob_id = await cluster.join(cluster.there)
        await cluster.here.close_all_connections(4000, "here")
        assert await ann.receive_close() == (4000, "here")
        assert await cluster.here.send_to(bob_id, "still there?")
        await cluster.here.close_all_connections(4001, "everywhere", scope="all")
        assert await bob.receive_json() == "still there?"
        assert await bob.receive_close() == (4001, "everywhere")


async def test_a_question_of_a_newer_release_is_not_answered():
    async with two_nodes() as cluster:
        assert await cluster.here.ask_others("what is new?") == []
