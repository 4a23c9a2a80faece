"""Who is present in the groups of a box: what applications are told, on one node."""

from contextlib import asynccontextmanager

import pytest
import trio

from nexios_trio import ChannelBox, NexiosApp, open_channel
from nexios_trio.engines.memory import MemoryEngine
from nexios_trio.exceptions import LifecycleError
from nexios_trio.groups import presence_changes
from nexios_trio.testing import ConnectionOver, connect

GRACE = 5.0


def chat(**options):
    """An application whose clients say who they are in the path, and are in a room."""
    app = NexiosApp()
    app.box.keep_presence("room.*", **{"grace": GRACE, **options})

    @app.ws_route("/{user}")
    async def talk(ws, user):
        if user != "nobody":
            ws.scope["user"] = user
        async with open_channel(ws) as channel, channel.member("room.1"):
            await channel.send("in")
            async for message in channel:
                try:
                    app.box.update_presence(channel, "room.1", message)
                except ValueError as error:
                    await channel.send(str(error))
                else:
                    await channel.send("said")

    return app


@asynccontextmanager
async def client(app, user):
    async with connect(app, f"/{user}") as ws:
        assert await ws.receive_json() == "in"
        yield ws


@asynccontextmanager
async def watched(app, group="room.1"):
    """What a watcher is told in the block: kinds and users, or infos where they are not of interest."""
    told = []

    async def watch(task_status):
        async with app.box.watch_presence(group) as changes:
            told.extend(("present", user.id) for user in changes.present)
            task_status.started()
            async for change in changes:
                told.append((change.kind, change.user or "nobody"))

    async with app.running(), trio.open_nursery() as nursery:
        await nursery.start(watch)
        yield told
        nursery.cancel_scope.cancel()


async def users(app, group="room.1"):
    return [user.user for user in await app.box.presence(group)]


async def test_a_user_joins_with_the_first_device_and_leaves_after_the_last(autojump_clock):
    app = chat()
    async with watched(app) as told:
        async with client(app, "ann"), client(app, "bob"):
            async with client(app, "ann"):
                assert await users(app) == ["ann", "bob"]
                assert [len(user.connections) for user in await app.box.presence("room.1")] == [2, 1]
            await trio.sleep(GRACE + 1)
            assert await users(app) == ["ann", "bob"]
        assert told == [("joined", "ann"), ("joined", "bob")]
        await trio.sleep(GRACE - 1)
        assert await users(app) == ["ann", "bob"]
        await trio.sleep(1.2)
        assert await users(app) == []
        assert told == [("joined", "ann"), ("joined", "bob"), ("left", "bob"), ("left", "ann")]


async def test_a_short_reconnect_shows_nothing(autojump_clock):
    app = chat()
    async with watched(app) as told:
        for _ in range(5):
            async with client(app, "ann"):
                await trio.sleep(1)
            await trio.sleep(GRACE - 0.5)
        await trio.sleep(GRACE + 1)
        assert told == [("joined", "ann"), ("left", "ann")]


async def test_each_connection_without_a_user_is_one_by_itself(autojump_clock):
    app = chat(grace=0)
    async with watched(app) as told:
        async with client(app, "nobody"), client(app, "nobody"):
            present = await app.box.presence("room.1")
            assert [user.user for user in present] == [None, None]
            assert len({user.id for user in present}) == 2
            assert {user.id for user in present} == {str(each.id) for user in present for each in user.connections}
        await trio.testing.wait_all_tasks_blocked()
        assert told == [("joined", "nobody")] * 2 + [("left", "nobody")] * 2


async def test_info_is_made_at_joining_and_may_change(autojump_clock):
    app = chat(info=lambda channel: {"name": channel.user_key.title()})
    async with app.running(), trio.open_nursery() as nursery:
        got = []

        async def watch(task_status):
            async with app.box.watch_presence("room.1") as changes:
                task_status.started()
                async for change in changes:
                    got.append((change.kind, change.info, [user.info for user in changes.present]))

        await nursery.start(watch)
        async with client(app, "ann") as ws:
            await ws.send_json({"name": "Ann", "busy": True})
            assert await ws.receive_json() == "said"
            (user,) = await app.box.presence("room.1")
            assert user.info == user.connections[0].info == {"name": "Ann", "busy": True}
            await ws.send_json("x" * 4095)
            assert await ws.receive_json() == "the info of a presence has at most 4096 bytes of JSON, not 4097"
            await ws.send_json(None)
            await ws.receive_json()
        await trio.testing.wait_all_tasks_blocked()
        first, second = {"name": "Ann"}, {"name": "Ann", "busy": True}
        assert got == [("joined", first, [first]), ("updated", second, [second]), ("updated", None, [None])]
        nursery.cancel_scope.cancel()


async def test_what_the_info_function_raises_the_join_raises(autojump_clock):
    app = chat(info=lambda channel: object())
    async with app.running():
        async with connect(app, "/ann") as ws:
            with pytest.raises(ConnectionOver):
                await ws.receive()
        assert await users(app) == []
        assert app.box.size_of("room.1") == 0


