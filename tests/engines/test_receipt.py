"""A receipt is settled once, and everybody who waits for it learns what it says."""

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from nexios_trio.core.message import Position
from nexios_trio.engines.receipt import Receipt
from nexios_trio.exceptions import EngineError, LifecycleError

HERE = Position(3, "e")


async def test_everybody_who_waits_gets_the_position():
    receipt = Receipt()
    got = []

    async def wait():
        got.append(await receipt)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        assert got == []
        receipt.settle(HERE, False)
    assert got == [HERE, HERE]
    assert (receipt.position, receipt.is_watched, receipt.error) == (HERE, False, None)
    with assert_checkpoints():
        assert await receipt == HERE


async def test_before_it_is_settled_there_is_no_position_to_look_at():
    with pytest.raises(LifecycleError, match="await the receipt"):
        _ = Receipt().position


async def test_a_failure_is_raised_for_each_who_asks():
    receipt = Receipt()
    error = EngineError("no answer", maybe_published=True)
    receipt.fail(error)
    raised = []
    for _ in range(2):
        with pytest.raises(EngineError, match="no answer") as caught:
            await receipt
        raised.append(caught.value)
    assert [each.maybe_published for each in raised] == [True, True]
    assert len({id(each) for each in (error, *raised)}) == 3  # raising one changes no other
    assert error.__traceback__ is None


async def test_it_is_settled_once():
    receipt = Receipt()
    told = []
    receipt.on_settled = told.append
    receipt.settle(HERE)
    receipt.settle(None)
    receipt.fail(EngineError("too late"))
    assert (await receipt, told) == (HERE, [receipt])


async def test_who_is_cancelled_stops_waiting_alone():
    receipt = Receipt()
    got = []

    async def wait():
        got.append(await receipt)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        with trio.CancelScope() as scope:
            scope.cancel()
            await receipt
        assert scope.cancelled_caught
        receipt.settle(HERE)
    assert got == [HERE]
