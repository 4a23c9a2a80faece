"""What all connections of an application share, and the tasks that live as long as it."""

import logging

import pytest
import trio
from trio.lowlevel import current_task
from trio.testing import assert_no_checkpoints

from nexios_trio.config.settings import Settings
from nexios_trio.connections.runtime import Runtime
from nexios_trio.exceptions import LifecycleError
from nexios_trio.groups.box import current_box
from nexios_trio.transports.timers import Timer
from nexios_trio.websockets import ChannelBox
from tests.wire import settle


@pytest.fixture
def runtime():
    return Runtime(Settings())


def test_it_needs_no_running_loop():
    assert not Runtime(Settings()).is_started


def test_its_box_keeps_to_its_settings():
    runtime = Runtime(Settings(max_groups_per_channel=3, outbox_messages=10, outbox_bytes=100))
    fanout = runtime.box.broadcaster
    assert runtime.box._max_groups_per_channel == 3
    assert (fanout.max_pending, fanout.max_pending_bytes) == (5, 50)
    box = ChannelBox()
    assert Runtime(Settings(), box).box is box


async def test_its_box_is_the_current_one_inside(runtime):
    outside = current_box()
    with runtime.activate():
        assert current_box() is runtime.box
    async with runtime.running():
        assert current_box() is runtime.box
        assert runtime.is_started
    assert current_box() is outside
    assert not runtime.is_started


async def test_tasks_live_as_long_as_the_application(runtime):
    seen = []

    async def work(name):
        seen.append((name, current_box()))
        try:
            await trio.sleep_forever()
        finally:
            seen.append("cancelled")

    async with runtime.running():
        with assert_no_checkpoints():
            runtime.start_soon(work, "cleaner", name="the cleaner")
        await settle()
        assert seen == [("cleaner", runtime.box)]
    assert seen[1:] == ["cancelled"]


async def test_nothing_can_be_started_before_or_after(runtime):
    for _ in range(2):
        with pytest.raises(LifecycleError, match="not running"):
            runtime.start_soon(trio.sleep, 1)
        async with runtime.running():
            pass


async def test_a_crash_stops_the_application(runtime):
    async def crash():
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as caught:
        async with runtime.running():
            runtime.start_soon(crash)
            await trio.sleep_forever()
    assert caught.group_contains(ZeroDivisionError)
    assert not runtime.is_started


async def test_a_crash_may_be_logged_instead(runtime, caplog):
    async def crash():
        raise ZeroDivisionError

    async with runtime.running():
        runtime.start_soon(crash, on_error="log")
        await settle()
        assert runtime.is_started
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info[0] is ZeroDivisionError


async def test_on_error_is_checked(runtime):
    async with runtime.running():
        with pytest.raises(ValueError, match="'stop' or 'log', not 'ignore'"):
            runtime.start_soon(trio.sleep, 1, on_error="ignore")


async def test_a_task_started_from_another_application_acts_on_its_own_box(runtime):
    other = Runtime(Settings())
    seen = []

    async def look():
        seen.append(current_box())

    async with runtime.running(), other.running():
        runtime.start_soon(look)
        other.start_soon(look)
        await settle()
    assert set(seen) == {runtime.box, other.box}


async def test_two_lifespans_may_run_at_a_time(runtime, nursery):
    first, second = trio.Event(), trio.Event()

    async def run(until, task_status):
        async with runtime.running():
            task_status.started()
            await until.wait()

    await nursery.start(run, first)
    await nursery.start(run, second)
    first.set()
    await settle()
    assert runtime.is_started
    runtime.start_soon(trio.sleep_forever)
    second.set()
    await settle()
    assert not runtime.is_started


async def test_who_publishes_does_not_ring_for_connections(runtime, mock_clock):
    """Heartbeats are due for hundreds at once: a message would be as late as all of those pings together."""
    rung = []
    async with runtime.running():
        for _ in range(200):
            runtime.timers.set(Timer(lambda: rung.append(current_task())), trio.current_time() + 5)
        mock_clock.jump(5)
        await runtime.box.group_send("room", "hello", save_history=True)
        await settle()
    assert len(rung) == 200
    assert current_task() not in rung
