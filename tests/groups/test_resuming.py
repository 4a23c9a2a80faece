"""Joining at a position: what was missed, then what comes, without a seam and without a double."""

import json

import pytest
import trio
from trio.testing import MockClock, assert_checkpoints, wait_all_tasks_blocked

from nexios_trio import OLDEST, NexiosApp, Position, Settings, open_channel
from nexios_trio.channels.connection_binding import ConnectionBinding
from nexios_trio.core.message import Message
from nexios_trio.engines.memory import MemoryEngine
from nexios_trio.exceptions import EngineError, LifecycleError, NotAuthorized
from nexios_trio.groups.resuming import RESUME_SECONDS, TURN_MESSAGES
from nexios_trio.testing import connect, run_app
from nexios_trio.testing.simulation.broker import Broker
from nexios_trio.websockets import Channel, ChannelBox, WebSocket

ROOM = "room"


class Chat:
    """An application whose clients join ROOM at the position that they send first."""

    def __init__(self, *engines, **options):
        self.results = []
        self.apps = [NexiosApp(box=ChannelBox(engine, history_overflow="trim", **options)) for engine in engines]
        for app in self.apps:
            app.ws_route("/chat")(self.serve)

    async def serve(self, ws: WebSocket) -> None:
        async with open_channel(ws, positions=True) as channel:
            since = await channel.receive()
            async with channel.member(ROOM, since=OLDEST if since is None else since) as result:
                self.results.append(result)
                async for _ in channel:
                    pass


@pytest.fixture
def takes_nothing_at_once(monkeypatch):
    """What is caught up with is waited for, message by message."""
    monkeypatch.setattr(ConnectionBinding, "has_nothing_queued", False)


@pytest.fixture
async def chat():
    chat = Chat(None)
    async with run_app(chat.apps[0]):
        yield chat


def numbers(messages):
    return [message["data"] for message in messages]


async def say(app, *payloads):
    for payload in payloads:
        await app.box.group_send(ROOM, payload, save_history=True)


async def receive(client, count):
    return [await client.receive_json() for _ in range(count)]


async def test_a_newcomer_gets_what_is_kept_and_then_what_comes(chat):
    app = chat.apps[0]
    await say(app, 1, 2)
    async with connect(app, "/chat") as client:
        await client.send_json(None)
        got = await receive(client, 2)
        await say(app, 3)
        got += await receive(client, 1)
    assert numbers(got) == [1, 2, 3]
    assert [Position.parse(message["position"]).offset for message in got] == [1, 2, 3]
    assert {message["group"] for message in got} == {ROOM}
    [result] = chat.results
    assert result.recovered
    assert result.sent == 2


async def test_who_comes_back_gets_what_it_missed(chat):
    app = chat.apps[0]
    await say(app, 1)
    async with connect(app, "/chat") as client:
        await client.send_json(None)
        [first] = await receive(client, 1)
    await say(app, 2, 3)
    async with connect(app, "/chat") as client:
        await client.send_json(first["position"])
        assert numbers(await receive(client, 2)) == [2, 3]
        await say(app, 4)
        assert numbers(await receive(client, 1)) == [4]
    assert chat.results[1].recovered


async def test_what_is_gone_is_told(chat):
    app = chat.apps[0]
    await say(app, 1)
    async with connect(app, "/chat") as client:
        await client.send_json(None)
        [first] = await receive(client, 1)
    async with connect(app, "/chat") as witness, connect(app, "/chat") as client:
        await witness.send_json(None)
        await wait_all_tasks_blocked()
        await app.box.group_send(ROOM, 2)  # not kept
        await say(app, 3)
        await client.send_json(first["position"])
        await wait_all_tasks_blocked()
        await say(app, 4)
        assert numbers(await receive(client, 1)) == [4]
    assert not chat.results[2].recovered
    assert chat.results[2].sent == 0


@pytest.mark.parametrize("position", ["other.0:1", "{epoch}:99"])
async def test_a_position_of_another_epoch_or_of_the_future_is_not_recovered(chat, position):
    app = chat.apps[0]
    await say(app, 1)
    [message] = await app.box.show_history(ROOM)
    async with connect(app, "/chat") as client:
        await client.send_json(position.format(epoch=message.position.epoch))
        await wait_all_tasks_blocked()
        assert not chat.results[0].recovered


@pytest.mark.parametrize("bad", ["", "1", "a:-1", "a:01", "a:1 ", "a b:1", "x" * 65 + ":1", "a:" + "9" * 19, "a:1\n"])
def test_text_that_is_no_position(bad):
    with pytest.raises(ValueError, match="a position is what"):
        Position.parse(bad)


