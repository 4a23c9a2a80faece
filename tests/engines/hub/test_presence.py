"""Who is present in several workers: boxes whose engines share a hub, in one process and virtual time."""

import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import trio

from nexios_trio import ChannelBox, NexiosApp, open_channel
from nexios_trio.engines.hub import node as hub_node
from nexios_trio.engines.hub.engine import HubEngine
from nexios_trio.engines.hub.hub import Hub
from nexios_trio.engines.presence import PresenceEdit, Renewal
from nexios_trio.engines.receipt import Receipt
from nexios_trio.testing import connect
from tests.engines.hub.test_hub import worker

GRACE, LEASE = 2.0, 9.0


def make_app(engine: HubEngine) -> NexiosApp:
    app = NexiosApp(box=ChannelBox(engine, name="app"))
    app.box.keep_presence("room", grace=GRACE, lease=LEASE)

    @app.ws_route("/{user}")
    async def talk(ws: Any, user: str) -> None:
        ws.scope["user"] = user
        async with open_channel(ws) as channel, channel.member("room"):
            await channel.send("in")
            async for info in channel:
                app.box.update_presence(channel, "room", info)

    return app


@asynccontextmanager
async def serving(hub: Hub) -> AsyncIterator[NexiosApp]:
    """A worker with an application. Leaving the block is its end."""
    async with worker(hub) as link:
        app = make_app(HubEngine(link))
        async with app.running():
            yield app


