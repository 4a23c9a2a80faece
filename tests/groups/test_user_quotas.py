"""How much one user may have and do: settings, and what the peer sees when it is too much."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from nexios_trio import OLDEST, ChannelBox, NexiosApp
from nexios_trio.exceptions import QuotaExceeded
from nexios_trio.testing import Broker, connect, run_app
from nexios_trio.testing.simulation.determinism import deterministic
from nexios_trio.websockets import Channel, WebSocket, open_channel

GONE = (4002, "too many connections of this user")


def make_app(may_go: trio.Event | None = None, **options: Any) -> NexiosApp:
    """What a client says is done: join NAME, leave NAME, post, send, tell (a user), linger (until it may go)."""
    app = NexiosApp(**options)

    @app.ws_route("/")
    async def handler(ws: WebSocket) -> None:
        ws.user = ws.query_params.get("user")
        action = ""
        async with open_channel(ws) as channel:
            async for text in channel:
                action, _, name = text.partition(" ")
                if action == "join":
                    await app.box.add_channel_to_group(channel, name)
                elif action == "nowait":
                    app.box.join_nowait(channel, name)
                elif action == "leave":
                    await app.box.remove_channel_from_group(channel, name)
                elif action == "post":
                    app.box.post(name or "nobody", 1)
                elif action == "send":
                    await app.box.group_send(name or "nobody", 1)
                elif action == "tell":
                    await app.user("bob").send(1)
                elif action == "linger":
                    break
                await channel.send(f"{text}: done")
        if action == "linger":
            await ws.close()
            if may_go is not None:
                await may_go.wait()

    return app


class There:
    """Clients of one application."""

    def __init__(self, app: NexiosApp, may_go: trio.Event, stack: AsyncExitStack) -> None:
        self.app = app
        self.may_go = may_go
        self._stack = stack

    async def come(self, user: str = "ann") -> Any:
        query = {"user": user} if user else {}
        client = await self._stack.enter_async_context(connect(self.app, query=query))
        await wait_all_tasks_blocked()
        return client


@asynccontextmanager
async def there(box: ChannelBox | None = None, **limits: int) -> AsyncIterator[There]:
    may_go = trio.Event()
    app = make_app(may_go, box=box, **limits)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(run_app(app))
        yield There(app, may_go, stack)
        await stack.aclose()
    assert box is not None or not nothing_left(app)


def nothing_left(app: NexiosApp) -> list[Any]:
    """What is counted of users that are not there any more."""
    quotas = app.box.quotas
    assert quotas is not None
    return [kept for kept in (quotas._open, quotas._joined, quotas._joined_as) if kept]


async def say(client: Any, *texts: str) -> None:
    for text in texts:
        await client.send_json(text)
        assert await client.receive_json() == f"{text}: done"


# Connections


async def test_the_oldest_connection_goes_and_sees_why() -> None:
    async with there(max_connections_per_user=2) as app:
        first, second, bob = await app.come(), await app.come(), await app.come("bob")
        third = await app.come()
        assert await first.receive_close() == GONE
        fourth = await app.come()
        assert await second.receive_close() == GONE
        for client in (third, fourth, bob):
            await say(client, "join room")
        assert [len(await app.app.user(user).connections()) for user in ("ann", "bob")] == [2, 1]


async def test_a_connection_that_is_over_makes_room() -> None:
    async with there(max_connections_per_user=2) as app:
        stays, leaves = await app.come(), await app.come()
        await leaves.close()
        await wait_all_tasks_blocked()
        await say(await app.come(), "join room")
        await say(stays, "join room")


async def test_one_whose_handler_lingers_makes_room_too() -> None:
    async with there(max_connections_per_user=2) as app:
        stays, leaves = await app.come(), await app.come()
        await leaves.send_json("linger")
        await leaves.receive_close()
        await app.come()
        await say(stays, "join room")
        app.may_go.set()


async def test_who_has_no_user_is_not_counted() -> None:
    async with there(max_connections_per_user=1, max_groups_per_user=1, max_publishes_per_user=1) as app:
        for client in [await app.come("") for _ in range(3)]:
            await say(client, "join 1", "join 2", "post", "post", "send", "send")


async def test_another_user_on_the_same_connection() -> None:
    app = NexiosApp(max_connections_per_user=1)

    @app.ws_route("/")
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        async for name in ws.iter_text():
            ws.user = name
            await ws.send_text(name)

    async with run_app(app), connect(app) as one, connect(app) as other:
        await one.send_text("ann")
        assert await one.receive_text() == "ann"
        await one.send_text("bob")
        assert await one.receive_text() == "bob"
        await other.send_text("ann")
        assert await other.receive_text() == "ann"
        await one.expect_nothing()
        await other.send_text("bob")
        assert await one.receive_close() == GONE
    assert not nothing_left(app)


@pytest.mark.parametrize("seed", range(5))
async def test_what_the_oldest_connection_had_is_free_for_the_newest(seed: int) -> None:
    """In whatever order the handlers go on: the newest joins before the one that has to go has looked."""
    with deterministic(seed):
        app = NexiosApp(max_connections_per_user=1, max_groups_per_user=1)

        @app.ws_route("/{group}")
        async def handler(ws: WebSocket, group: str) -> None:
            ws.user = "ann"
            async with open_channel(ws) as channel, channel.member(group):
                await channel.send("in")
                async for _ in ws:
                    pass

        async with run_app(app), AsyncExitStack() as stack:
            before = None
            for group in "abcd":
                client = await stack.enter_async_context(connect(app, f"/{group}"))
                assert await client.receive_json() == "in"
                assert before is None or await before.receive_close() == GONE
                before = client


# Groups


async def test_one_group_too_many_closes_with_the_reason() -> None:
    async with there(max_groups_per_user=2) as app:
        tab, phone, bob = await app.come(), await app.come(), await app.come("bob")
        await say(tab, "join 1", "join 1")
        await say(phone, "join 1", "join 2")
        await say(bob, "join 3")
        await phone.send_json("join 3")
        assert await phone.receive_close() == (1008, "too many groups of this user")
        await wait_all_tasks_blocked()
        await say(tab, "join 2", "leave 1", "join 3")


async def test_a_handler_may_go_on_and_the_error_says_how_many() -> None:
    app = NexiosApp(max_groups_per_user=1)

    @app.ws_route("/")
    async def handler(ws: WebSocket) -> None:
        ws.user = "ann"
        async with open_channel(ws) as channel, channel.member("one"):
            with pytest.raises(QuotaExceeded) as caught:
                app.box.join_nowait(channel, "two")
            await channel.send(str(caught.value))
            second = Channel(ws)
            await app.box.add_channel_to_group(second, "one")
            await channel.send("in one by both")

    async with run_app(app), connect(app) as client:
        assert await client.receive_json() == "too many groups of this user: a user may be in 1 groups at a time"
        assert await client.receive_json() == "in one by both"
    assert not nothing_left(app)


async def test_joins_that_wait_for_the_engine_count() -> None:
    async with there(ChannelBox(Broker().engine()), max_groups_per_user=1) as app:
        client = await app.come()
        await say(client, "nowait 1")
        await client.send_json("nowait 2")
        assert await client.receive_close() == (1008, "too many groups of this user")
        other = await app.come("bob")
        await say(other, "join 1", "nowait 1")
        assert await app.app.user("bob").send("hello")  # the personal group is not counted
        assert await other.receive_json() == "hello"


async def test_of_joins_by_two_connections_that_wait_for_the_engine_one_closes_with_the_reason(
    autojump_clock: Any,
) -> None:
    async with there(ChannelBox(Broker(latency=0.1).engine()), max_groups_per_user=1) as app:
        tab, phone = await app.come(), await app.come()
        await trio.sleep(1)
        await say(tab, "nowait 1")
        await say(phone, "nowait 2")
        assert await phone.receive_close() == (1008, "too many groups of this user")
        await say(tab, "leave 1", "join 3")


async def test_no_history_of_one_group_too_many_is_sent() -> None:
    app = NexiosApp(max_groups_per_user=1)

    @app.ws_route("/")
    async def handler(ws: WebSocket) -> None:
        ws.user = "ann"
        async with open_channel(ws) as channel, channel.member("one"):
            with pytest.raises(QuotaExceeded):
                await app.box.resume(channel, "two", OLDEST)
            await channel.send("in one")

    async with run_app(app):
        await app.box.group_send("two", "a secret of many bytes", save_history=True)
        async with connect(app) as client:
            assert await client.receive_json() == "in one"


async def test_presence_and_the_count_both_hear_of_leaving() -> None:
    app = make_app(max_groups_per_user=1)
    app.box.keep_presence("room", grace=0)
    async with run_app(app):
        async with connect(app, query={"user": "ann"}) as client:
            await say(client, "join room")
            assert [user.id for user in await app.box.presence("room")] == ["ann"]
            await say(client, "leave room", "join hall")
            assert await app.box.presence("room") == []
        await wait_all_tasks_blocked()
        assert not nothing_left(app)


# Publishes


@pytest.mark.parametrize("action", ["send", "post", "tell"])
async def test_who_publishes_too_fast_is_closed_with_the_reason(action: str, autojump_clock: Any) -> None:
    async with there(max_publishes_per_user=5) as app:
        tab, phone, bob = await app.come(), await app.come(), await app.come("bob")
        for _ in range(5):
            await say(tab, action)
            await say(phone, action)
        await tab.send_json(action)
        assert await tab.receive_close() == (1008, "too many messages of this user")
        await trio.sleep(0.2)
        await say(phone, action)
        await phone.send_json(action)
        assert await phone.receive_close() == (1008, "too many messages of this user")
        while action == "tell" and bob.unread():
            await bob.receive()
        await say(bob, "post")
        for _ in range(20):
            await app.app.box.group_send("nobody", 1)  # the application's own


async def test_those_who_are_quiet_are_forgotten(autojump_clock: Any) -> None:
    async with there(max_publishes_per_user=5) as app:
        quotas = app.app.box.quotas
        assert quotas is not None
        for number in range(50):
            await say(await app.come(f"user{number}"), "post")
        assert len(quotas._buckets) == 50
        await trio.sleep(2.1)
        await say(await app.come(), "post")
        assert list(quotas._buckets) == ["ann"]


async def test_coming_back_does_not_help(autojump_clock: Any) -> None:
    async with there(max_publishes_per_user=1) as app:
        client = await app.come()
        await say(client, "post", "post")
        await client.close()
        client = await app.come()
        await client.send_json("post")
        assert (await client.receive_close())[0] == 1008


def test_without_settings_nothing_is_counted() -> None:
    assert NexiosApp().box.quotas is None


@pytest.mark.parametrize("name", ["max_connections_per_user", "max_groups_per_user", "max_publishes_per_user"])
def test_what_is_accepted(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a whole number from 1, or None for no bound, not 0"):
        NexiosApp(**{name: 0})
