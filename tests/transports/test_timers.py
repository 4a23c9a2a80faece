"""Alarms ring when they are due, once, and in one of the tasks that run the sweeper."""

import logging
from itertools import pairwise

import pytest
import trio
from trio.testing import assert_no_checkpoints, wait_all_tasks_blocked

from nexios_trio.transports.timers import Alarm, Sweeper


class Clock:
    """Alarms that note when they ring."""

    def __init__(self):
        self.sweeper = Sweeper()
        self.rung = []

    def alarm(self, name, delay):
        alarm = Alarm(lambda: self.rung.append((name, trio.current_time())))
        self.sweeper.set(alarm, trio.current_time() + delay)
        return alarm

    @property
    def names(self):
        return [name for name, _ in self.rung]


async def test_alarms_ring_in_time_and_in_order(autojump_clock, nursery):
    clock = Clock()
    nursery.start_soon(clock.sweeper.run)
    start = trio.current_time()
    clock.alarm("late", 20)
    clock.alarm("early", 10)
    await trio.sleep(100)
    assert clock.rung == [("early", start + 10), ("late", start + 20)]


async def test_an_earlier_alarm_wakes_the_sleeping_sweeper(autojump_clock, nursery):
    clock = Clock()
    nursery.start_soon(clock.sweeper.run)
    clock.alarm("late", 20)
    await wait_all_tasks_blocked()
    start = trio.current_time()
    clock.alarm("early", 5)
    await trio.sleep(10)
    assert clock.rung == [("early", start + 5)]


async def test_a_moved_alarm_rings_at_its_new_time_only(autojump_clock, nursery):
    clock = Clock()
    nursery.start_soon(clock.sweeper.run)
    start = trio.current_time()
    alarm = clock.alarm("one", 5)
    clock.sweeper.set(alarm, start + 50)
    await trio.sleep(100)
    assert clock.rung == [("one", start + 50)]


async def test_a_stopped_alarm_is_silent(autojump_clock, nursery):
    clock = Clock()
    nursery.start_soon(clock.sweeper.run)
    clock.sweeper.stop(clock.alarm("one", 5))
    await trio.sleep(100)
    assert clock.rung == []


async def test_an_alarm_can_set_itself_again(autojump_clock, nursery):
    sweeper = Sweeper()
    rung = []

    def ring():
        rung.append(trio.current_time())
        if len(rung) < 3:
            sweeper.set(alarm, trio.current_time() + 1)

    alarm = Alarm(ring)
    start = trio.current_time()
    sweeper.set(alarm, start + 1)
    nursery.start_soon(sweeper.run)
    await trio.sleep(100)
    assert rung == [start + 1, start + 2, start + 3]


async def test_sweep_is_synchronous_and_needs_no_task():
    clock = Clock()
    clock.alarm("now", 0)
    clock.alarm("later", 1000)
    with assert_no_checkpoints():
        assert clock.sweeper.sweep(trio.current_time()) == 1
        assert clock.sweeper.sweep(trio.current_time()) == 0
    assert clock.names == ["now"]


async def test_one_that_another_stops_or_moves_stays_silent():
    clock = Clock()

    def ring():
        clock.rung.append(("first", trio.current_time()))
        clock.sweeper.stop(stopped)
        clock.sweeper.set(moved, trio.current_time() + 1000)

    clock.sweeper.set(Alarm(ring), trio.current_time() - 1)
    stopped = clock.alarm("stopped", 0)
    moved = clock.alarm("moved", 0)
    assert clock.sweeper.sweep(trio.current_time()) == 1
    assert clock.names == ["first"]
    clock.sweeper.sweep(trio.current_time() + 1000)
    assert clock.names == ["first", "moved"]


async def test_a_failing_owner_keeps_no_other_from_ringing(caplog):
    clock = Clock()
    clock.sweeper.set(Alarm(lambda: 1 // 0), trio.current_time())
    clock.alarm("next", 0)
    clock.sweeper.sweep(trio.current_time())
    assert clock.names == ["next"]
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.exc_info[0] is ZeroDivisionError


async def test_when_one_of_two_lifespans_ends_the_other_goes_on(autojump_clock, nursery):
    clock = Clock()
    async with trio.open_nursery() as first:
        first.start_soon(clock.sweeper.run)
        nursery.start_soon(clock.sweeper.run)
        clock.alarm("both run", 1)
        await trio.sleep(5)
        first.cancel_scope.cancel()
    clock.alarm("one runs", 1)
    await trio.sleep(5)
    assert clock.names == ["both run", "one runs"]


async def test_it_can_be_run_again(autojump_clock):
    clock = Clock()
    for name in ("first", "second"):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(clock.sweeper.run)
            await wait_all_tasks_blocked()
            clock.alarm(name, 1)
            await trio.sleep(5)
            nursery.cancel_scope.cancel()
    assert clock.names == ["first", "second"]


@pytest.mark.parametrize(("many", "wait", "turns"), [(250, 32, 100), (20_000, 250, 600)])
async def test_many_alarms_at_once_let_other_tasks_run_in_between(many, wait, turns, autojump_clock, nursery):
    """A beat of 5,000 connections delays others by some pings, not by all; and thousands are rung in some turns."""
    clock = Clock()
    seen = []

    async def other():
        await trio.sleep(10)
        while len(clock.rung) < many:
            seen.append(len(clock.rung))
            await trio.lowlevel.checkpoint()

    nursery.start_soon(clock.sweeper.run)
    nursery.start_soon(other)
    for number in range(many):
        clock.alarm(number, 10)
    await trio.sleep(20)
    assert clock.names == list(range(many))
    # Within one scheduler pass tasks run in any order.
    assert max(after - before for before, after in pairwise(seen)) <= wait
    assert len(seen) <= turns
