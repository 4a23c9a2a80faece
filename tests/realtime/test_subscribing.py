"""Subscribing: who may, where the client stands, what was missed first, and nothing before the answer."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from nexios_trio import NexiosApp
from nexios_trio.connections.session import Session
from nexios_trio.core.message import Position
from nexios_trio.exceptions import EngineError
from nexios_trio.realtime.protocol.codecs import JSON, PROTOBUF
from nexios_trio.realtime.protocol.data import Data
from nexios_trio.realtime.protocol.parts import Error, Publication
from nexios_trio.realtime.protocol.replies import (
    PublishResult,
    Subscribe,
    SubscribeResult,
    Unsubscribe,
    UnsubscribeResult,
)
from nexios_trio.realtime.protocol.requests import PublishRequest, SubscribeRequest, UnsubscribeRequest
from tests.realtime.support import PATH, open_app, talking

both = pytest.mark.parametrize("codec", [JSON, PROTOBUF], ids=["json", "protobuf"])
KEPT, PLAIN = "room.1", "other"


async def publish(app, group, *payloads):
    for payload in payloads:
        await app.box.group_send(group, payload)


@both
@pytest.mark.parametrize("group", [KEPT, PLAIN])
async def test_what_is_published_from_then_on_comes(codec, group):
    app, _ = open_app()
    async with talking(app, codec) as talker, talking(app, codec) as other:
        result = await talker.subscribe(group)
        assert result.recoverable is (group == KEPT)
        assert isinstance(await other.ask(PublishRequest(group, Data({"n": 1}))), PublishResult)
        await publish(app, group, {"n": 2})
        assert await talker.publications(2) == [{"n": 1}, {"n": 2}]
        assert [push.channel for push in talker.pushes] == [group] * 2
        assert [push.event.offset for push in talker.pushes] == [1, 2]


@both
async def test_a_client_that_was_away_gets_what_it_has_missed(codec):
    app, _ = open_app()
    await publish(app, KEPT, 1, 2, 3)
    async with talking(app, codec) as talker:
        first = await talker.subscribe(KEPT)
        assert (first.offset, first.was_recovering, first.publications) == (3, False, [])
    await publish(app, KEPT, 4, 5)
    async with talking(app, codec) as talker:
        result = await talker.subscribe(KEPT, recover=True, offset=first.offset, epoch=first.epoch)
        assert (result.was_recovering, result.recovered, result.offset) == (True, True, 3)
        assert result.publications == [Publication(Data(4), offset=4), Publication(Data(5), offset=5)]
        await publish(app, KEPT, 6)
        assert await talker.publications(1) == [6]


async def test_what_does_not_fit_into_the_answer_follows_it():
    app, _ = open_app()
    top = app.box.engine.history_nowait(KEPT).top
    await publish(app, KEPT, *range(1, 1001))
    epoch = app.box.engine.history_nowait(KEPT, limit=0).top.epoch
    assert top.epoch
    async with talking(app) as talker:
        result = await talker.subscribe(KEPT, recover=True, offset=0, epoch=epoch)
        first = [each.data.value for each in result.publications]
        assert first == list(range(1, 257))
        await publish(app, KEPT, 1001)
        assert first + await talker.publications(1001 - 256) == list(range(1, 1002))


@pytest.mark.parametrize(
    ("fields", "recovered"),
    [
        ({"offset": 1}, True),  # without an epoch: that of now
        ({"offset": 3}, True),
        ({"offset": 4}, False),
        ({"offset": 1, "epoch": "another"}, False),
        ({"offset": 1, "epoch": "no epoch at all!"}, False),
        ({"offset": 2**63}, False),
    ],
)
async def test_what_can_be_recovered(fields, recovered):
    app, _ = open_app()
    await publish(app, KEPT, 1, 2, 3)
    async with talking(app) as talker:
        result = await talker.subscribe(KEPT, recover=True, **fields)
        assert (result.was_recovering, result.recovered) == (True, recovered)
        if not recovered:
            assert (result.offset, result.publications) == (3, [])
        assert await talker.ask(UnsubscribeRequest(KEPT)) == UnsubscribeResult()
        again = await talker.subscribe(KEPT, recover=True, flag=2, **fields)
        assert isinstance(again, SubscribeResult) if recovered else again == Error(112, "unrecoverable position")


async def test_what_is_gone_cannot_be_recovered():
    app = NexiosApp()
    app.box.keep("room.*", max_messages=2)
    app.realtime(PATH).groups("*", subscribe=True)
    await publish(app, KEPT, 1, 2, 3, 4)
    async with talking(app) as talker:
        result = await talker.subscribe(KEPT, recover=True, offset=1)
        assert (result.recovered, result.offset) == (False, 4)
        await publish(app, KEPT, 5)
        assert await talker.publications(1) == [5]


async def test_nothing_comes_before_the_answer_and_nothing_is_missing_behind_it():
    """Somebody publishes every few passes of the scheduler while clients come and go."""
    app, _ = open_app()
    async with trio.open_nursery() as nursery:

        async def talk():
            for number in range(1, 100_000):
                app.box.post(KEPT, number)
                app.box.post(PLAIN, number)
                for _ in range(8):
                    await trio.lowlevel.checkpoint()

        nursery.start_soon(talk)
        seen: tuple = ()
        for _ in range(20):
            async with talking(app) as talker:
                position = {} if not seen else {"recover": True, "offset": seen[0], "epoch": seen[1]}
                result = await talker.subscribe(KEPT, **position)
                assert talker.pushes == []
                assert not seen or result.recovered
                pushes = await talker.until(20)
                offsets = [each.offset for each in result.publications] + [each.event.offset for each in pushes]
                assert offsets == list(range(result.offset + 1, result.offset + 1 + len(offsets)))
                seen = offsets[-1], result.epoch
                await talker.subscribe(PLAIN)
                assert all(push.channel == KEPT for push in talker.pushes)
                await talker.until(len(talker.pushes) + 10)
                plain = [push.event.offset for push in talker.pushes if push.channel == PLAIN]
                assert len(plain) > 2
                assert plain == list(range(plain[0], plain[0] + len(plain)))
        nursery.cancel_scope.cancel()


@both
@pytest.mark.parametrize("group", [KEPT, PLAIN])
async def test_what_is_published_right_before_the_answer_comes_right_behind_it(codec, group, monkeypatch):
    """As when the answer has to wait for room in the outbox."""
    app, _ = open_app()
    send = Session.send
    async with talking(app, codec) as talker:

        async def send_late(session, frame):
            for number in (1, 2, 3):
                app.box.post(group, number)
            monkeypatch.undo()
            await wait_all_tasks_blocked()
            await send(session, frame)

        monkeypatch.setattr(Session, "send", send_late)
        result = await talker.subscribe(group)
        assert talker.pushes == []
        assert result.publications == []
        await publish(app, group, 4)
        assert await talker.publications(4) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (SubscribeRequest("no such name!"), Error(102, "unknown channel")),
        (SubscribeRequest("$user:YW5u"), Error(102, "unknown channel")),
        (SubscribeRequest(""), Error(102, "unknown channel")),
        (SubscribeRequest(KEPT, tf=True), Error(107, "there are no filters by tags")),
        (SubscribeRequest(KEPT, type=1), Error(108, "subscriptions are of type 0")),
    ],
    ids=["name", "reserved", "empty", "filter", "type"],
)
async def test_what_cannot_be_subscribed_to(request_, error):
    app, _ = open_app()
    async with talking(app) as talker:
        assert await talker.ask(request_) == error
        assert isinstance(await talker.subscribe(KEPT), SubscribeResult)


async def test_a_second_subscription_is_refused_and_the_first_goes_on():
    app, _ = open_app()
    async with talking(app) as talker:
        await talker.subscribe(KEPT)
        assert await talker.subscribe(KEPT) == Error(105, "already subscribed")
        await publish(app, KEPT, 1)
        assert await talker.publications(1) == [1]


async def test_there_is_a_limit():
    app, _ = open_app(max_groups_per_channel=2)
    async with talking(app) as talker:
        await talker.subscribe("a")
        await talker.subscribe("b")
        assert await talker.subscribe("c") == Error(106, "too many subscriptions")
        await talker.ask(UnsubscribeRequest("a"))
        assert isinstance(await talker.subscribe("c"), SubscribeResult)


# ---------------------------------------------------------------- who may


async def test_without_a_rule_nobody_may_do_anything():
    app = NexiosApp()
    app.realtime(PATH)
    async with talking(app) as talker:
        assert await talker.subscribe("a") == Error(103, "permission denied")
        assert await talker.ask(PublishRequest("a", Data(1))) == Error(103, "permission denied")
    assert app.box.statistics().groups == 0


async def test_the_first_pattern_holds_and_what_it_leaves_out_is_asked():
    asked = []

    async def authorize(client, group, action):
        asked.append((client.user, group, action))
        return group == "asked"

    app = NexiosApp()
    realtime = app.realtime(PATH, authorize=authorize)
    realtime.on_connect(lambda client: client.token)
    realtime.groups("own.*", subscribe=lambda client, group: group == f"own.{client.user}", publish=False)
    realtime.groups("*", publish=True)
    async with talking(app, token="ann") as talker:
        assert isinstance(await talker.subscribe("own.ann"), SubscribeResult)
        assert await talker.subscribe("own.bob") == Error(103, "permission denied")
        assert await talker.ask(PublishRequest("own.ann", Data(1))) == Error(103, "permission denied")
        assert isinstance(await talker.subscribe("asked"), SubscribeResult)
        assert await talker.subscribe("elsewhere") == Error(103, "permission denied")
        assert isinstance(await talker.ask(PublishRequest("elsewhere", Data(1))), PublishResult)
    assert asked == [("ann", "asked", "subscribe"), ("ann", "elsewhere", "subscribe")]


async def test_the_box_has_to_say_yes_as_well():
    asked = []

    def authorize(channel, group, action):
        asked.append((channel.user, group, action))
        return group == "both"

    app, _ = open_app(authorize=authorize)
    async with talking(app, token="ann") as talker:
        assert isinstance(await talker.subscribe("both"), SubscribeResult)
        assert await talker.subscribe("one") == Error(103, "permission denied")
        assert await talker.subscribe(KEPT) == Error(103, "permission denied")
        assert await talker.ask(PublishRequest("one", Data(1))) == Error(103, "permission denied")
    assert asked == [("ann", "both", "join"), ("ann", "one", "join"), ("ann", KEPT, "join"), ("ann", "one", "send")]
    assert app.box.statistics().groups == 0


@pytest.mark.parametrize("answer", [False, None, 1, "yes"], ids=repr)
async def test_any_answer_but_true_is_a_no(answer):
    app = NexiosApp()
    app.realtime(PATH, authorize=lambda client, group, action: answer).groups(
        "b", subscribe=lambda client, group: answer
    )
    async with talking(app) as talker:
        for group in "ab":
            assert await talker.subscribe(group) == Error(103, "permission denied")


async def test_a_rule_that_fails_is_a_no(caplog):
    app = NexiosApp()

    def authorize(client, group, action):
        raise RuntimeError("a mistake")

    app.realtime(PATH, authorize=authorize)
    async with talking(app) as talker:
        assert await talker.subscribe("a") == Error(100, "internal server error", True)
    assert app.box.statistics().groups == 0
    assert "a mistake" in caplog.text


# ---------------------------------------------------------------- the end, and the server's own


async def test_after_unsubscribing_nothing_comes():
    app, _ = open_app()
    async with talking(app) as talker:
        for group in (KEPT, PLAIN):
            await talker.subscribe(group)
            assert await talker.ask(UnsubscribeRequest(group)) == UnsubscribeResult()
            await publish(app, group, 1)
        assert await talker.ask(UnsubscribeRequest("never")) == UnsubscribeResult()
        await talker.client.expect_nothing()
    assert app.box.statistics().groups == 0


async def test_the_application_ends_a_subscription_for_good():
    app, realtime = open_app()
    clients = []
    realtime.on_connect(clients.append)
    async with talking(app) as talker:
        await talker.subscribe(KEPT)
        assert clients[0].unsubscribe(KEPT)
        assert not clients[0].unsubscribe(KEPT)
        [push] = await talker.until(1)
        assert (push.channel, push.event) == (KEPT, Unsubscribe(2000, "unsubscribed by the server"))
        await talker.subscribe(PLAIN)
        await app.box.remove_channel_from_group(clients[0], PLAIN)
        assert (await talker.until(2))[1].event.code == 2000
        assert clients[0].groups == []


async def test_the_application_subscribes_a_client():
    app, realtime = open_app()
    clients = []
    realtime.on_connect(clients.append)
    await publish(app, KEPT, 1)
    async with talking(app) as talker:
        for group in (KEPT, PLAIN):
            await clients[0].subscribe(group)
            await clients[0].subscribe(group)
            await publish(app, group, "x")
        pushes = await talker.until(4)
        assert [push.channel for push in pushes] == [KEPT, KEPT, PLAIN, PLAIN]
        subscribe = pushes[0].event
        assert isinstance(subscribe, Subscribe)
        assert (subscribe.recoverable, subscribe.offset) == (True, 1)
        assert pushes[1].event.offset == 2
        assert pushes[2].event == Subscribe()
        assert clients[0].groups == [KEPT, PLAIN]


async def test_who_is_made_a_member_past_the_endpoint_is_told():
    app, realtime = open_app()
    clients = []
    realtime.on_connect(clients.append)
    async with talking(app) as talker:
        await app.box.add_channel_to_group(clients[0], PLAIN)
        await publish(app, PLAIN, "x")
        first, second = await talker.until(2)
        assert first.event == Subscribe()
        assert second.event.data == Data("x")


@both
async def test_subscriptions_of_the_server_come_with_the_answer_and_recover(codec):
    from nexios_trio.realtime import Connected

    app, realtime = open_app()
    realtime.on_connect(lambda client: Connected(groups=[KEPT, PLAIN]))
    await publish(app, KEPT, 1)
    async with talking(app, codec, connects=False) as talker:
        answer = await talker.connect()
        assert sorted(answer.subs) == [PLAIN, KEPT]
        assert (answer.subs[KEPT].offset, answer.subs[KEPT].recovered) == (1, False)
        await publish(app, KEPT, 2)
        assert await talker.publications(1) == [2]
    await publish(app, KEPT, 3)
    async with talking(app, codec, connects=False) as talker:
        wanted = SubscribeRequest(recover=True, offset=2, epoch=answer.subs[KEPT].epoch)
        answer = await talker.connect(subs={KEPT: wanted})
        assert answer.subs[KEPT].recovered
        assert answer.subs[KEPT].publications == [Publication(Data(3), offset=3)]
        await publish(app, KEPT, 4)
        assert await talker.publications(1) == [4]


async def test_where_the_history_fails_behind_the_answer_the_client_subscribes_again(monkeypatch, caplog):
    """One answer, and then a notice; not a second answer to the same command."""
    app, _ = open_app()
    history, calls = app.box.engine.history, []

    async def fail_second(*args, **options):
        calls.append(args)
        if len(calls) == 2:
            raise EngineError("the engine is down")
        return await history(*args, **options)

    monkeypatch.setattr(app.box.engine, "history", fail_second)
    async with talking(app) as talker:
        assert isinstance(await talker.subscribe(KEPT), SubscribeResult)
        [push] = await talker.until(1)
        assert (push.channel, push.event.code) == (KEPT, 2500)
        assert isinstance(await talker.subscribe(KEPT), SubscribeResult)
        assert talker._answers == {}
    assert "the engine is down" in caplog.text


async def test_who_has_missed_messages_is_told_to_subscribe_again(autojump_clock):
    """The engine lost them: the client comes back by itself, and hears that they are gone."""
    app, _ = open_app()
    async with talking(app) as talker:
        await talker.subscribe(KEPT)
        await talker.subscribe(PLAIN)
        app.box._gap(KEPT, Position(1, "e"), Position(5, "e"))
        app.box._gap(PLAIN, None, None)
        [push] = await talker.until(1)
        assert (push.channel, push.event.code) == (KEPT, 2500)
        assert isinstance(await talker.subscribe(KEPT), SubscribeResult)
        await publish(app, PLAIN, 1)
        assert (await talker.until(2))[1].event.data == Data(1)


async def test_who_unsubscribes_meanwhile_is_told_nothing(autojump_clock):
    app, _ = open_app()
    async with talking(app) as talker:
        await talker.subscribe(KEPT)
        app.box._gap(KEPT, Position(1, "e"), Position(5, "e"))
        await talker.ask(UnsubscribeRequest(KEPT))
        await talker.client.expect_nothing(5.0)
        await wait_all_tasks_blocked()
