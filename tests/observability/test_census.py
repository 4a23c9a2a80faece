"""Counting ten thousand connections holds nobody up; what is counted is what it is called."""

from types import SimpleNamespace
from typing import Any

import pytest
import trio

from nexios_trio import NexiosApp, Settings, WebSocket, max_lag, open_channel
from nexios_trio.connections.runtime import Runtime
from nexios_trio.core.lifecycle import Phase
from nexios_trio.observability.census import CONNECTIONS_PER_SLICE, take_census
from nexios_trio.testing import connect, run_app
from nexios_trio.transports.base import SendStatistics
from nexios_trio.transports.send_queue import DeliveryCounts

MANY = 10_000


class Fake:
    """A connection with two messages in its outbox."""

    is_released = False

    def __init__(self) -> None:
        self.counts = DeliveryCounts(lost=1)
        self.transport = SimpleNamespace(
            name="direct",
            lifecycle=SimpleNamespace(phase=Phase.OPEN),
            statistics=lambda: SendStatistics(2, 100, 0, 0, 0, 1),
            waiting_since=lambda: 1.0,
        )


async def test_others_go_on_meanwhile(autojump_clock: Any) -> None:
    runtime = Runtime(Settings())
    fakes = [Fake() for _ in range(MANY)]
    runtime.sessions = dict.fromkeys(fakes)
    for fake in fakes:
        runtime.box.begin_counting(fake.counts)
    turns = 0
    is_done = False

    async def count_turns() -> None:
        nonlocal turns
        while not is_done:
            turns += 1
            await trio.lowlevel.checkpoint()

    await trio.sleep(5)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(count_turns)
        census = await take_census(runtime)
        is_done = True
    assert turns >= 2 * (MANY // CONNECTIONS_PER_SLICE)
    assert census.connections == {"direct": MANY}
    assert (census.waiting_peers, census.waiting_messages, census.waiting_bytes) == (MANY, 2 * MANY, 100 * MANY)
    assert census.longest_wait == trio.current_time() - 1
    assert census.undelivered.lost == MANY


async def test_a_connection_that_ends_meanwhile_is_counted_once() -> None:
    runtime = Runtime(Settings())
    fakes = [Fake() for _ in range(2 * CONNECTIONS_PER_SLICE)]
    runtime.sessions = dict.fromkeys(fakes)
    for fake in fakes:
        runtime.box.begin_counting(fake.counts)
    lost: list[int] = []

    async def count() -> None:
        lost.append((await take_census(runtime)).undelivered.lost)

    async def end() -> None:
        for fake in fakes:
            await trio.lowlevel.checkpoint()
            runtime.box.end_counting(fake.counts)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(end)
        for _ in range(20):
            nursery.start_soon(count)
    await count()
    assert set(lost) == {len(fakes)}


@pytest.mark.parametrize("overflow", ["disconnect", max_lag(60)])
async def test_the_longest_wait_is_of_a_peer_and_not_of_a_message(autojump_clock: Any, overflow: Any) -> None:
    app = NexiosApp(overflow=overflow, write_timeout=90)

    @app.ws_route("/")
    async def hold(ws: WebSocket) -> None:
        async with open_channel(ws) as channel, channel.member("tea"):
            async for _ in channel:
                pass

    async with run_app(app), connect(app, "/", buffer=1000) as client:
        assert (await take_census(app.runtime)).longest_wait == 0
        client.stall()
        for number in range(10):
            await app.box.group_send("tea", f"{number:2000}")
            await trio.sleep(1)
        census = await take_census(app.runtime)
        assert census.waiting_messages > 2
        assert census.longest_wait == 10