async def test_only_members_of_groups_that_are_named_are_present(autojump_clock):
    app = chat()

    @app.ws_route("/other/{user}")
    async def other(ws, user):
        async with open_channel(ws) as channel, channel.member("lobby"):
            await channel.send("in")
            with pytest.raises(LifecycleError, match="nobody keeps the presence of group 'lobby'"):
                app.box.update_presence(channel, "lobby", 1)
            with pytest.raises(LifecycleError, match="is not present in group 'room.2'"):
                app.box.update_presence(channel, "room.2", 1)
            await channel.receive()

    async with app.running(), client(app, "other/ann"):
        assert not app.box._presence.node.entries
        assert await users(app, "room.2") == []
        for wrong in (app.box.presence("lobby"), NexiosApp().box.presence("room.1")):
            with pytest.raises(LifecycleError, match=r"keep_presence\("):
                await wrong
        with pytest.raises(LifecycleError, match=r"keep_presence\("):
            async with app.box.watch_presence("lobby"):
                pass
        with pytest.raises(ValueError, match="group name"):
            await app.box.presence("room.1 ")


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"grace": -1}, ValueError, "grace is 0 seconds or more, not -1"),
        ({"grace": "1"}, TypeError, "grace is a number of seconds, not str"),
        ({"lease": 0}, ValueError, "lease is more than 0 seconds, not 0"),
        ({"lease": float("inf")}, ValueError, "lease is a number of seconds, not inf"),
        ({"info": 1}, TypeError, r"info is a function \(channel\)"),
        ({"pattern": "room ?"}, ValueError, "invalid pattern"),
    ],
    ids=["grace", "text", "lease", "infinite", "info", "pattern"],
)
def test_what_no_policy_can_be_is_refused(options, error, text):
    box = ChannelBox()
    with pytest.raises(error, match=text):
        box.keep_presence(options.pop("pattern", "room.*"), **options)


def test_an_engine_that_does_not_know_who_is_present_is_told_of():
    class Without(MemoryEngine):
        has_presence = False

    with pytest.raises(LifecycleError, match="Without does not know who is present"):
        ChannelBox(Without()).keep_presence("room.*")


async def test_who_watches_later_begins_with_who_is_there(autojump_clock):
    app = chat()
    async with app.running(), client(app, "ann"):
        async with watched(app) as told, client(app, "bob"):
            await trio.testing.wait_all_tasks_blocked()
            assert told == [("present", "ann"), ("joined", "bob")]


async def test_a_watcher_that_is_slow_misses_nothing(autojump_clock, monkeypatch):
    monkeypatch.setattr(presence_changes, "MAX_QUEUED", 3)
    app = chat(grace=0)
    async with app.running(), app.box.watch_presence("room.1") as changes:
        async with client(app, "ann"), client(app, "bob"):
            for _ in range(5):
                async with client(app, "eve"):
                    pass
            await trio.testing.wait_all_tasks_blocked()
            got = [await anext(changes) for _ in range(2)]
            assert [(change.kind, change.user) for change in got] == [("joined", "ann"), ("joined", "bob")]
            assert [user.user for user in changes.present] == ["ann", "bob"]
        got = [await anext(changes) for _ in range(2)]
        assert [change.kind for change in got] == ["left", "left"]
        assert [change.version.offset for change in got] == [13, 14]


async def test_a_cancelled_reader_of_changes_misses_none(autojump_clock):
    app = chat(grace=0)
    async with app.running(), app.box.watch_presence("room.1") as changes:
        async with client(app, "ann"):
            with trio.CancelScope() as scope:
                scope.cancel()
                await anext(changes)
            assert (await anext(changes)).user == "ann"


async def test_nothing_is_left_of_watchers_and_members(autojump_clock):
    app = chat()
    engine = app.box.engine
    async with watched(app):
        async with client(app, "ann"):
            pass
        await trio.sleep(GRACE + 1)
    assert not app.box.broadcaster.listeners
    assert not app.box._presence.node.entries
    assert app.box._presence.node.watches == 0
    assert not engine._logs
    assert not app.box.engine_client._watches


async def test_leaving_and_joining_the_group_again_is_a_short_absence(autojump_clock):
    app = NexiosApp()
    app.box.keep_presence("room.*", grace=GRACE)

    @app.ws_route("/")
    async def hop(ws):
        ws.scope["user"] = "ann"
        async with open_channel(ws) as channel:
            for pause in (GRACE - 1, GRACE + 1):
                async with channel.member("room.1"):
                    await trio.sleep(1)
                await trio.sleep(pause)

    async with watched(app) as told:
        async with connect(app, "/"):
            await trio.sleep(4 * GRACE)
        assert told == [("joined", "ann"), ("left", "ann")]


async def test_groups_without_a_policy_are_what_they_were(autojump_clock):
    app = chat()
    async with watched(app), client(app, "ann"):
        assert list(await app.box.show_groups()) == ["room.1"]
        assert app.box.statistics().groups == 1
