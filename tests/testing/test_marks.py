"""The mark `cancel_everywhere`, as a user's pytest run shows it."""

import pytest

TESTS = """
import pytest
import trio

pytestmark = pytest.mark.cancel_everywhere


@pytest.fixture
def members():
    return set()


async def test_as_a_whole():
    await trio.sleep(1)
    await trio.sleep(1)


@pytest.mark.cancel_everywhere(seeds=range(3))
@pytest.mark.parametrize("name", ["ann", "bob"])
async def test_with_an_operation(members, name):
    async def operation():
        members.add(name)
        try:
            await trio.sleep(1)
        finally:
            members.discard(name)

    yield operation
    assert members == set()


async def test_planted(members):
    async def operation():
        members.add("ann")
        await trio.sleep(1)  # planted
        members.discard("ann")

    yield operation
    assert members == set()
"""


@pytest.fixture
def run_pytest(pytester):
    """Run the tests above with some options; what pytest prints."""
    pytester.makepyfile(test_x=TESTS)
    pytester.makeini("[pytest]\ntrio_mode = true\n")

    def run(*options):
        plugins = ("-p", "nexios_trio_pytest.marks", "-p", "no:cacheprovider", "--strict-markers")
        return pytester.runpytest_inprocess(*plugins, *options).stdout.str()

    return run


def test_steps_are_counted(run_pytest):
    output = run_pytest("-k", "not planted")
    assert "3 passed, 1 deselected" in output
    assert "cancel everywhere: 15 steps of 3 scenarios, all clean" in output


def test_what_is_not_clean_is_told(run_pytest):
    output = run_pytest()
    assert "1 failed, 3 passed" in output
    assert "test_planted: cancelled before step 0 (seed 0)" in output
    assert "await trio.sleep(1)  # planted" in output
    assert "1 of them not clean" in output


def test_without_marks_nothing_is_said(run_pytest):
    assert "cancel everywhere" not in run_pytest("-k", "nothing")
