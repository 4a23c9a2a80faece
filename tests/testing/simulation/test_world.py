"""The virtual world: time, network, faults, judgement, and that it repeats itself."""

import random
import time
from uuid import uuid4

import pytest
import trio

from nexios_trio.application import NexiosApp
from nexios_trio.testing import Broker, ConnectionOver, Net, Unmet, World, run
from nexios_trio.websockets import ChannelBox, ChannelRegistry, WebSocket, open_channel


def make_chat(**limits) -> NexiosApp:
    app = NexiosApp(**limits)

    @app.ws_route("/chat/{room}")
    async def chat(ws: WebSocket, room: str):
        async with open_channel(ws) as channel, channel.member(room):
            async for message in channel:
                await ChannelBox.group_send(room, {"text": message, "id": uuid4().hex, "at": time.time()})

    return app


async def test_time_is_virtual(autojump_clock):
    async with World(make_chat()) as w:
        real, wall = time.perf_counter(), time.time()
        await w.until(3 * 3600)
        assert w.now == 3 * 3600
        assert time.time() - wall == 3 * 3600
        assert time.perf_counter() - real < 5


async def test_a_real_clock_is_refused():
    with pytest.raises(RuntimeError, match="use the fixture `autojump_clock`"):
        async with World(make_chat()):
            pass
    async with World(make_chat(), clock=None, check=False) as w, w.connect("/chat/1") as ws:
        await ws.send_json(1)
        assert (await ws.receive_json())["text"] == 1


async def test_one_of_app_and_make():
    with pytest.raises(TypeError, match="an application, or make="):
        World()


async def test_the_network_takes_its_time(autojump_clock):
    async with World(make_chat(), net=Net(rtt=0.1)) as w, w.connect("/chat/1") as ws:
        assert w.now == pytest.approx(0.1)
        await ws.send_json("x")
        await ws.receive_json()
        assert w.now == pytest.approx(0.2)


async def test_bandwidth(autojump_clock):
    async with World(make_chat(), net=Net(bandwidth=1000)) as w, w.connect("/chat/1") as ws:
        for _ in range(5):
            await ws.send_json("x" * 1000)
        for _ in range(5):
            await ws.receive_json()
        assert 5 < w.now < 8


async def test_jitter_and_loss_keep_order(autojump_clock):
    async with World(make_chat(), seed=3, net=Net(rtt=0.1, jitter=0.5, loss=0.3)) as w, w.connect("/chat/1") as ws:
        for index in range(50):
            await ws.send_json(index)
        assert [(await ws.receive_json())["text"] for _ in range(50)] == list(range(50))


async def test_what_is_cut_off_heals(autojump_clock):
    async with World(make_chat()) as w, w.connect("/chat/1") as one, w.connect("/chat/1") as two:
        w.at(10, two.half_open)
        w.at(20, two.heal)
        await w.until(15)
        await one.send_json("hello")
        await one.receive_json()
        w.assert_gap_free()  # nobody can expect `two` to have it
        assert two.unread() == []
        await w.until(20)
        assert (await two.receive_json())["text"] == "hello"


async def test_a_restart_ends_connections_and_forgets(autojump_clock):
    apps: list[NexiosApp] = []

    def make():
        apps.append(make_chat())
        return apps[-1]

    async with World(make=make) as w:
        w.at(60, w.restart)
        async with w.connect("/chat/1", name="ann") as ws:
            assert await ws.receive_close(timeout=100) == (1012, "")
            assert w.now == 60
        await trio.sleep(1)
        async with w.connect("/chat/1"):
            pass
        assert len(apps) == 2
    assert "00:01:00.000000  server    stops" in w.story()


async def test_a_killed_server_says_nothing(autojump_clock):
    async with World(make_chat()) as w:
        async with w.connect("/chat/1") as ws:
            w.at(5, lambda: w.restart(down=10, kill=True))
            assert await ws.receive_close() == (1006, "")
        with pytest.raises(ConnectionOver, match="server is down"):
            async with w.connect("/chat/1"):
                pass
        await trio.sleep(11)
        async with w.connect("/chat/1"):
            pass


async def test_a_restart_during_a_handshake(autojump_clock):
    async with World(make_chat(), net=Net(rtt=1)) as w:
        w.at(0.4, w.restart)
        with pytest.raises(ConnectionOver, match="the connection was lost"):
            async with w.connect("/chat/1"):  # the request would arrive at 0.5
                pass


async def test_nodes_share_an_engine(autojump_clock):
    broker = Broker()
    async with World(make=lambda: make_chat(box=ChannelBox(broker.engine())), nodes=2) as w:
        async with w.connect("/chat/1", node=0) as one, w.connect("/chat/1", node=1) as two:
            await w.settle()
            await one.send_json("x")
            assert (await one.receive_json()) == (await two.receive_json())
            w.assert_gap_free()


async def test_a_node_is_replaced_behind_everybodys_back(autojump_clock):
    broker = Broker()
    async with World(make=lambda: make_chat(box=ChannelBox(broker.engine())), nodes=2) as w:
        async with w.connect("/chat/1", node=0) as one:
            async with w.connect("/chat/1", node=1) as two:
                w.at(5, lambda: w.restart(1, down=5))
                assert await two.receive_close(timeout=10) == (1012, "")
            await one.send_json("while it is down")
            await w.until(11)
            async with w.connect("/chat/1", node=1) as two:
                await one.send_json("when it is back")
                assert (await two.receive_json())["text"] == "when it is back"
            assert [(await one.receive_json())["text"] for _ in range(2)] == ["while it is down", "when it is back"]
            await w.settle()
            w.assert_no_leaks()


