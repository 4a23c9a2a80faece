"""Faults of the link between servers and of what they share, as users and their clients see them."""

import pytest
import trio

from nexios_trio import OLDEST, NexiosApp, open_channel, testing
from nexios_trio.core.message import Message
from nexios_trio.exceptions import EngineError
from nexios_trio.testing import Broker, World
from nexios_trio.websockets import ChannelBox, WebSocket

ROOM = "room"


async def test_a_watch_that_failed_while_a_node_stalled_is_none_when_it_goes_on(autojump_clock):
    async with World(make=make_chat, nodes=2) as world:
        one, other = [node.app.box.engine for node in world.nodes]
        world.stall_node(0, 8)
        with pytest.raises(EngineError):
            await one.watch("elsewhere")
        await trio.sleep(5)
        receipt = other.post("elsewhere", Message("for nobody", 0.0))
        await receipt
        assert not receipt.is_watched


def make_chat(**options) -> NexiosApp:
    app = NexiosApp(**options)
    app.box.keep(ROOM)

    @app.ws_route("/chat")
    async def chat(ws: WebSocket):
        since = ws.query_params.get("since", OLDEST)
        async with open_channel(ws, positions=True) as channel:
            async with channel.member(ROOM, since=since) as joined:
                await channel.send({"recovered": joined.recovered})
                async for text in channel:
                    await ChannelBox.group_send(ROOM, text)

    @app.ws_route("/listen")
    async def listen(ws: WebSocket):
        async with open_channel(ws) as channel:

            @channel.on_gap
            async def tell(channel, group, after, upto):
                await channel.send({"gap": [str(after), str(upto)]})

            async with channel.member(ROOM):
                async for _ in channel:
                    pass

    return app


async def said(client, count):
    """The payloads of the next messages, and the position of the last."""
    got = [await client.receive_json() for _ in range(count)]
    return [each["data"] for each in got], got[-1].get("position")


def box_of(world, node) -> ChannelBox:
    return world.nodes[node].app.box


async def test_nodes_share_rooms_unless_their_boxes_were_given_an_engine(autojump_clock):
    async with World(make=make_chat, nodes=3) as w:
        async with w.connect("/listen", node=0) as one, w.connect("/listen", node=2) as three:
            await w.settle()
            await box_of(w, 1).group_send(ROOM, "hello")
            assert await one.receive_json() == await three.receive_json() == "hello"
    with pytest.raises(TypeError, match="3 servers have an application each"):
        World(make_chat(), nodes=3)


async def test_a_short_cut_delays_both_ways_and_loses_nothing(autojump_clock):
    async with World(make=make_chat, nodes=3) as w:
        async with w.connect("/listen", node=0) as one, w.connect("/listen", node=1) as two:
            await w.settle()
            w.cut_engine(1, 3)
            await box_of(w, 0).group_send(ROOM, "there")
            await w.until(2)
            await box_of(w, 1).group_send(ROOM, "here")
            assert 4 <= w.now < 4.5
            for client in (one, two):
                assert sorted([await client.receive_json() for _ in range(2)]) == ["here", "there"]


async def test_a_long_cut_fails_what_is_posted_and_that_is_published_nowhere(autojump_clock):
    async with World(make=make_chat, nodes=2) as w:
        async with w.connect("/listen", node=0) as one, w.connect("/listen", node=1) as two:
            await w.settle()
            w.cut_engine(1, 20)
            await w.until(2)
            with pytest.raises(EngineError, match=r"\w") as caught:
                await box_of(w, 1).group_send(ROOM, "lost")
            assert not caught.value.maybe_published
            await box_of(w, 0).group_send(ROOM, "held")
            assert await one.receive_json() == "held"
            await w.until(20)
            assert two.unread() == []
            assert await two.receive_json(timeout=30) == "held"
            assert 21 <= w.now < 21.5
            await box_of(w, 1).group_send(ROOM, "after")
            assert await one.receive_json() == await two.receive_json() == "after"