@pytest.mark.parametrize("bad", [7, b"a:1", ("a", 1), True])
async def test_what_is_no_position(chat, bad):
    async with connect(chat.apps[0], "/chat") as client:
        app = chat.apps[0]
        await client.send_json(None)
        await wait_all_tasks_blocked()
        [channel] = app.box.channels()
        with pytest.raises(TypeError, match="since is a Position"):
            await app.box.resume(channel, "other", bad)


def test_a_position_is_read_as_it_was_written():
    position = Position(12, "5f-a.3_")
    assert Position.parse(str(position)) == position


async def test_who_is_in_the_group_cannot_join_at_a_position(chat):
    app = chat.apps[0]
    async with connect(app, "/chat") as client:
        await client.send_json(None)
        await wait_all_tasks_blocked()
        [channel] = app.box.channels()
        with pytest.raises(LifecycleError, match="in 'room' already"):
            await app.box.resume(channel, ROOM, OLDEST)


async def test_resuming_is_a_checkpoint(chat):
    app = chat.apps[0]
    async with connect(app, "/chat") as client:
        await client.send_json(None)
        await wait_all_tasks_blocked()
        [channel] = app.box.channels()
        with assert_checkpoints():
            await channel.resume("quiet", OLDEST)


async def talk_without_a_pause(app, until: trio.Event):
    number = 0
    while not until.is_set():
        number += 1
        await app.box.group_send(ROOM, number, save_history=True)


@pytest.mark.parametrize("nodes", [1, 2])
async def test_newcomers_beside_a_talker_who_never_pauses(nodes):
    """On two nodes, the talker is on the other one."""
    broker = Broker()
    engines = [broker.engine() for _ in range(nodes)] if nodes > 1 else [MemoryEngine()]
    chat = Chat(*engines)
    over = trio.Event()
    async with trio.open_nursery() as nursery:
        for app in chat.apps:
            await nursery.start(_run, app, over)
        enough = trio.Event()
        async with trio.open_nursery() as talking:  # ends before the applications: what is on its way then would fail
            talking.start_soon(talk_without_a_pause, chat.apps[-1], enough)
            for _ in range(60):
                async with connect(chat.apps[0], "/chat") as client:
                    await client.send_json(None)
                    got = numbers(await receive(client, 60))
                    assert got == list(range(got[0], got[0] + 60))
            enough.set()
        over.set()
    assert all(result.recovered for result in chat.results)


async def test_what_comes_while_the_history_is_read_says_whose_it_is(monkeypatch):
    """To a node on which the group has no other member."""
    broker = Broker()
    here, there = broker.engine(), broker.engine()
    chat = Chat(here, there)
    read = here.history
    meanwhile = ["meanwhile"]

    async def history(*arguments, **bounds):
        page = await read(*arguments, **bounds)
        if not page.messages and meanwhile:
            await say(chat.apps[1], meanwhile.pop())
            await wait_all_tasks_blocked()
        return page

    monkeypatch.setattr(here, "history", history)
    async with run_app(chat.apps[0]), run_app(chat.apps[1]):
        await say(chat.apps[1], "before")
        async with connect(chat.apps[0], "/chat") as client:
            await client.send_json(None)
            messages = await receive(client, 2)
    assert numbers(messages) == ["before", "meanwhile"]
    assert [message["group"] for message in messages] == [ROOM, ROOM]
    assert meanwhile == []


async def _run(app, over, task_status=trio.TASK_STATUS_IGNORED):
    async with run_app(app):
        task_status.started()
        await over.wait()


async def test_a_message_for_others_is_not_sent_to_who_comes_back():
    """Neither live nor later; the next one is no gap."""
    app = NexiosApp()

    @app.ws_route("/chat")
    async def serve(ws: WebSocket) -> None:
        async with open_channel(ws) as channel:
            await app.box.group_send(ROOM, "for others", save_history=True, exclude=channel)
            await app.box.group_send(ROOM, "for all", save_history=True)
            result = await channel.resume(ROOM, OLDEST)
            assert result.sent == 1
            await channel.receive()

    async with run_app(app), connect(app, "/chat") as client:
        assert await client.receive_json() == "for all"
        await client.send_json(None)


