"""`cancel_everywhere`: it counts, it finds, it says where."""

from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
import trio

from nexios_trio.testing.checks.cancellation import CancelledAt, cancel_everywhere


def test_every_step_is_cancelled_once():
    reached = []

    async def scenario():
        for step in range(3):
            await trio.sleep(1)
            reached.append(step)

    report = cancel_everywhere(scenario)
    assert (report.steps, report.runs) == (4, 4)
    assert str(report) == "scenario: cancelled at 4 of 4 steps, all clean"
    assert reached == [0, 1, 2, 0, 0, 1]


def test_an_await_in_a_finally_is_found_with_its_line():
    members = set()

    @asynccontextmanager
    async def scenario():
        members.clear()

        async def operation():
            members.add("me")
            try:
                await trio.sleep(1)
            finally:
                await trio.lowlevel.checkpoint()  # planted
                members.discard("me")

        yield operation
        assert members == set()

    with pytest.raises(CancelledAt) as caught:
        cancel_everywhere(scenario)
    text = str(caught.value)
    assert "scenario: cancelled before step 0 (seed 0): AssertionError" in text
    assert "while one cancellation was being handled, there was another" in text
    assert "await trio.lowlevel.checkpoint()  # planted" in text
    assert isinstance(caught.value.__cause__, AssertionError)


def test_a_leftover_task_is_found():
    @asynccontextmanager
    async def scenario():
        async with trio.open_nursery() as nursery:

            async def operation():
                nursery.start_soon(trio.sleep_forever, name="orphan")
                await trio.sleep(1)

            yield operation
            nursery.cancel_scope.cancel()

    with pytest.raises(CancelledAt, match=r"1 task\(s\) are left: orphan"):
        cancel_everywhere(scenario)


@pytest.mark.parametrize("shield", [True, False])
def test_what_does_not_end_is_found(shield):
    async def scenario():
        try:
            await trio.sleep(1)
        except trio.Cancelled:
            with trio.CancelScope(shield=shield):
                await trio.sleep_forever()
            raise
        await trio.lowlevel.checkpoint()

    if shield:
        with pytest.raises(CancelledAt, match=r"(?s)still running after 60 s, at\n.*sleep_forever"):
            cancel_everywhere(scenario)
    else:
        assert cancel_everywhere(scenario).steps == 3


def test_errors_without_cancellation_are_raised_as_they_are():
    async def scenario():
        raise KeyError("x")

    with pytest.raises(KeyError):
        cancel_everywhere(scenario)


def test_an_error_instead_of_cancellation():
    async def scenario():
        try:
            await trio.sleep(1)
        except trio.Cancelled:
            raise ZeroDivisionError("in the handler") from None

    with pytest.raises(CancelledAt, match="ZeroDivisionError: in the handler"):
        cancel_everywhere(scenario)


def test_long_scenarios_are_sampled():
    async def scenario():
        for _ in range(100):
            await trio.lowlevel.checkpoint()

    report = cancel_everywhere(scenario, max_runs=10)
    assert (report.steps, report.runs) == (101, 10)


def test_a_scenario_must_be_a_function():
    with pytest.raises(TypeError, match="a scenario is an async function"):
        cancel_everywhere(cast("Any", 3))