class Watcher:
    """What somebody is told who watches on one of them."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str | None]] = []
        self.versions: list[int] = []

    async def watch(self, app: NexiosApp, *, task_status: trio.TaskStatus[None]) -> None:
        async with app.box.watch_presence("room") as changes:
            task_status.started()
            async for change in changes:
                self.told.append((change.kind, change.user))
                self.versions.append(change.version.offset)


@asynccontextmanager
async def member(app: NexiosApp, user: str) -> AsyncIterator[Any]:
    async with connect(app, f"/{user}") as client:
        assert await client.receive_json() == "in"
        yield client


async def users(app: NexiosApp) -> list[str]:
    return [each.id for each in await app.box.presence("room")]


async def settled() -> None:
    await trio.testing.wait_all_tasks_blocked()
    await trio.sleep(0.01)


async def test_devices_on_several_workers_are_one_user(autojump_clock):
    hub, watcher = Hub(), Watcher()
    async with serving(hub) as one, serving(hub) as two, trio.open_nursery() as nursery:
        await nursery.start(watcher.watch, two)
        async with member(one, "ann"):
            async with member(two, "ann"), member(two, "bob") as bob:
                assert await users(one) == await users(two) == ["ann", "bob"]
                await bob.send_json("busy")
                await settled()
            await trio.sleep(GRACE + 1)
            assert await users(one) == await users(two) == ["ann"]
        async with member(two, "ann"):  # back in time, on another worker
            await trio.sleep(GRACE + 1)
        await trio.sleep(GRACE + 1)
        assert watcher.told == [
            *[("joined", "ann"), ("joined", "bob"), ("updated", "bob"), ("left", "bob"), ("left", "ann")],
        ]
        assert watcher.versions == [1, 2, 3, 4, 5]
        nursery.cancel_scope.cancel()


async def test_those_of_a_worker_that_is_gone_leave_after_their_grace(autojump_clock):
    hub, watcher = Hub(), Watcher()
    async with serving(hub) as one, trio.open_nursery() as nursery:
        await nursery.start(watcher.watch, one)
        async with worker(hub) as link:
            app = make_app(HubEngine(link))
            async with app.running(), member(app, "ann"), member(app, "bob"), member(one, "bob"):
                assert sorted(await users(one)) == ["ann", "bob"]
                link._sock.shutdown(socket.SHUT_RDWR)  # as the kernel does for one that is killed
                await trio.sleep(GRACE - 0.1)
                assert watcher.told == [("joined", "ann"), ("joined", "bob")]
                await trio.sleep(0.2)
                assert watcher.told[2:] == [("left", "ann")]
        nursery.cancel_scope.cancel()


async def test_a_worker_that_stands_still_past_its_lease_is_told_and_begins_anew(autojump_clock, caplog):
    hub, watcher = Hub(), Watcher()
    async with serving(hub) as one, serving(hub) as two, trio.open_nursery() as nursery:
        await nursery.start(watcher.watch, one)
        async with member(two, "ann"):
            await settled()
            node = two.box._presence.node
            two.box.timers.stop(node._timer)
            await trio.sleep(LEASE + GRACE + 1)
            assert watcher.told == [("joined", "ann"), ("left", "ann")]
            async with member(two, "bob"):
                await settled()
                assert watcher.told[2:] == [("joined", "ann"), ("joined", "bob")]
                await trio.sleep(3 * LEASE)
                assert len(watcher.told) == 4
        nursery.cancel_scope.cancel()


async def test_a_worker_that_renews_keeps_what_it_holds(autojump_clock):
    hub, watcher = Hub(), Watcher()
    async with serving(hub) as one, serving(hub) as two, trio.open_nursery() as nursery:
        await nursery.start(watcher.watch, one)
        async with member(two, "ann"):
            await trio.sleep(20 * LEASE)
            assert watcher.told == [("joined", "ann")]
        nursery.cancel_scope.cancel()


async def test_a_watcher_with_no_room_for_events_compares(autojump_clock, monkeypatch):
    monkeypatch.setattr(hub_node, "MAX_QUEUED_BYTES", 1)
    hub, watcher = Hub(), Watcher()
    async with serving(hub) as one, serving(hub) as two, trio.open_nursery() as nursery:
        await nursery.start(watcher.watch, one)
        async with member(two, "ann"), member(two, "bob"), member(two, "eve"):
            with trio.fail_after(5):
                while len(watcher.told) < 3:
                    await trio.sleep(0.01)
            assert sorted(watcher.told) == [("joined", "ann"), ("joined", "bob"), ("joined", "eve")]
        nursery.cancel_scope.cancel()


async def test_many_join_while_one_renewal_is_on_its_way(autojump_clock):
    hub, count = Hub(), 1200
    async with serving(hub) as one, serving(hub) as two:
        node = two.box._presence.node
        sent = []
        renew = two.box.engine.renew

        def seen(renewal: Renewal) -> Receipt:
            sent.append(len(renewal.edits))
            return renew(renewal)

        two.box.engine.renew = seen
        for number in range(count):
            node.enter(edit(number))
        await node.settle()
        assert sent == [1, 500, 500, 199]
        assert len(await users(one)) == count
        for number in range(count):
            node.leave("room", edit(number).client)
        await node.settle()
        await trio.sleep(GRACE + 1)
        assert await users(one) == []


async def test_many_who_stay_cost_three_frames_for_each_lease_and_no_more_work_than_few(autojump_clock):
    """In frames and function calls, which are the same on every machine."""
    costs = []
    for count in (20, 20_000):
        hub = Hub()
        async with serving(hub) as app:
            node, engine = app.box._presence.node, app.box.engine
            for number in range(count):
                node.enter(edit(number))
            await node.settle()
            assert len(await users(app)) == count
            sent, renew = [], engine.renew

            def seen(renewal: Renewal, sent: list[int] = sent, renew: Any = renew) -> Receipt:
                sent.append(len(renewal.edits))
                return renew(renewal)

            engine.renew = seen
            await trio.sleep(10 * LEASE + 1)
            assert sent == [0] * 30
            engine.renew = renew
            costs.append(calls_of(node._tick))
            await node.settle()
    assert costs[0] == costs[1]


def calls_of(function: Any) -> int:
    calls = 0

    def count(frame: Any, event: str, arg: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(None)
    return calls


def edit(number: int) -> PresenceEdit:
    return PresenceEdit("room", str(UUID(int=number)), True, f"u{number}", "", GRACE)
