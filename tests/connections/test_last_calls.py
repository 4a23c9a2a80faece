"""`on_disconnect` and its like: called whatever happens, and bounded together."""

from typing import Any

import pytest
import trio

from nexios_trio.connections.last_calls import LastCall, last_calls_scope, make_last_calls
from nexios_trio.consumer import WebSocketConsumer
from nexios_trio.transports.server_context import CleanupLimit, current_server
from nexios_trio.transports.timers import Timers
from nexios_trio.websockets import Channel
from tests.wire import house


@pytest.fixture
def seen():
    return []


@pytest.fixture
def call(seen):
    def make(name, seconds):
        async def function():
            seen.append((name, trio.current_time()))
            await trio.sleep(seconds)
            seen.append((f"{name} done", trio.current_time()))

        return LastCall(function, name, {})

    return make


@pytest.fixture
def limit():
    """The limit of a server of ours that this test runs in."""

    class Server:
        cleanups = CleanupLimit()
        timers = Timers()
        access_log = None

    server: Any = Server()
    token = current_server.set(server)
    yield server.cleanups
    current_server.reset(token)


async def test_one_after_the_other(call, seen, autojump_clock):
    await make_last_calls([call("a", 1), call("b", 1)], 10)
    assert seen == [("a", 0), ("a done", 1), ("b", 1), ("b done", 2)]


async def test_nothing_to_call_takes_no_time(autojump_clock):
    await make_last_calls([], 10)


async def test_one_that_hangs_costs_the_next_ones_nothing(call, seen, autojump_clock, caplog):
    await make_last_calls([call("hangs", 100), call("b", 1), call("c", 1)], 9)
    assert seen == [("hangs", 0), ("b", 3), ("b done", 4), ("c", 4), ("c done", 5)]
    assert trio.current_time() == 9
    assert [record.getMessage() for record in caplog.records] == ["hangs took too long"]


async def test_all_together_take_no_longer_than_one(call, seen, autojump_clock):
    await make_last_calls([call(str(number), 100) for number in range(6)], 6)
    assert trio.current_time() == 6
    assert [name for name, _ in seen] == list("012345")


async def test_shielded_from_what_ended_the_connection(call, seen, autojump_clock):
    with trio.CancelScope() as scope:
        scope.cancel()
        await make_last_calls([call("a", 1), call("b", 1)], 10)
    assert [name for name, _ in seen] == ["a", "a done", "b", "b done"]


async def test_a_server_that_drains_waits_no_longer(call, seen, limit, autojump_clock):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(make_last_calls, [call("a", 100), call("b", 100)], 20)
        await trio.sleep(1)
        limit.end_at(trio.current_time() + 2)
    assert trio.current_time() == 3
    assert [name for name, _ in seen] == ["a", "b"]


async def test_where_no_time_is_left_each_is_called_up_to_its_first_checkpoint(call, seen, limit):
    limit.end_at(trio.current_time())
    await make_last_calls([call("a", 1), call("b", 1), call("c", 1)], 20)
    assert sorted(name for name, _ in seen) == ["a", "b", "c"]


async def test_the_scope_alone(limit, autojump_clock):
    with trio.CancelScope() as outer:
        outer.cancel()
        with last_calls_scope(5) as scope:
            await trio.sleep_forever()
        assert scope.cancelled_caught
    assert trio.current_time() == 5


async def hang(channel):
    await trio.sleep(30)


# The kind: whatever a connection calls at its end


async def test_regression_handlers_of_all_channels_are_bounded_together(autojump_clock, caplog):
    async def endpoint(ws):
        await ws.accept()
        for _ in range(3):
            channel = Channel(ws)
            for _ in range(2):
                channel.on_disconnect(hang)
        await ws.receive()

    async with house(cleanup_timeout=3) as inside:
        wire = await inside.connect(endpoint)
        start = trio.current_time()
        wire.leave()
        await wire.done.wait()
    assert trio.current_time() - start == 3
    assert ["took too long" in record.getMessage() for record in caplog.records] == [True] * 6


async def test_regression_handlers_of_an_expiry_are_bounded_together(autojump_clock):
    async def endpoint(ws):
        await ws.accept()
        channel = Channel(ws, expires=1)
        for _ in range(4):
            channel.on_expire(hang)
        await ws.receive()

    async with house(cleanup_timeout=3) as inside:
        wire = await inside.connect(endpoint)
        start = trio.current_time()
        await trio.sleep(1)
        wire.leave()
        await wire.done.wait()
    assert trio.current_time() - start <= 4


@pytest.mark.parametrize("kind", ["channel", "consumer"])
async def test_regression_a_drain_bounds_them(kind, limit, autojump_clock):
    class Consumer(WebSocketConsumer):
        async def on_disconnect(self, websocket, close_code):
            await trio.sleep(30)

    async def endpoint(ws):
        await ws.accept()
        Channel(ws).on_disconnect(hang)
        await ws.receive()

    async with house(cleanup_timeout=20) as inside:
        await inside.connect(endpoint if kind == "channel" else Consumer())
        start = trio.current_time()
        inside.shut_down()
        with trio.CancelScope(shield=True):
            await trio.sleep(1)
        limit.end_at(start + 2)
    assert trio.current_time() - start == 2
