"""Joining at a position while something goes wrong: two joins at once, what is not kept, gaps."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from nexios_trio import OLDEST, NexiosApp, Position, WebSocket, open_channel
from nexios_trio.channels.connection_binding import ConnectionBinding
from nexios_trio.engines.hub.hub import Hub
from nexios_trio.exceptions import EngineError, LifecycleError
from nexios_trio.testing import connect, run_app
from nexios_trio.websockets import ChannelBox
from tests.engines.hub.test_hub import Node, worker

ROOM = "room"


async def test_a_newcomer_is_told_of_what_it_missed_while_it_caught_up(monkeypatch):
    """A message that is not kept is sent after the first page was read, and before the join."""
    monkeypatch.setattr(ConnectionBinding, "has_nothing_queued", False)  # each message is waited for
    app = NexiosApp()
    results = []

    @app.ws_route("/chat")
    async def serve(ws: WebSocket) -> None:
        async with open_channel(ws) as channel:
            send, has_sent = channel.send_group_message, []

            async def slowly(message):
                await send(message)
                if not has_sent:
                    has_sent.append(message)
                    await app.box.group_send(ROOM, "not kept")

            channel.send_group_message = slowly
            results.append(await channel.resume(ROOM, OLDEST))
            await channel.receive()

    @app.ws_route("/member")
    async def stay(ws: WebSocket) -> None:
        async with open_channel(ws) as channel, channel.member(ROOM):
            await channel.receive()

    async with run_app(app):
        async with connect(app, "/member"):
            await wait_all_tasks_blocked()
            await app.box.group_send(ROOM, "kept", save_history=True)
            async with connect(app, "/chat") as client:
                assert await client.receive_json() == "kept"
                await wait_all_tasks_blocked()
                await client.send_json(None)
    assert not results[0].recovered


async def test_two_joins_of_one_channel_at_once():
    app = NexiosApp()
    failures = []

    @app.ws_route("/chat")
    async def serve(ws: WebSocket) -> None:
        async with open_channel(ws) as channel:

            async def join() -> None:
                try:
                    await channel.resume(ROOM, OLDEST)
                except LifecycleError as error:
                    failures.append(str(error))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(join)
                nursery.start_soon(join)
            await channel.receive()

    async with run_app(app):
        await app.box.group_send(ROOM, "kept", save_history=True)
        async with connect(app, "/chat") as client:
            await wait_all_tasks_blocked()
            await app.box.group_send(ROOM, "live")
            await client.send_json(None)
    assert len(failures) == 1


async def test_who_comes_back_after_a_gap_does_not_wait_for_what_will_never_come():
    hub = Hub()
    async with worker(hub) as link, worker(hub) as other:
        node, there = Node(link), Node(other)
        box = ChannelBox(node.engine)
        async with node.engine.run(), there.engine.run():
            with box.engine_client.joining(ROOM) as watch:
                await watch
                position = await there.publish(ROOM, 1)
                assert position is not None
                tail = box.engine_client.tail(ROOM)
                gap_end = Position(position.offset + 3, position.epoch)
                box._gap(ROOM, position, gap_end)
                assert tail.is_broken
                fresh = box.engine_client.tail(ROOM)
                with trio.fail_after(5):
                    await fresh.until(gap_end)
                assert not fresh.is_broken


async def test_a_group_send_that_fails_at_once_says_so():
    hub = Hub()
    async with worker(hub) as link:
        node = Node(link)
        box = ChannelBox(node.engine)
        async with node.engine.run():
            link._end()
            with pytest.raises(EngineError, match="the parent process is gone"):
                await box.group_send(ROOM, 1)
