"""What is told where a Redis or Valkey server has lost something, or seems to; and what must not be told."""

import signal
from contextlib import suppress

import trio

from nexios_trio import NexiosApp, Position, WebSocket, open_channel
from nexios_trio.core.message import Message
from nexios_trio.engines.base import EngineState, HistoryLimits
from nexios_trio.engines.redis.engine import RedisEngine
from nexios_trio.exceptions import EngineError
from nexios_trio.testing import connect, run_app
from tests.engines.redis.faults import RedisFaults
from tests.engines.redis.server import BINARIES, RedisProcess
from tests.engines.redis.test_engine import KEPT, Node, node_at, until

ROOM = "room"
BINARY = next(iter(BINARIES.values()), "")


async def start_again(server: RedisProcess, *engines: RedisEngine) -> None:
    """Kill it, start it, and wait until the engines have noticed."""
    links = [engine.client.link for engine in engines]
    await trio.to_thread.run_sync(server.stop, signal.SIGKILL)
    await trio.to_thread.run_sync(server.start)
    await until(
        lambda: all(
            engine.state is EngineState.UP and engine.client.link is not link
            for engine, link in zip(engines, links, strict=True)
        )
    )


# Nothing was lost


async def test_who_comes_back_right_after_a_start_is_told_of_nothing(restartable):
    """The history is of the new epoch, and what came live, which was nothing since, of the old one."""
    app = NexiosApp(engine=restartable.url, name="test-come-back")
    app.box.keep(ROOM)
    results = []

    @app.ws_route("/chat")
    async def chat(ws: WebSocket) -> None:
        since = ws.query_params.get("since", Position(0, "none"))
        async with open_channel(ws, positions=True) as channel, channel.member(ROOM, since=since) as joined:
            results.append(joined)
            await channel.receive()

    async with run_app(app), connect(app, "/chat"):
        await until(lambda: results)
        await app.box.group_send(ROOM, "first")
        position = (await app.box.engine.history(ROOM)).top
        await start_again(restartable, app.box.engine)
        async with connect(app, f"/chat?since={position}") as client:
            await until(lambda: len(results) == 2)
            assert results[1].recovered
            await app.box.group_send(ROOM, "second")
            assert (await client.receive_json())["data"] == "second"


async def test_another_try_after_a_start_gets_the_first_position_at_once(restartable):
    async with node_at(restartable.url, "test-try-again") as node:
        await node.engine.watch("group")
        first = await node.publish("text", key="key")
        await start_again(restartable, node.engine)
        with trio.fail_after(node.engine.deadline / 2):
            assert await node.publish("text", key="key") == first
        assert (node.got, node.gaps) == (["text"], [])


async def test_what_is_posted_while_the_engine_starts_is_sent_once(server):
    engine = RedisEngine(server.url)
    engine.name = "test-start-once"
    node = Node(engine)

    async def post() -> None:
        while engine.state is EngineState.STARTING:
            with suppress(EngineError):  # not even begun
                receipts.append(engine.post("group", Message(len(receipts), 0.0), keep=KEPT))
            await trio.sleep(0.0005)

    receipts = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(post)
        async with engine.run():
            assert [(await receipt).offset for receipt in receipts] == list(range(1, len(receipts) + 1))
            assert (await node.publish("late")).offset == len(receipts) + 1


async def test_many_groups_that_were_missed_do_not_break_the_next_link():
    """A server cuts a link that it owes too much: the groups are not all read at once."""
    large = HistoryLimits(max_bytes=1_000_000)
    groups = [f"group-{number}" for number in range(100)]
    with RedisProcess(BINARY, "--client-output-buffer-limit", "pubsub 3mb 0 0") as server:
        faults = RedisFaults(server, "test-many")
        async with faults.engine() as one, faults.engine() as two:
            node, other = Node(one), Node(two)
            async with one.run(), two.run():
                for receipt in [one.watch(group) for group in groups]:
                    await receipt
                with faults.cut_off(one):
                    for group in groups:
                        await other.engine.publish(group, Message("x" * 100_000, 0.0), keep=large)
                faults.proxies[one].opened = 0
                await until(lambda: len(node.got) == len(groups))
                assert (node.gaps, faults.proxies[one].opened) == ([], 1)


async def test_many_histories_that_are_read_at_once_do_not_break_the_link():
    large = HistoryLimits(max_bytes=1_000_000)
    with RedisProcess(BINARY, "--client-output-buffer-limit", "pubsub 3mb 0 0") as server:
        async with node_at(server.url, "test-reads") as node:
            await node.engine.watch("group")
            await node.engine.publish("group", Message("x" * 100_000, 0.0), keep=large)
            link, pages = node.engine.client.link, []

            async def read() -> None:
                pages.append(await node.engine.history("group", max_bytes=200_000))

            async with trio.open_nursery() as nursery:
                for _ in range(500):
                    nursery.start_soon(read)
            assert [len(page.messages) for page in pages] == [1] * 500
            assert node.engine.client.link is link


