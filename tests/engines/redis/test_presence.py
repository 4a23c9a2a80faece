"""Who is present on several nodes that share a Redis or Valkey server: applications, real servers, real faults."""

import json
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import trio

from nexios_trio import NexiosApp, open_channel
from nexios_trio.engines.base import EngineState
from nexios_trio.testing import connect
from tests.engines.redis.server import BINARIES, MISSING, SERVERS, RedisProcess
from tests.server.processes import QUICK, command
from tests.server.support import DEADLINE, Raw

GRACE, LEASE = 0.2, 60.0  # seconds: whoever leaves by a lease that ends does so too late for these tests
SECONDS = 20.0


class Watcher:
    """What somebody is told who watches on one node."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str | None]] = []
        self.present: set[str] = set()

    async def watch(self, app: NexiosApp, *, task_status: trio.TaskStatus[None]) -> None:
        async with app.box.watch_presence("room") as changes:
            self.present = {user.id for user in changes.present}
            task_status.started()
            async for change in changes:
                self.told.append((change.kind, change.user))
                self.present = {user.id for user in changes.present}


def ignore_gap(*_: Any) -> None:
    pass


def make_app(url: str, name: str) -> NexiosApp:
    app = NexiosApp(engine=url, name=name)
    app.box.keep_presence("room", grace=GRACE, lease=LEASE)

    @app.ws_route("/{user}")
    async def talk(ws: Any, user: str) -> None:
        ws.scope["user"] = user
        async with open_channel(ws) as channel, channel.member("room"):
            channel.on_gap(ignore_gap)  # else a channel is closed that has missed messages
            await channel.send("in")
            async for info in channel:
                app.box.update_presence(channel, "room", info)

    return app


@asynccontextmanager
async def serving(server: RedisProcess, name: str) -> AsyncIterator[NexiosApp]:
    app = make_app(server.url, name)
    async with app.running():
        yield app


@asynccontextmanager
async def member(app: NexiosApp, user: str) -> AsyncIterator[Any]:
    async with connect(app, f"/{user}") as client:
        assert await client.receive_json() == "in"
        yield client


async def users(app: NexiosApp) -> list[str]:
    return [user.id for user in await app.box.presence("room")]


async def until(condition: Any) -> None:
    with trio.fail_after(SECONDS):
        while not condition():
            await trio.sleep(0.01)


async def test_devices_on_several_nodes_are_one_user(server):
    watcher = Watcher()
    async with serving(server, "devices") as one, serving(server, "devices") as two, trio.open_nursery() as nursery:
        await nursery.start(watcher.watch, two)
        async with member(one, "ann"):
            async with member(two, "ann"), member(two, 'b"ö') as bob:
                assert await users(one) == await users(two) == ["ann", 'b"ö']
                await bob.send_json({"state": "busy ☕"})
                await until(lambda: len(watcher.told) == 3)
                infos = {user.id: user.info for user in await one.box.presence("room")}
                assert infos == {"ann": None, 'b"ö': {"state": "busy ☕"}}
            await until(lambda: len(watcher.told) == 4)
            assert await users(one) == ["ann"]
        await until(lambda: len(watcher.told) == 5)
        expected = [("joined", "ann"), ("joined", 'b"ö'), ("updated", 'b"ö'), ("left", 'b"ö'), ("left", "ann")]
        assert watcher.told == expected
        nursery.cancel_scope.cancel()


async def test_a_link_that_is_lost_shows_nothing_but_what_happened(server):
    watcher = Watcher()
    async with serving(server, "link") as one, serving(server, "link") as two, trio.open_nursery() as nursery:
        await nursery.start(watcher.watch, two)
        async with member(one, "ann"):
            async with member(one, "bob"):
                await until(lambda: len(watcher.told) == 2)
                with server.talk() as ask:
                    ask("CLIENT", "KILL", "TYPE", "pubsub")
            async with member(two, "eve"):
                await until(lambda: len(watcher.told) == 4)
                assert sorted(watcher.told[2:]) == [("joined", "eve"), ("left", "bob")]
                assert sorted(await users(one)) == sorted(await users(two)) == ["ann", "eve"]
        nursery.cancel_scope.cancel()


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--appendonly", "yes")], ids=["forgetting", "keeping"])
@pytest.mark.parametrize("binary", SERVERS)
async def test_a_server_that_is_started_again_is_told_anew_who_is_there(binary, options):
    """Those who stay have never left, whatever it has kept; those who went meanwhile leave once."""
    if binary is None:
        pytest.skip(MISSING)
    watcher = Watcher()
    with RedisProcess(BINARIES[binary], *options) as server:
        async with serving(server, "app") as one, serving(server, "app") as two, trio.open_nursery() as nursery:
            await nursery.start(watcher.watch, two)
            async with member(one, "ann"), member(two, "ann"), member(one, "bob"):
                async with member(one, "eve"):
                    await until(lambda: len(watcher.told) == 3)
                    await trio.to_thread.run_sync(server.stop, signal.SIGKILL)
                    await until(lambda: one.box.engine.state is two.box.engine.state is EngineState.DOWN)
                async with member_while_down(one, server):
                    await until(lambda: one.box.engine.state is two.box.engine.state is EngineState.UP)
                    if options:  # what was held by the incarnation before leaves with its lease
                        assert sorted(await users(one)) == ["ann", "bob", "eve", "new"]
                        expected = [("joined", "new")]
                    else:
                        assert sorted(await users(one)) == ["ann", "bob", "new"]
                        expected = [("joined", "new"), ("left", "eve")]
                    await until(lambda: len(watcher.told) >= 3 + len(expected))
                    assert sorted(watcher.told[3:]) == expected
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def member_while_down(app: NexiosApp, server: RedisProcess) -> AsyncIterator[None]:
    """Somebody joins; the server is back before that has failed."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, server.start)
        async with member(app, "new"):
            yield


