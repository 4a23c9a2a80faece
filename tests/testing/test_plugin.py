"""The pytest plugin, as a user's pytest loads it: in a process of its own."""

import pytest

pytestmark = pytest.mark.slow

pytest_plugins = ["pytester"]

APP = """
import time

import pytest
import trio
import trio.testing
from nexios_trio.application import NexiosApp
from nexios_trio.websockets import Channel, ChannelBox, WebSocket, open_channel


def make():
    app = NexiosApp()

    @app.ws_route("/")
    async def echo(ws: WebSocket):
        async with open_channel(ws) as channel, channel.member("room"):
            async for message in channel:
                await ChannelBox.group_send("room", message)

    return app
"""

GOOD = """
from app import *

{mark}
async def test_a_world_in_virtual_time(world):
    begin = time.monotonic()
    async with world(make(), seed=3) as w, w.connect("/", name="ann") as ws:
        await ws.send_json(1)
        assert await ws.receive_json() == 1
        await w.until(3600)
    assert time.monotonic() - begin < 60

{mark}
async def test_two_clients_of_one_application(app_client):
    app = make()
    async with app_client(app, "/") as one, app_client(app, "/") as two:
        await one.send_json(1)
        assert await two.receive_json() == 1

def test_a_box_of_the_tests_own(box):
    assert ChannelBox.show_groups()._groups is box._index.groups

@pytest.mark.trio
async def test_a_clock_of_ones_own(app_client, mock_clock):
    assert trio.lowlevel.current_clock() is mock_clock
    async with app_client(make(), "/"):
        pass

def test_without_us():
    pass
"""

BAD = """
from app import *

async def test_fails(world):
    async with world(make(), seed=7) as w, w.connect("/", name="ann") as ws:
        await ws.send_json("hello")
        await ws.receive_json()
        await ws.receive_json(timeout=2)

async def test_leaves_a_member(box, app_client):
    app = make()
    async with app_client(app, "/"):
        await trio.testing.wait_all_tasks_blocked()
        [channel] = app.box.channels()
    box._channels[channel.uuid] = channel  # planted
"""


@pytest.fixture(params=["trio_mode", "marks"])
def mode(request):
    return request.param


@pytest.fixture
def user(pytester):
    """A user's project; `-p no:cacheprovider` and warnings as errors, as many have it."""
    pytester.makepyfile(app=APP)
    return pytester


def test_fixtures_with_and_without_trio_mode(user, mode):
    user.makeini(f"[pytest]\ntrio_mode = {str(mode == 'trio_mode').lower()}\nfilterwarnings = error\n")
    user.makepyfile(test_good=GOOD.format(mark="" if mode == "trio_mode" else "@pytest.mark.trio"))
    user.runpytest_subprocess("-q", "-p", "no:cacheprovider").assert_outcomes(passed=5)


def test_failures_show_seed_and_timeline_once_and_what_is_left(user):
    user.makeini("[pytest]\ntrio_mode = true\n")
    user.makepyfile(test_bad=BAD)
    result = user.runpytest_subprocess("-q")
    result.stdout.fnmatch_lines(
        [
            "*expected a JSON message within 2 s, but nothing came to ann on /*",
            "*--- World(seed=7), the last of * events ---*",
            "*ann     sends '\"hello\"'",
        ]
    )
    assert result.stdout.str().count("sends '\"hello\"'") == 1
    result.stdout.fnmatch_lines(["*the test has left something behind:", "*Channel* is still known to the box"])
    result.assert_outcomes(failed=1, passed=1, errors=1)


def test_async_tests_that_nobody_runs_are_told_of_trio_mode(user):
    user.makepyfile(test_good="from app import *\n\nasync def test_one(autojump_clock): pass\n")
    result = user.runpytest_subprocess("-q")
    result.stdout.fnmatch_lines(
        ["*async def functions are not natively supported*", "*--- for Trio ---*", "*trio_mode = true*"]
    )
    result.assert_outcomes(failed=1)
    user.makepyfile(test_good="async def test_of_something_else(): pass\n")
    assert "trio_mode" not in user.runpytest_subprocess("-q").stdout.str()


def test_nothing_is_imported_where_it_is_not_used_and_it_can_be_switched_off(user):
    user.makepyfile(
        test_unused="""
import sys

def test_unused():
    assert not [name for name in sys.modules if name.startswith("nexios_trio.")]
"""
    )
    user.runpytest_subprocess("-q").assert_outcomes(passed=1)
    user.makepyfile(test_off="def test_off(box): pass")
    result = user.runpytest_subprocess("-q", "-p", "no:nexios_trio", "test_off.py")
    result.stdout.fnmatch_lines(["*fixture 'box' not found"])
