"""Joining and leaving with the engine of one process and with that of several workers: what is watched, and for whom."""

import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from nexios_trio.engines.hub.engine import HubEngine
from nexios_trio.engines.hub.hub import Hub
from nexios_trio.engines.hub.link import HubLink
from nexios_trio.engines.memory import MemoryEngine
from nexios_trio.exceptions import EngineError
from nexios_trio.groups.box import ChannelBox
from nexios_trio.websockets import Channel
from tests.wire import house, settle

pytestmark = pytest.mark.parametrize("kind", ["memory", "hub"])


class Room:
    """A box, another one of another worker where there are several, and channels of the first that are in no group."""

    def __init__(self, box: ChannelBox, other: ChannelBox, channels: list[Any], wires: list[Any]) -> None:
        self.box = box
        self.other = other  # the same one, with the engine of one process
        self.channels = channels
        self.wires = wires
        self.got: list[list[Any]] = [[] for _ in wires]

    def look(self) -> None:
        for got, wire in zip(self.got, self.wires, strict=True):
            got += wire.json

    async def say(self, text: str) -> bool:
        """Whether anybody is in the room; who is was given it."""
        receipt = self.other.post("room", text)
        await receipt
        await settle()
        self.look()
        with trio.fail_after(5):
            while receipt.is_watched and not any(text in got for got in self.got):
                await settle()
                self.look()
        return receipt.is_watched


@asynccontextmanager
async def hub_box(hub: Hub) -> AsyncIterator[ChannelBox]:
    theirs, ours = socket.socketpair()
    link = HubLink(ours, 5.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hub.serve, theirs)
        nursery.start_soon(link.run)
        box = ChannelBox(HubEngine(link), name="app")
        box.settle_name(str)
        yield box
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def room(kind: str, count: int) -> AsyncIterator[Room]:
    channels: list[Any] = []

    async def endpoint(ws: Any) -> None:
        await ws.accept()
        channels.append(Channel(ws))
        while True:
            await ws.receive()

    async with AsyncExitStack() as stack:
        if kind == "memory":
            box = other = ChannelBox(MemoryEngine())
        else:
            hub = Hub()
            box, other = [await stack.enter_async_context(hub_box(hub)) for _ in range(2)]
            await stack.enter_async_context(house(other))
        inside = await stack.enter_async_context(house(box))
        wires = [await inside.connect(endpoint) for _ in range(count)]
        await settle()
        yield Room(box, other, channels, wires)


async def test_who_leaves_waits_for_nobody_and_then_nothing_is_watched(kind):
    async with room(kind, 1) as inside:
        [channel] = inside.channels
        await inside.box.add_channel_to_group(channel, "room")
        assert await inside.say("hello")
        inside.box.leave_nowait(channel, "room")  # synchronous
        await settle()
        assert not await inside.say("nobody there")
        assert inside.got[0] == ["hello"]


async def test_leaving_raises_nothing_whatever_has_happened_to_the_engine(kind):
    async with room(kind, 1) as inside:
        [channel] = inside.channels
        await inside.box.add_channel_to_group(channel, "room")
        if kind == "hub":
            inside.box.engine._link._sock.shutdown(socket.SHUT_RDWR)
            await settle()
            with pytest.raises(EngineError):
                await inside.box.group_send("room", "lost")
        inside.box.leave_nowait(channel, "room")
        assert inside.box.size_of("room") == 0


async def test_who_leaves_while_another_joins_ends_no_watch(kind):
    async with room(kind, 2) as inside, trio.open_nursery() as nursery:
        one, two = inside.channels
        await inside.box.add_channel_to_group(one, "room")
        nursery.start_soon(inside.box.add_channel_to_group, two, "room")
        inside.box.leave_nowait(one, "room")
        await settle()
        assert await inside.say("hello")
        assert inside.got == [[], ["hello"]]


async def test_leaving_and_joining_again_is_being_there(kind):
    async with room(kind, 1) as inside:
        [channel] = inside.channels
        for number in range(20):
            await inside.box.add_channel_to_group(channel, "room")
            assert await inside.say(str(number))
            inside.box.leave_nowait(channel, "room")
        assert inside.got[0] == [str(number) for number in range(20)]


async def test_a_joiner_who_is_cancelled_ends_no_watch_of_others(kind):
    async with room(kind, 2) as inside, trio.open_nursery() as nursery:
        one, two = inside.channels
        scope = trio.CancelScope()

        async def join_and_be_cancelled() -> None:
            with scope:
                await inside.box.add_channel_to_group(one, "room")

        nursery.start_soon(join_and_be_cancelled)
        nursery.start_soon(inside.box.add_channel_to_group, two, "room")
        scope.cancel()
        await settle()
        await wait_all_tasks_blocked()
        assert inside.box.size_of("room") == 1
        assert await inside.say("hello")
        assert inside.got == [[], ["hello"]]
        inside.box.leave_nowait(two, "room")
        await settle()
        assert not await inside.say("nobody there")
