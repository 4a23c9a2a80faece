"""What the guide says of sending to groups, as members see it."""

import json

import pytest
import trio

from nexios_trio import OLDEST, NexiosApp, Settings
from nexios_trio.engines.hub import node as hub_node
from nexios_trio.engines.hub.engine import HubEngine
from nexios_trio.engines.hub.hub import Hub
from nexios_trio.groups.results import GroupSendStatusEnum
from nexios_trio.testing import World, connect, run_app
from nexios_trio.websockets import ChannelBox, WebSocket, open_channel
from tests.engines.hub.test_hub import slow_worker, worker

ROOM = "room"


def chat(**options) -> NexiosApp:
    app = NexiosApp(**options)

    @app.ws_route("/{kind}")
    async def serve(ws: WebSocket, kind: str) -> None:
        async with open_channel(ws, payload_type=kind) as channel, channel.member(ROOM):
            async for text in channel:
                ChannelBox.post(ROOM, text)
                await channel.send("directly")

    return app


@pytest.mark.parametrize("is_kept", [True, False], ids=["kept", "not kept"])
@pytest.mark.parametrize(("kind", "payload"), [("text", " {'a':1}\n\u00e4 "), ("bytes", b"\x00\xff{}")])
async def test_plain_channels_get_payloads_byte_for_byte(kind, payload, is_kept):
    app = chat()
    if is_kept:
        app.box.keep(ROOM)
    async with run_app(app), connect(app, f"/{kind}") as client:
        await trio.testing.wait_all_tasks_blocked()
        await app.box.group_send(ROOM, payload)
        assert await client.receive() == payload


async def test_a_message_with_a_key_is_sent_once_and_a_retry_gets_its_position():
    app = chat()
    async with run_app(app), connect(app, "/json") as client:
        await trio.testing.wait_all_tasks_blocked()
        first = await app.box.post(ROOM, 1, key="k")
        assert await app.box.post(ROOM, 2, key="k") == first
        assert await app.box.group_send(ROOM, 3, key="k") is GroupSendStatusEnum.GROUP_SEND
        await app.box.group_send(ROOM, 4)
        assert [await client.receive_json() for _ in range(2)] == [1, 4]


async def test_what_is_sent_directly_waits_for_the_engine_until_its_deadline_and_goes_then(autojump_clock):
    async with World(make=chat, nodes=2) as w, w.connect("/json", node=1) as client:
        await w.settle()
        w.stall_node(1, 2)
        await client.send_json("in time")
        assert [await client.receive_json() for _ in range(2)] == ["in time", "directly"]
        begun = w.now
        w.stall_node(1, 8)
        await client.send_json("late")
        assert await client.receive_json() == "directly"
        assert w.now == pytest.approx(begun + 5)
        assert await client.receive_json(timeout=60) == "late"


@pytest.mark.parametrize("is_kept", [True, False], ids=["kept", "not kept"])
async def test_who_was_in_a_worker_that_stood_still_comes_back_and_knows_what_it_has(monkeypatch, is_kept):
    """The hub's queue for the worker is full: what is kept comes late, and what is not is a gap."""
    monkeypatch.setattr(hub_node, "MAX_QUEUED_BYTES", 1_000_000)
    monkeypatch.setattr(hub_node, "LOW_BYTES", 100_000)
    hub = Hub()

    def make(engine: HubEngine) -> NexiosApp:
        roomy = Settings(outbox_messages=1000, outbox_bytes=10_000_000)
        app = NexiosApp(settings=roomy, box=ChannelBox(engine, name="app"))
        if is_kept:
            app.box.keep(ROOM, max_bytes=100_000_000)

        @app.ws_route("/")
        async def serve(ws: WebSocket) -> None:
            async with open_channel(ws, positions=True) as channel:
                async with channel.member(ROOM, since=ws.query_params.get("since", OLDEST)) as joined:
                    await channel.send({"recovered": joined.recovered})
                    await channel.receive()

        return app

    async with worker(hub) as link, slow_worker(hub) as (slow_link, line):
        here, there = make(HubEngine(link)), make(HubEngine(slow_link))
        async with run_app(here), run_app(there):
            async with connect(there, "/") as client:
                assert await client.receive_json() == {"data": {"recovered": True}}
                line.stop(to_hub=False)
                for number in range(300):
                    await here.box.group_send(ROOM, [number, "x" * 10_000])
                line.go_on()
                got = []
                while (is_kept and len(got) < 300) or (not is_kept and client.end is None):
                    if client.unread() or is_kept:
                        got.append(await client.receive_json())
                    await trio.lowlevel.checkpoint()
                got += map(json.loads, client.unread())
                if not is_kept:
                    assert client.end.code == 1012
            assert [message["data"][0] for message in got] == list(range(len(got)))
            assert (len(got) == 300) is is_kept
            await here.box.group_send(ROOM, ["away", ""])
            async with connect(there, "/", query={"since": got[-1]["position"]}) as back:
                if is_kept:
                    assert (await back.receive_json())["data"] == ["away", ""]
                assert await back.receive_json() == {"data": {"recovered": is_kept}}
                await here.box.group_send(ROOM, ["new", ""])
                assert (await back.receive_json())["data"] == ["new", ""]
