"""Timers fire when they are due, once, and in one of the tasks that run the timers."""

import logging
from itertools import pairwise
from math import inf

import pytest
import trio
from trio.testing import assert_no_checkpoints, wait_all_tasks_blocked

from nexios_trio.transports.timers import Timeouts, Timer, Timers


class Clock:
    """Timers that note when they fire."""

    def __init__(self):
        self.timers = Timers()
        self.fired = []

    def timer(self, name, delay):
        timer = Timer(lambda: self.fired.append((name, trio.current_time())))
        self.timers.set(timer, trio.current_time() + delay)
        return timer

    @property
    def names(self):
        return [name for name, _ in self.fired]


async def test_timers_fire_in_time_and_in_order(autojump_clock, nursery):
    clock = Clock()
    nursery.start_soon(clock.timers.run)
    start = trio.current_time()
    clock.timer("late", 20)
    clock.timer("early", 10)
    await trio.sleep(100)
    assert clock.fired == [("early", start + 10), ("late", start + 20)]


async def test_an_earlier_timer_wakes_the_sleeping_task(autojump_clock, nursery):
    clock = Clock()
    nursery.start_soon(clock.timers.run)
    clock.timer("late", 20)
    await wait_all_tasks_blocked()
    start = trio.current_time()
    clock.timer("early", 5)
    await trio.sleep(10)
    assert clock.fired == [("early", start + 5)]


async def test_a_moved_timer_fires_at_its_new_time_only(autojump_clock, nursery):
    clock = Clock()
    nursery.start_soon(clock.timers.run)
    start = trio.current_time()
    timer = clock.timer("one", 5)
    clock.timers.set(timer, start + 50)
    await trio.sleep(100)
    assert clock.fired == [("one", start + 50)]


async def test_a_stopped_timer_is_silent(autojump_clock, nursery):
    clock = Clock()
    nursery.start_soon(clock.timers.run)
    clock.timers.stop(clock.timer("one", 5))
    await trio.sleep(100)
    assert clock.fired == []


async def test_a_timer_can_set_itself_again(autojump_clock, nursery):
    timers = Timers()
    fired = []

    def fire():
        fired.append(trio.current_time())
        if len(fired) < 3:
            timers.set(timer, trio.current_time() + 1)

    timer = Timer(fire)
    start = trio.current_time()
    timers.set(timer, start + 1)
    nursery.start_soon(timers.run)
    await trio.sleep(100)
    assert fired == [start + 1, start + 2, start + 3]


async def test_firing_is_synchronous_and_needs_no_task():
    clock = Clock()
    clock.timer("now", 0)
    clock.timer("later", 1000)
    with assert_no_checkpoints():
        assert clock.timers.fire_due(trio.current_time()) == 1
        assert clock.timers.fire_due(trio.current_time()) == 0
    assert clock.names == ["now"]


async def test_one_that_another_stops_or_moves_stays_silent():
    clock = Clock()

    def fire():
        clock.fired.append(("first", trio.current_time()))
        clock.timers.stop(stopped)
        clock.timers.set(moved, trio.current_time() + 1000)

    clock.timers.set(Timer(fire), trio.current_time() - 1)
    stopped = clock.timer("stopped", 0)
    moved = clock.timer("moved", 0)
    assert clock.timers.fire_due(trio.current_time()) == 1
    assert clock.names == ["first"]
    clock.timers.fire_due(trio.current_time() + 1000)
    assert clock.names == ["first", "moved"]