# Something was lost


async def test_a_publisher_without_members_knows_of_a_loss_that_nobody_else_saw(restartable):
    faults = RedisFaults(restartable, "test-knows")
    async with faults.engine() as first, faults.engine() as second:
        publisher, member = Node(first), Node(second)
        async with first.run(), second.run():
            await second.watch("group")
            position = await publisher.publish("seen")
            await until(lambda: member.got == ["seen"])
            with faults.cut_off(second):
                await publisher.publish("acknowledged, and lost")
                await faults.restart(loses=1)
            await until(lambda: member.gaps)
            assert member.gaps[0][0] is not None
            await publisher.publish("new")
            await until(lambda: member.got == ["seen", "new"])
            assert len(member.gaps) == 1
            assert not (await second.history("group", position)).complete


async def test_who_was_given_what_came_after_a_loss_is_told_of_it_too(restartable):
    """A client has followed into the new epoch, and is away when the node that has seen more comes back."""
    faults = RedisFaults(restartable, "test-followed")
    async with faults.engine() as first, faults.engine() as second:
        more, less = Node(first), Node(second)
        async with first.run(), second.run():
            for node in (more, less):
                await node.engine.watch("group")
            await more.publish("seen")
            await until(lambda: less.got == ["seen"])
            with faults.cut_off(second):
                await more.publish("lost")
                with faults.cut_off(first):
                    await faults.restart(loses=1)
                    faults.proxies[second].refuse(False)
                    await until(lambda: second.state is EngineState.UP)
                    position = await less.publish("new")
                    assert (await second.history("group", position)).complete
            await until(lambda: more.gaps and less.gaps)
            assert not (await second.history("group", position)).complete
            await less.publish("newer")
            await until(lambda: more.got[-1] == less.got[-1] == "newer")
            assert (more.got, less.got) == (["seen", "lost", "new", "newer"], ["seen", "new", "newer"])
            assert (len(more.gaps), len(less.gaps)) == (1, 1)


async def test_a_mark_is_made_once_however_often_the_server_is_started(restartable):
    faults = RedisFaults(restartable, "test-mark-once")
    async with faults.engine() as first, faults.engine() as second:
        one, two = Node(first), Node(second)
        async with first.run(), second.run():
            for node in (one, two):
                await node.engine.watch("group")
            for number in range(3):
                await one.publish(number)
            await until(lambda: two.got == [0, 1, 2])
            with faults.cut_off(second):
                await faults.restart(loses=1)
                await until(lambda: one.gaps)
                await start_again(restartable, first)
            await until(lambda: two.gaps)
            await two.publish("new")
            await until(lambda: one.got[-1] == two.got[-1] == "new")
            assert (len(one.gaps), len(two.gaps)) == (1, 1)


async def test_another_try_with_the_same_key_is_given_once_over_a_server_that_forgets(server):
    """By another node, with a message of its own."""
    async with node_at(server.url, "test-forgets") as one, node_at(server.url, "test-forgets") as two:
        for node in (one, two):
            await node.engine.watch("group")
        await one.publish("text", key="key")
        await until(lambda: two.got == ["text"])
        with server.talk() as ask:
            for key in ask("KEYS", "nx:test-forgets:*"):
                ask("DEL", key)
        await two.publish("text", key="key")
        await two.publish("other", key="other key")
        await until(lambda: one.got[-1] == two.got[-1] == "other")
        assert one.got == two.got == ["text", "other"]


async def test_a_key_may_be_used_anew_when_its_time_is_over(server):
    async with node_at(server.url, "test-anew") as node:
        await node.engine.watch("group")
        await node.publish("text", key="key")
        with server.talk() as ask:
            ask("DEL", *ask("KEYS", "nx:test-anew:k:*"))
        node.engine._watches.repairs.forget_old(trio.current_time())
        node.engine._watches.repairs.forget_old(trio.current_time() + 300)
        await node.publish("again", key="key")
        assert node.got == ["text", "again"]


async def test_who_is_not_recovered_can_be_told_before_anything_else_comes(server):
    """A client that leaves in between would come back with a position from behind the loss."""
    app = NexiosApp(engine=server.url, name="test-told-first")
    app.box.keep(ROOM)

    @app.ws_route("/chat")
    async def chat(ws: WebSocket) -> None:
        async with open_channel(ws, positions=True) as channel, channel.member(ROOM, since="void:5") as joined:
            if not joined.recovered:
                await channel.send("gone")
            await channel.receive()

    async def talk() -> None:
        while True:
            app.box.post(ROOM, "text")
            await trio.lowlevel.checkpoint()

    async with run_app(app), trio.open_nursery() as nursery:
        await app.box.group_send(ROOM, "text")
        nursery.start_soon(talk)
        for _ in range(20):
            async with connect(app, "/chat") as client:
                assert await client.receive_json() == {"data": "gone"}
        nursery.cancel_scope.cancel()