async def test_what_one_tab_says_to_all_others_comes_to_a_tab_that_is_there_and_not_to_one_that_comes_back():
    """A message that excludes a channel is for its user's other channels now, and for none of them later."""
    app = NexiosApp()
    app.box.keep(ROOM)

    @app.ws_route("/chat")
    async def serve(ws: WebSocket) -> None:
        ws.scope["user"] = ws.query_params["user"]
        async with open_channel(ws) as channel, channel.member(ROOM, since=OLDEST):
            async for text in channel:
                await app.box.group_send(ROOM, text, exclude=channel)
                await channel.send("said")

    async with run_app(app):
        async with connect(app, "/chat?user=ann") as one, connect(app, "/chat?user=ann") as two:
            await wait_all_tasks_blocked()
            await one.send_json("hello")
            assert await one.receive_json() == "said"
            assert await two.receive_json() == "hello"
        await wait_all_tasks_blocked()
        async with connect(app, "/chat?user=ann") as back, connect(app, "/chat?user=bob") as bob:
            assert await bob.receive_json() == "hello"
            await wait_all_tasks_blocked()
            assert back.unread() == []


async def test_a_cancelled_resume_leaves_no_member(chat):
    app = chat.apps[0]
    await say(app, *range(50))
    async with connect(app, "/chat") as client:
        await client.send_json(None)
        await receive(client, 50)
        [channel] = app.box.channels()
        with trio.CancelScope() as scope:
            scope.cancel()
            await channel.resume("another", OLDEST)
        assert scope.cancelled_caught
        assert app.box.size_of("another") == 0


async def test_somebody_else_in_the_meantime_does_not_join(takes_nothing_at_once):
    app = NexiosApp()
    refused = trio.Event()
    sent: list[str] = []

    @app.ws_route("/chat")
    async def serve(ws: WebSocket) -> None:
        async with open_channel(ws) as channel:
            ws.scope["user"] = "ann"

            async def send_group_message(message: Message) -> None:
                sent.append(message.payload)
                ws.scope["user"] = "bob"
                await trio.lowlevel.checkpoint()

            channel.send_group_message = send_group_message
            try:
                await channel.resume(ROOM, OLDEST)
            except NotAuthorized:
                refused.set()

    async with run_app(app):
        await say(app, "for ann", "for ann, too")
        async with connect(app, "/chat"):
            with trio.fail_after(5):
                await refused.wait()
        assert sent == ["for ann"]
        assert app.box.size_of(ROOM) == 0


async def test_a_peer_that_does_not_catch_up_in_time_joins_all_the_same(autojump_clock: MockClock):
    app = NexiosApp(settings=Settings(write_timeout=1000.0, outbox_messages=4))
    results = []

    @app.ws_route("/chat")
    async def serve(ws: WebSocket) -> None:
        async with open_channel(ws) as channel:

            async def stuck(message: Message) -> None:
                await trio.sleep_forever()

            channel.send_group_message = stuck
            begun = trio.current_time()
            results.append((await channel.resume(ROOM, OLDEST), trio.current_time() - begun))

    async with run_app(app):
        for number in range(2 * TURN_MESSAGES):
            await app.box.group_send(ROOM, number, save_history=True)
        async with connect(app, "/chat"):
            await trio.sleep(RESUME_SECONDS + 1)
    [(result, seconds)] = results
    assert not result.recovered
    assert seconds == pytest.approx(RESUME_SECONDS)


async def test_an_engine_that_fails_is_told():
    class Failing(MemoryEngine):
        async def history(self, *args, **options):
            await trio.lowlevel.checkpoint()
            raise EngineError("the link is down", maybe_published=False)

    chat = Chat(Failing())
    app = chat.apps[0]
    seen = []

    @app.ws_route("/fails")
    async def serve(ws: WebSocket) -> None:
        async with open_channel(ws) as channel:
            try:
                await channel.resume(ROOM, OLDEST)
            except EngineError as error:
                seen.append(str(error))

    async with run_app(app), connect(app, "/fails"):
        await wait_all_tasks_blocked()
    assert seen == ["the link is down"]
    assert app.box.size_of(ROOM) == 0


async def test_overridden_send_gets_what_was_missed():
    class Shouting(Channel):
        async def send(self, payload):
            await super().send(f"{payload}!")

    app = NexiosApp()

    @app.ws_route("/chat")
    async def serve(ws: WebSocket) -> None:
        await ws.accept()
        channel = Shouting(ws)
        async with channel.member(ROOM, since=OLDEST):
            await channel.receive()

    async with run_app(app):
        await say(app, "a", "b")
        async with connect(app, "/chat") as client:
            assert [json.loads(await client.receive_text()) for _ in range(2)] == ["a!", "b!"]
            await say(app, "c")
            assert await client.receive_json() == "c!"
            await client.send_json(None)