async def test_after_everything_was_forgotten_all_agree_again(server):
    watcher = Watcher()
    async with serving(server, "flush") as one, serving(server, "flush") as two, trio.open_nursery() as nursery:
        await nursery.start(watcher.watch, two)
        async with member(one, "ann"), member(two, "bob"):
            await until(lambda: len(watcher.told) == 2)
            with server.talk() as ask:
                ask("FLUSHALL")
            async with member(one, "eve"), member(two, "dan"):
                await until(lambda: watcher.present == {"ann", "bob", "dan", "eve"})
                assert sorted(await users(one)) == sorted(await users(two)) == ["ann", "bob", "dan", "eve"]
        await until(lambda: watcher.present == set())
        nursery.cancel_scope.cancel()


async def opened(server: Any, stack: AsyncExitStack, path: str) -> tuple[Raw, Any]:
    client = await stack.enter_async_context(await server.connect())
    await client.handshake(path)
    return client, json.loads((await client.frame())[1])


COUNT = 300


@pytest.mark.slow
async def test_those_of_a_node_that_is_killed_leave_once_each(server, tmp_path):
    """Three nodes: whichever of the other two reaps, and both try to."""
    arguments = ("tests.engines.redis.presence_app:app", *QUICK, "--engine", f"{server.url}?prefix=nx-killed")
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(command(tmp_path / f"log{number}", *arguments)) for number in range(3)]
        victim, second, third = nodes
        await opened(second, stack, "/in/second")
        await opened(third, stack, "/in/third")
        for number in range(COUNT):
            await opened(victim, stack, f"/in/u{number}")
        for node in (third, second):
            await opened(node, stack, "/in/u0")  # whose other devices stay
        (watcher, seen), (other, same) = [await opened(node, stack, "/watch") for node in (second, third)]
        assert sorted(seen) == sorted(same) == sorted(["second", "third", *(f"u{n}" for n in range(COUNT))])
        victim.signal(signal.SIGKILL)
        told: list[Any] = []
        with trio.fail_after(DEADLINE):
            while len(told) < COUNT - 1:
                told.append(json.loads((await watcher.frame())[1]))
            assert [json.loads((await other.frame())[1]) for _ in range(COUNT - 1)] == told
        assert sorted(user for _, user, _ in told) == sorted(f"u{number}" for number in range(1, COUNT))
        assert {kind for kind, _, _ in told} == {"left"}
        versions = [version for _, _, version in told]
        assert versions == list(range(versions[0], versions[0] + len(versions)))
        await opened(third, stack, "/in/u1")
        assert json.loads((await watcher.frame())[1])[:2] == ["joined", "u1"]