async def test_a_join_waits_for_the_link_and_gives_up_at_the_deadline(autojump_clock):
    async with World(make=make_chat, nodes=2) as w:
        await box_of(w, 0).group_send(ROOM, "before")
        w.cut_engine(1, 3)
        async with w.connect("/chat", node=1) as client:
            assert await said(client, 2) == (["before", {"recovered": True}], None)
            assert 3 <= w.now < 3.5
        w.cut_engine(1, 30)
        async with w.connect("/chat", node=1) as client:
            assert (await client.receive_close(timeout=10)) == (1012, "groups are out of reach")
        assert box_of(w, 1).size_of(ROOM) == 0


async def test_a_stalled_node_gets_its_backlog_late_and_in_order(autojump_clock):
    async with World(make=make_chat, nodes=2) as w:
        async with w.connect("/listen", node=0) as one, w.connect("/listen", node=1) as two:
            await w.settle()
            w.stall_node(1, 8)
            with pytest.raises(EngineError) as caught:
                await box_of(w, 1).group_send(ROOM, 1, key="one")
            assert caught.value.maybe_published
            await box_of(w, 0).group_send(ROOM, 2)
            assert await one.receive_json() == 2
            assert two.unread() == []
            assert [await two.receive_json() for _ in range(2)] == [2, 1]
            assert await one.receive_json() == 1
            assert w.now == pytest.approx(9)
            await box_of(w, 1).group_send(ROOM, 1, key="one")  # again: it was published
            await two.expect_nothing(1)


async def test_who_joins_a_stalled_node_misses_nothing_and_gets_nothing_twice(autojump_clock):
    async with World(make=make_chat, nodes=2) as w, w.connect("/listen", node=1):
        await w.settle()
        w.stall_node(1, 3)
        for number in range(3):
            await box_of(w, 0).group_send(ROOM, number)
        async with w.connect("/chat", node=1) as client:
            await w.settle()
            await box_of(w, 0).group_send(ROOM, 3)
            assert await said(client, 5) == ([0, 1, 2, 3, {"recovered": True}], None)
            await client.expect_nothing(1)


async def test_a_lost_tail_is_told_and_positions_are_void(autojump_clock):
    async with World(make=make_chat, nodes=2) as w:
        async with w.connect("/listen", node=0) as warned, w.connect("/chat", node=1) as unaware:
            assert await unaware.receive_json() == {"data": {"recovered": True}}
            for number in range(4):
                await box_of(w, 0).group_send(ROOM, number)
            texts, since = await said(unaware, 4)
            assert texts == [await warned.receive_json() for _ in range(4)] == [0, 1, 2, 3]
            w.lose_tail(2)
            after, upto = (await warned.receive_json())["gap"]
            assert after == since
            assert upto.split(":")[0] != after.split(":")[0]
            assert (await unaware.receive_close())[0] == 1012
            await w.settle()
            await box_of(w, 1).group_send(ROOM, 4)
            assert await warned.receive_json() == 4
        async with w.connect("/chat", query={"since": since}) as back:
            assert await said(back, 1) == ([{"recovered": False}], None)
        async with w.connect("/chat") as newcomer:
            assert await said(newcomer, 4) == ([0, 1, 4, {"recovered": True}], None)
    assert "engine    loses messages 2" in w.story()


async def test_a_server_may_stop_while_it_is_cut(autojump_clock):
    async with World(make=make_chat, nodes=2) as w:
        w.cut_engine(1, 100)
        errors = []

        async def send() -> None:
            try:
                await box.group_send(ROOM, "lost")
            except EngineError as error:
                errors.append(error.maybe_published)

        box = box_of(w, 1)
        async with trio.open_nursery() as nursery, w.connect("/listen", node=1):
            await w.until(1)
            nursery.start_soon(send)
            await w.until(2)
            await w.restart(1)
        assert errors == [False]
        assert w.now < 5
        await box_of(w, 1).group_send(ROOM, "a new link")


async def test_bad_faults_are_refused(autojump_clock):
    async with World(make_chat()) as w:
        with pytest.raises(TypeError, match=r"server has MemoryEngine, which shares nothing: let World\(make="):
            w.cut_engine(0, 1)
    async with World(make=make_chat, nodes=2) as w:
        with pytest.raises(ValueError, match="seconds are 0 or more, not -1"):
            w.stall_node(0, -1)
        for count in (0, -1):
            with pytest.raises(ValueError, match="1 or more messages can be lost"):
                w.lose_tail(count)


def test_the_broker_has_its_earlier_name_too():
    assert testing.Hub is Broker
