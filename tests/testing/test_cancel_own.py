"""Cancel everywhere over our own operations: every step of every scenario leaves nothing behind.

Each test is one scenario. It yields what is cancelled, at every step and with two orders of tasks, and then says what
must hold, whether that was cancelled or not.
"""

from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from nexios_trio.application import NexiosApp
from nexios_trio.testing import run_app
from nexios_trio.testing.client import connect
from nexios_trio.websockets import Channel, WebSocket, open_channel

pytestmark = pytest.mark.cancel_everywhere(seeds=(0, 1))


class Room:
    """An application whose handlers wait, and their channels."""

    def __init__(self, **limits) -> None:
        self.app = NexiosApp(**limits)
        self.channels: list[Channel] = []
        self.box = self.app.box

        @self.app.ws_route("/")
        async def handler(ws: WebSocket):
            async with open_channel(ws) as channel:
                self.channels.append(channel)
                async for _ in ws:
                    pass

    def is_empty(self) -> bool:
        statistics = self.box.statistics()
        return (statistics.channels, statistics.groups, self.box.channels()) == (0, 0, [])


@asynccontextmanager
async def one_member(**limits):
    room = Room(**limits)
    async with run_app(room.app):
        async with connect(room.app) as ws:
            await trio.testing.wait_all_tasks_blocked()
            yield room, room.channels[0], ws
        assert room.is_empty()


async def test_join():
    async with one_member() as (room, channel, ws):
        yield lambda: room.box.add_channel_to_group(channel, "room")
        was_in = room.box.size_of("room")
        await room.box.group_send("room", "news")
        assert await room.box.remove_channel_from_group(channel, "room")
        assert [await ws.receive_json() for _ in range(was_in)] == ["news"] * was_in
        assert ws.unread() == []


async def test_leave():
    async with one_member() as (room, channel, _):
        await room.box.add_channel_to_group(channel, "room")
        yield lambda: room.box.remove_channel_from_group(channel, "room")
        assert room.box.size_of("room") == 0


async def test_member_block():
    async with one_member() as (room, channel, _):

        async def operation():
            async with room.box.member(channel, "room"), room.box.member(channel, "other"):
                await room.box.group_send("room", "x")
                await trio.sleep(1)

        yield operation
        assert (await room.box.show_groups()) == {}


async def test_send():
    async with one_member() as (_, channel, ws):
        yield lambda: channel.send("one")
        await channel.send("two")
        first = await ws.receive_json()
        assert first == "two" or (first, await ws.receive_json()) == ("one", "two")


async def test_send_to_a_stalled_peer():
    async with one_member(outbox_messages=8) as (_, channel, ws):
        ws.stall()

        async def operation():
            with trio.move_on_after(3):
                for index in range(15):
                    await channel.send(index)

        yield operation
        ws.resume()
        await trio.testing.wait_all_tasks_blocked()
        unread = ws.unread()
        assert unread == [str(index) for index in range(len(unread))]  # in order, nothing torn out


async def test_receive():
    app = NexiosApp()
    sockets, got = [], []

    @app.ws_route("/")
    async def handler(ws: WebSocket):
        await ws.accept()
        sockets.append(ws)
        await trio.sleep(1)

    async def operation():
        async for message in sockets[0]:
            got.append(message)

    async with run_app(app), connect(app) as ws:
        await ws.send_text("one")
        await ws.send_text("two")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ws.close)
            yield operation
        await operation()
        assert got == ["one", "two"]  # nothing lost, nothing twice


async def test_group_send():
    async with one_member() as (room, _, ws), connect(room.app) as other:
        await trio.testing.wait_all_tasks_blocked()
        for each in room.channels:
            await room.box.add_channel_to_group(each, "room")
        yield lambda: room.box.group_send("room", "news", save_history=True)
        kept = len(await room.box.show_history("room"))
        await trio.testing.wait_all_tasks_blocked()
        assert ws.unread() == other.unread() == ['"news"'] * kept  # all of them, or nobody


async def test_close():
    async with one_member() as (room, channel, ws):
        await room.box.add_channel_to_group(channel, "room")
        await channel.send("last")
        yield lambda: channel.close(4000, "over")
        await ws.close()
        assert ws.end is not None
        assert ws.end.code in (4000, 1000, 1006)


async def test_close_all():
    async with one_member() as (room, _, ws), connect(room.app) as other:
        await trio.testing.wait_all_tasks_blocked()
        other.stall()
        await room.channels[1].send("held up")
        yield lambda: room.box.close_all_connections(1001)
        other.resume()
        ws.lose()


def service_tasks() -> list[str]:
    root = trio.lowlevel.current_root_task()
    assert root is not None
    names, tasks = [], [root]
    while tasks:
        task = tasks.pop()
        names.append(task.name)
        for nursery in task.child_nurseries:
            tasks.extend(nursery.child_tasks)
    return [name for name in names if name.startswith("nexios_trio ")]


async def test_a_connection_of_an_application_that_nobody_has_started():
    """Whoever is cancelled while the one system task starts or ends lets go of it."""
    room = Room()

    async def operation():
        async with connect(room.app) as ws:
            await ws.send_text("x")
            await trio.sleep(1)

    yield operation
    await trio.sleep(2)  # what a server may still say is thrown away for a while
    assert room.is_empty()
    assert service_tasks() == []


async def test_a_host_s_block():
    room = Room()
    room.app.on_startup(trio.lowlevel.checkpoint)
    room.app.on_shutdown(trio.lowlevel.checkpoint)

    async def operation():
        async with room.app.running():
            room.app.start_soon(trio.sleep_forever)
            async with connect(room.app) as ws:
                await ws.send_text("x")
            await trio.sleep(1)

    yield operation
    await trio.sleep(2)
    assert room.is_empty()
    assert service_tasks() == []
    async with room.app.running():  # and it can be started again
        pass