async def test_a_failing_callback_keeps_no_other_from_firing(caplog):
    clock = Clock()
    clock.timers.set(Timer(lambda: 1 // 0), trio.current_time())
    clock.timer("next", 0)
    clock.timers.fire_due(trio.current_time())
    assert clock.names == ["next"]
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.exc_info[0] is ZeroDivisionError


async def test_when_one_of_two_lifespans_ends_the_other_goes_on(autojump_clock, nursery):
    clock = Clock()
    async with trio.open_nursery() as first:
        first.start_soon(clock.timers.run)
        nursery.start_soon(clock.timers.run)
        clock.timer("both run", 1)
        await trio.sleep(5)
        first.cancel_scope.cancel()
    clock.timer("one runs", 1)
    await trio.sleep(5)
    assert clock.names == ["both run", "one runs"]


async def test_it_can_be_run_again(autojump_clock):
    clock = Clock()
    for name in ("first", "second"):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(clock.timers.run)
            await wait_all_tasks_blocked()
            clock.timer(name, 1)
            await trio.sleep(5)
            nursery.cancel_scope.cancel()
    assert clock.names == ["first", "second"]


@pytest.mark.parametrize(("many", "wait", "turns"), [(250, 32, 100), (20_000, 250, 600)])
async def test_many_timers_at_once_let_other_tasks_run_in_between(many, wait, turns, autojump_clock, nursery):
    """A beat of 5,000 connections delays others by some pings, not by all; and thousands are fired in some turns."""
    clock = Clock()
    seen = []

    async def other():
        await trio.sleep(10)
        while len(clock.fired) < many:
            seen.append(len(clock.fired))
            await trio.lowlevel.checkpoint()

    nursery.start_soon(clock.timers.run)
    nursery.start_soon(other)
    for number in range(many):
        clock.timer(number, 10)
    await trio.sleep(20)
    assert clock.names == list(range(many))
    # Within one scheduler pass tasks run in any order.
    assert max(after - before for before, after in pairwise(seen)) <= wait
    assert len(seen) <= turns


# Fired by another's task


async def test_they_are_fired_by_the_task_of_others(autojump_clock, nursery):
    clock, other = Clock(), Clock()
    nursery.start_soon(other.timers.run)
    start = trio.current_time()
    clock.timer("before", 10)
    with clock.timers.driven_by(other.timers):
        clock.timer("late", 20)
        await trio.sleep(1)
        clock.timer("early", 4)
        other.timer("other", 15)
        await trio.sleep(100)
    assert clock.fired == [("early", start + 5), ("before", start + 10), ("late", start + 20)]
    assert other.fired == [("other", start + 16)]
    clock.timer("after", 5)
    await trio.sleep(100)
    assert clock.names[3:] == []


async def test_they_go_on_when_one_of_several_that_fire_them_ends(autojump_clock, nursery):
    clock, first, second = Clock(), Clock(), Clock()
    nursery.start_soon(first.timers.run)
    nursery.start_soon(second.timers.run)
    clock.timer("a", 10)
    with clock.timers.driven_by(second.timers):
        with clock.timers.driven_by(first.timers), clock.timers.driven_by(first.timers):
            clock.timer("b", 20)
            await trio.sleep(15)
        clock.timer("c", 10)
        await trio.sleep(100)
    assert clock.names == ["a", "b", "c"]


async def test_one_that_is_moved_or_stopped_is_fired_accordingly(autojump_clock, nursery):
    clock, other = Clock(), Clock()
    nursery.start_soon(other.timers.run)
    with clock.timers.driven_by(other.timers):
        moved, stopped = clock.timer("moved", 5), clock.timer("stopped", 6)
        clock.timers.set(moved, trio.current_time() + 50)
        clock.timers.stop(stopped)
        clock.timers.fire_due(trio.current_time())  # as a publisher does
        await trio.sleep(40)
        assert clock.names == []
        await trio.sleep(40)
    assert clock.names == ["moved"]


async def test_others_run_between_slices_of_them(autojump_clock, nursery):
    clock, other = Clock(), Clock()
    seen = []

    async def neighbour():
        await trio.sleep(10)
        while len(clock.fired) < 250:
            seen.append(len(clock.fired))
            await trio.lowlevel.checkpoint()

    nursery.start_soon(other.timers.run)
    nursery.start_soon(neighbour)
    with clock.timers.driven_by(other.timers):
        for number in range(250):
            clock.timer(number, 10)
        await trio.sleep(20)
    assert clock.names == list(range(250))
    assert max(after - before for before, after in pairwise(seen)) <= 32


# ---------------------------------------------------------------- keys that all have equally long


async def test_keys_time_out_in_the_order_in_which_they_began(autojump_clock, nursery):
    clock = Clock()
    nursery.start_soon(clock.timers.run)
    timeouts = Timeouts(clock.timers, 10, lambda key: clock.fired.append((key, trio.current_time())))
    start = trio.current_time()
    for key in ("a", "b", "c"):
        timeouts.begin(key)
        await trio.sleep(1)
    timeouts.end("b")
    timeouts.begin("a")  # anew
    timeouts.end("never began")
    await trio.sleep(100)
    assert clock.fired == [("c", start + 12), ("a", start + 13)]
    assert len(timeouts) == 0
    timeouts.begin("d")
    await trio.sleep(100)
    assert clock.fired[-1] == ("d", start + 113)


async def test_keys_with_all_the_time_in_the_world_do_not_wait(autojump_clock):
    timeouts = Timeouts(Timers(), inf, print)
    timeouts.begin("a")
    assert len(timeouts) == 0


async def test_many_keys_at_once_leave_room_for_others_and_one_that_fails_keeps_none_back(
    autojump_clock, nursery, caplog
):
    def time_out(key):
        clock.fired.append((key, trio.current_time()))
        if key == 0:
            timeouts.end(1)
            raise RuntimeError("a mistake")

    clock = Clock()
    nursery.start_soon(clock.timers.run)
    timeouts = Timeouts(clock.timers, 10, time_out)
    for key in range(30):
        timeouts.begin(key)
    await trio.sleep(11)
    assert clock.names == [0, *range(2, 30)]
    assert "a timeout's callback failed" in caplog.text
