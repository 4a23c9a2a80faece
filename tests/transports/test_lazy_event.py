"""An event that is made of one of trio's only while somebody waits."""

import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from nexios_trio.transports.lazy_event import LazyEvent


async def test_all_who_wait_are_woken():
    event = LazyEvent()
    woken = []

    async def wait(name: str) -> None:
        await event.wait()
        woken.append(name)

    async with trio.open_nursery() as nursery:
        for name in "ab":
            nursery.start_soon(wait, name)
        await wait_all_tasks_blocked()
        assert not woken
        assert not event.is_set()
        event.set()
        event.set()  # as often as one likes
    assert sorted(woken) == ["a", "b"]
    assert event.is_set()


async def test_who_comes_late_does_not_wait():
    event = LazyEvent()
    event.set()
    with assert_checkpoints():
        await event.wait()


async def test_who_gave_up_waiting_is_not_missed():
    event = LazyEvent()
    with trio.move_on_after(0) as scope:
        await event.wait()
    assert scope.cancelled_caught
    event.set()
    await event.wait()
