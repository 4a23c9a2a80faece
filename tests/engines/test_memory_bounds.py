"""What a saved message costs is what it is counted with, and the engine keeps times of one clock only."""

import gc
import tracemalloc

import pytest
import trio

from nexios_trio.core.message import Message
from nexios_trio.engines.base import HistoryLimits
from nexios_trio.engines.clock import ContinuousClock
from nexios_trio.engines.memory import MemoryEngine
from nexios_trio.exceptions import LifecycleError
from nexios_trio.groups.box import ChannelBox
from tests.wire import house

pytestmark = pytest.mark.slow

ROOMY = HistoryLimits(max_bytes=2**30, overflow="trim")

PAYLOADS = {
    "tiny": lambda number: 1,
    "a small integer": lambda number: number,
    "chat": lambda number: {"from": "6a0c1a58-7b5c-4c52-a6a1-2a8c7f6f0f7e", "text": f"hello {number}"},
    "text": lambda number: f"{number} " + "x" * 500,
    "bytes": lambda number: b"%d " % number + b"x" * 500,
    "an emoji": lambda number: f"{number} " + "x" * 500 + "\U0001f600",
    "large": lambda number: ["x" * 20_000, number],
}


def grown(before):
    gc.collect()
    return tracemalloc.get_traced_memory()[0] - before


@pytest.mark.parametrize("name", PAYLOADS)
@pytest.mark.parametrize("kinds", [(), (0, 1, 2)], ids=["nobody", "members of every payload type"])
async def test_a_history_costs_what_it_is_counted_with(name, kinds):
    engine = MemoryEngine()

    def write(group, message):
        for kind in kinds:
            frame = message.frame(kind)
            assert frame.wire
            assert frame.event
            assert frame.deflated.wire

    engine.attach(write)
    count = 300 if name == "large" else 2000
    tracemalloc.start()
    try:
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for number in range(count):
            await engine.publish(f"room-{number % 20}", Message(PAYLOADS[name](number), 0.0), keep=ROOMY)
        used = grown(before)
        for number in range(20):  # looking at it leaves nothing behind
            for message in (await engine.history(f"room-{number}")).messages:
                assert message.payload is not None
                assert message.uuid is not None
        del message
        looked_at = grown(before)
    finally:
        tracemalloc.stop()
    assert 0.6 < used / engine.bytes_kept < 1.1
    assert looked_at / engine.bytes_kept < 1.1


async def test_a_saved_message_is_the_same_whenever_it_is_read():
    engine = MemoryEngine()
    for payload in PAYLOADS.values():
        sent = Message(payload(1), 12.5)
        uuid = sent.uuid
        await engine.publish("room", sent, keep=ROOMY)
        await engine.publish("room", Message(payload(2), 13.5), keep=ROOMY)
        first, second = (await engine.history("room")).messages[-2:]
        again = (await engine.history("room")).messages[-2:]
        assert (first.payload, first.created, first.position, first.uuid) == (payload(1), 12.5, sent.position, uuid)
        assert [message.uuid for message in again] == [first.uuid, second.uuid]
        assert [first.frame(kind).wire for kind in (0, 1, 2)] == [sent.frame(kind).wire for kind in (0, 1, 2)]


async def test_all_histories_together_cost_no_more_than_their_bound():
    engine = MemoryEngine(max_bytes=200_000)
    for number in range(5_000):
        await engine.publish(f"room-{number % 50}", Message(1, 0.0), keep=ROOMY)
    assert engine.bytes_kept <= 200_000
    assert await engine.groups_with_history()


# ---------------------------------------------------------------- another run of trio


def test_an_age_is_what_has_passed_also_in_another_run():
    """Each run's clock begins somewhere else."""
    now = 1000.0
    engine = MemoryEngine(clock=ContinuousClock(lambda: now))
    limits = HistoryLimits(max_bytes=10**6, max_age=60.0)

    async def publish():
        await engine.publish("room", Message(1, 0.0), keep=limits)

    async def look():
        return [message.payload for message in (await engine.history("room")).messages]

    for offset in (0.0, 1e6, -1e6, 5.0):
        trio.run(publish, clock=FixedClock(offset))
        now += 30
        assert trio.run(look, clock=FixedClock(-offset)) == [1]
        now += 40
        assert trio.run(look, clock=FixedClock(3 * offset + 7)) == []


class FixedClock(trio.abc.Clock):
    def __init__(self, now):
        self.now = now

    def start_clock(self):
        pass

    def current_time(self):
        return self.now

    def deadline_to_sleep_time(self, deadline):
        return 0 if deadline <= self.now else 999


# ---------------------------------------------------------------- two boxes


def test_an_engine_serves_one_box():
    engine = MemoryEngine()
    box = ChannelBox(engine)
    with pytest.raises(LifecycleError, match="box="):
        ChannelBox(engine)
    assert box.engine is engine


def test_an_engine_of_a_box_that_is_gone_may_serve_another():
    engine = MemoryEngine()
    box = ChannelBox(engine)
    del box
    gc.collect()
    ChannelBox(engine)


async def test_an_engine_of_a_box_whose_application_is_over_may_serve_another():
    """As a server does that starts again in one process, with its history."""
    engine = MemoryEngine()
    boxes = []
    for number in range(3):
        boxes.append(ChannelBox(engine))
        async with house(boxes[-1]):
            with pytest.raises(LifecycleError, match="box="):
                ChannelBox(engine)
            await boxes[-1].group_send("room", number, save_history=True)
    assert [message.payload for message in await boxes[-1].show_history("room")] == [0, 1, 2]