async def test_a_server_is_cut_off_and_healed(autojump_clock):
    broker = Broker()
    async with World(make=lambda: make_chat(box=ChannelBox(broker.engine())), nodes=2) as w:
        async with w.connect("/chat/1", node=0) as one, w.connect("/chat/1", node=1) as two:
            w.at(5, w.cut, 1)
            w.at(15, w.heal, 1)
            await w.until(10)
            await one.send_json("hello")
            assert (await one.receive_json())["text"] == "hello"
            w.assert_gap_free()  # nobody can expect `two` to have it
            assert two.unread() == []
            with pytest.raises(Unmet, match="an answer to the handshake within 2 s"):
                async with w.connect("/chat/1", node=1, timeout=2):
                    pass
            assert (await two.receive_json())["text"] == "hello"
            assert w.now == 15
    assert "00:00:05.000000  node 1    is cut off" in w.story()


async def visit(w: World, name: str):
    for _ in range(5):
        try:
            async with w.connect(f"/chat/{random.randint(1, 3)}", name=name) as ws:
                for _ in range(random.randint(0, 5)):
                    await ws.send_json(random.random())
                    await ws.receive_json()
                if random.random() < 0.3:
                    ws.lose()
        except ConnectionOver:
            await trio.sleep(random.uniform(1, 10))
        await trio.sleep(random.expovariate(0.1))


async def story_of(seed: int) -> str:
    async with World(make=make_chat, seed=seed, net=Net(rtt=0.05, jitter=0.1, loss=0.05)) as w:
        w.at(30, w.restart)
        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(visit, w, f"visitor {number}")
    assert w.timeline.count > 300
    return w.timeline.hash


def test_the_same_seed_tells_the_same_story():
    first = run(story_of, 7, seed=7)
    assert run(story_of, 7, seed=7) == first
    assert run(story_of, 8, seed=8) != first


async def test_a_failure_shows_seed_and_timeline(autojump_clock):
    with pytest.raises(Unmet) as caught:
        async with World(make_chat(), seed=5) as w, w.connect("/chat/1", name="ann") as ws:
            await ws.send_json("hello")
            await ws.receive_json()
            await ws.receive_json(timeout=2)
    notes = "\n".join(caught.value.__notes__)
    assert "World(seed=5)" in notes
    assert "00:00:00.000000  ann     sends '\"hello\"'" in notes


async def test_a_gap_is_found(autojump_clock, monkeypatch):
    app = make_chat()
    with pytest.raises(Unmet) as caught:
        async with World(app, seed=5) as w, w.connect("/chat/1", name="ann") as one, w.connect("/chat/1", name="bob"):
            await w.settle()
            for number in range(4):
                with monkeypatch.context() as patch:
                    if number == 2:  # this one is published and then forgotten
                        patch.setattr(app.box.broadcaster, "_flush_in_slices", lambda group: (group.pending.clear(),))
                    await one.send_json(number)
                    await trio.sleep(1)
            await w.settle()
    assert "was not given message 3 of group '1'" in str(caught.value)
    assert "but it was given message 4 of group '1'" in str(caught.value)


async def test_who_could_not_hear_is_given_time(autojump_clock):
    async with World(make_chat(), buffer=10) as w, w.connect("/chat/1") as one, w.connect("/chat/1") as two:
        await w.settle()
        two.stall()
        for number in range(4):
            await one.send_json(number)
            await trio.sleep(2)
        two.resume()
        w.assert_gap_free()
        await w.settle()
        assert len(two.unread()) == 4


async def test_leaks_are_found(autojump_clock):
    registry = ChannelRegistry()
    app = NexiosApp()
    kept = []

    @app.ws_route("/registry")
    async def to_registry(ws: WebSocket):
        async with open_channel(ws) as channel:
            registry._channels[channel.uuid] = channel
            await ws.receive()

    @app.ws_route("/task")
    async def task(ws: WebSocket):
        await ws.accept()
        app.start_soon(trio.sleep_forever, name="forgotten")
        await ws.receive()

    @app.ws_route("/busy")
    async def busy(ws: WebSocket):
        await ws.accept()
        await trio.sleep(20)

    @app.ws_route("/memory")
    async def memory(ws: WebSocket):
        await ws.accept()
        kept.append(trio.open_memory_channel(3))
        await ws.receive()

    async with World(app) as w:
        for path, problem in (
            ("/busy", "and its handler still runs, at\n.*sleep.20"),
            ("/memory", r"1 more memory channel\(s\)"),
            ("/registry", "is still in a ChannelRegistry"),
            ("/task", "task forgotten runs on server, outside of every connection"),
        ):
            w.assert_no_leaks()
            async with w.connect(path):
                await trio.sleep(1)
            await w.settle()
            with pytest.raises(Unmet, match=f"(?s){problem}"):
                w.assert_no_leaks()
            await w.settle(60)
            kept.clear()
            registry._channels.clear()
