"""`OfflineQueue`: nothing is lost or reordered while a client reconnects, within bounds, and what is dropped is told."""

import json
from contextlib import asynccontextmanager

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import assert_checkpoints

from nexios_trio import NexiosApp
from nexios_trio.exceptions import MessageTooBig
from nexios_trio.testing import cancel_everywhere, run_app
from nexios_trio.testing.client import connect
from nexios_trio.websockets import OfflineQueue, OfflineStatistics, open_channel
from tests.wire import house, settle


def here(queue, name="ann", **options):
    """A handler: the client is here until it leaves."""

    async def handler(ws):
        async with open_channel(ws, **options) as channel, queue.connected(name, channel) as was_here:
            await channel.websocket.send_text(f"was here: {was_here}")
            async for _ in channel:
                pass

    return handler


async def leave(wire):
    wire.leave()
    await wire.done.wait()


@pytest.mark.parametrize("on_missed", [lambda count: 1 // (count - count), lambda count: object()])
async def test_an_on_missed_that_fails_costs_its_own_message_only(on_missed, caplog):
    """Not the connection, at each return, nor what is left."""
    queue = OfflineQueue(max_messages=2, on_missed=on_missed)
    async with house() as inside:
        await leave(await inside.connect(here(queue)))
        for number in range(4):
            await queue.send("ann", number)
        wire = await inside.connect(here(queue))
        await settle()
        assert wire.messages[-2:] == ["2", "3"]
        assert wire.closes == []
    [record] = [each for each in caplog.records if each.name == "nexios_trio.channel"]
    assert "on_missed" in record.getMessage()


async def test_messages_during_an_absence_come_in_order_before_later_ones():
    queue = OfflineQueue()
    async with house() as inside:
        wire = await inside.connect(here(queue))
        await queue.send("ann", 1)
        await settle()
        assert wire.messages == ["was here: False", "1"]
        await leave(wire)
        for number in (2, 3, 4):
            assert await queue.send("ann", number) is True
        wire = await inside.connect(here(queue))
        await queue.send("ann", 5)
        await settle()
        assert sorted(wire.messages, key="was here: True".__ne__) == ["was here: True", "2", "3", "4", "5"]
    assert queue.statistics().dropped == 0


async def test_nobody_knows_a_stranger():
    queue = OfflineQueue()
    with assert_checkpoints():
        assert await queue.send("stranger", "hello") is False
    assert queue.statistics().messages == 0


async def test_a_payload_is_kept_as_it_was_when_it_was_sent():
    queue = OfflineQueue()
    async with house() as inside:
        await leave(await inside.connect(here(queue)))
        payload = {"text": "before"}
        await queue.send("ann", payload)
        payload["text"] = "after"
        await queue.send("ann", b"\x00")
        with pytest.raises(ValueError, match="NaN|nan|finite"):
            await queue.send("ann", float("nan"))
        wire = await inside.connect(here(queue))
        assert set(wire.messages) == {"was here: True", '{"text":"before"}', b"\x00"}


@pytest.mark.parametrize("bounds", [{"max_messages": 3}, {"max_bytes": 30}])
async def test_the_oldest_make_room_and_the_client_is_told_how_many(bounds):
    queue = OfflineQueue(**bounds)
    async with house() as inside:
        await leave(await inside.connect(here(queue)))
        for number in range(5):
            await queue.send("ann", f"number {number}")  # 10 bytes each, as JSON
        assert queue.statistics().dropped == 2
        assert queue.statistics().bytes == 30
        wire = await inside.connect(here(queue, payload_type="text"))
        assert [m for m in wire.messages if m != "was here: True"] == [
            '{"type":"missed","messages":2}',
            "number 2",
            "number 3",
            "number 4",
        ]


async def test_what_can_never_be_kept_is_refused():
    with pytest.raises(MessageTooBig, match="holds 10"):
        await OfflineQueue(max_bytes=10).send("ann", "0123456789")


@pytest.mark.parametrize("on_missed", [None, lambda count: [count]])
async def test_the_gap_may_be_told_otherwise_or_not_at_all(on_missed):
    queue = OfflineQueue(max_messages=1, on_missed=on_missed)
    async with house() as inside:
        await leave(await inside.connect(here(queue)))
        for number in range(3):
            await queue.send("ann", number)
        wire = await inside.connect(here(queue))
        assert [m for m in wire.messages if m != "was here: True"] == (["2"] if on_missed is None else ["[2]", "2"])


async def test_a_client_that_is_away_for_too_long_is_forgotten(autojump_clock):
    queue = OfflineQueue(max_age=60)
    async with house() as inside:
        await leave(await inside.connect(here(queue)))
        await queue.send("ann", "kept")
        await trio.sleep(59)
        assert await queue.send("ann", "kept too") is True
        await trio.sleep(1)
        assert await queue.send("ann", "too late") is False
        assert queue.statistics().dropped == 2
        wire = await inside.connect(here(queue))
        assert wire.messages == ["was here: False"]


async def test_of_many_that_are_away_the_first_to_leave_is_forgotten():
    queue = OfflineQueue(max_away=2)
    async with house() as inside:
        for name in ("ann", "bob", "cy"):
            await leave(await inside.connect(here(queue, name)))
        assert [await queue.send(name, 1) for name in ("ann", "bob", "cy")] == [False, True, True]
        statistics = queue.statistics()
        assert (statistics.here, statistics.away, statistics.messages) == (0, 2, 2)


async def test_the_newest_connection_takes_over():
    queue = OfflineQueue()
    async with house() as inside:
        old = await inside.connect(here(queue))
        new = await inside.connect(here(queue))
        await queue.send("ann", "first")
        await settle()
        await leave(old)  # its leaving means nothing any more
        await queue.send("ann", "second")
        await settle()
        assert old.messages == ["was here: False"]
        assert sorted(new.messages) == ['"first"', '"second"', "was here: True"]


async def test_a_slow_client_delays_nobody_and_loses_nothing_when_it_reconnects():
    queue = OfflineQueue()
    async with house(outbox_messages=4) as inside:
        slow = await inside.connect(here(queue))
        slow.stall()
        for number in range(50):
            await queue.send("ann", number)
        await settle()
        assert queue.statistics().messages > 40
        new = await inside.connect(here(queue))
        slow.flow()
        await settle()
        got = [int(message) for wire in (slow, new) for message in wire.messages if message.isdigit()]
        assert got == list(range(50))


async def test_a_message_that_a_channel_cannot_send_is_dropped_and_does_not_come_back(caplog):
    queue = OfflineQueue()
    async with house(outbox_bytes=1000) as inside:
        await leave(await inside.connect(here(queue)))
        await queue.send("ann", "x" * 2000)
        await queue.send("ann", "small")
        failing = await inside.connect(here(queue))
        assert failing.closes[0][0] == 1011
        wire = await inside.connect(here(queue))
        assert {'{"type":"missed","messages":1}', '"small"'} < set(wire.messages)


async def reconnection():
    """The connection that is just getting its messages, cancelled at every step."""
    app, queue = NexiosApp(), OfflineQueue()
    app.add_ws_route("/", here(queue, payload_type="text"))
    got = []

    async def come():
        async with connect(app, "/", buffer=100) as client:
            while "3" not in got:
                got.append(await client.receive_text())

    async with run_app(app):
        async with connect(app, "/"):
            await settle()
        for number in (1, 2, 3):
            await queue.send("ann", number)
        yield come
        await queue.send("ann", 4)
        async with connect(app, "/") as client:
            while "4" not in got:
                got.append(await client.receive_text())
        numbers = [text for text in got if text.isdigit()]
        assert numbers == sorted(set(numbers))  # in order, none twice; what was on the wire may be lost
        assert queue.statistics() == OfflineStatistics(here=0, away=1, messages=0, bytes=0, dropped=0)


def test_a_cancelled_reconnection_repeats_and_reorders_nothing():
    report = cancel_everywhere(asynccontextmanager(reconnection))
    assert report.runs > 10


@pytest.mark.parametrize(
    "wrong", [{"max_messages": 0}, {"max_bytes": -1}, {"max_away": True}, {"max_age": 0}, {"max_age": float("inf")}]
)
def test_bounds_that_are_none_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        OfflineQueue(**wrong)


@given(st.lists(st.sampled_from(["send", "leave", "come", "again"]), max_size=30), st.integers(1, 5))
def test_a_client_gets_a_run_of_the_newest_messages_and_a_count_of_the_rest(steps, bound):
    """Whatever the order of sends and reconnections: in order, each once, and told + got = sent."""

    async def main():
        queue = OfflineQueue(max_messages=bound)
        sent = 0
        got = []
        told = 0
        wires = []
        async with house() as inside:
            wires.append(await inside.connect(here(queue)))
            for step in [*steps, "again"]:
                if step == "send":
                    sent += await queue.send("ann", sent)
                    if not wires[-1].is_done:
                        await settle()
                elif step == "leave":
                    await leave(wires[-1])
                elif step == "again" or wires[-1].is_done:
                    wires.append(await inside.connect(here(queue)))
            for wire in wires:
                for message in wire.messages:
                    if message.isdigit():
                        got.append(int(message))
                    elif message.startswith("{"):
                        told += json.loads(message)["messages"]
        assert got == sorted(set(got))
        assert told + len(got) == sent

    trio.run(main)
