"""A run that could never end does end, and says which task is to blame."""

from contextlib import suppress

import pytest
import trio

from nexios_trio.application import NexiosApp
from nexios_trio.testing import Stuck, World, cancel_everywhere, run
from nexios_trio.testing.simulation.deadlock import DeadlockDetector
from nexios_trio.testing.stateful.stepping import SteppedRun
from nexios_trio.websockets import ChannelBox, WebSocket, open_channel


async def going_round():
    while True:
        await trio.lowlevel.checkpoint()


async def insisting():
    while True:
        with suppress(Exception):
            await trio.lowlevel.checkpoint()


def test_a_task_that_spins_gets_the_error_where_it_stands(monkeypatch):
    monkeypatch.setattr("nexios_trio.testing.simulation.deadlock.MAX_PASSES", 5000)
    with pytest.raises(
        Stuck, match=r"no virtual time passed. What spins:\ntask .*\n.*going_round: await trio"
    ) as caught:
        run(going_round)
    assert "going_round" in [entry.name for entry in caught.traceback]


def test_a_task_that_catches_everything_is_ended_too(monkeypatch):
    monkeypatch.setattr("nexios_trio.testing.simulation.deadlock.MAX_PASSES", 5000)
    with pytest.raises(Stuck, match="insisting: await trio.lowlevel.checkpoint"):
        run(insisting)


def test_a_shield_does_not_help(monkeypatch):
    monkeypatch.setattr("nexios_trio.testing.simulation.deadlock.MAX_PASSES", 5000)

    async def scenario():
        with trio.CancelScope(shield=True):
            await going_round()

    with pytest.raises(Stuck, match="going_round"):
        run(scenario)


def test_tasks_that_wait_for_each_other():
    async def scenario():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.Event().wait, name="one")
            nursery.start_soon(trio.sleep_forever, name="two")

    with pytest.raises(Stuck, match=r"(?s)every task waits, and there is no deadline.*task one.*task two"):
        run(scenario)


def test_a_thread_is_waited_for():
    go_on = trio.Event()

    def in_a_thread():
        for _ in range(20):
            trio.from_thread.run(trio.lowlevel.checkpoint)
        trio.from_thread.run_sync(go_on.set)
        return 3

    async def scenario():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, in_a_thread)
            await go_on.wait()
        return 4

    assert run(scenario) == 4


async def test_in_a_world_whoever_catches_it(autojump_clock, monkeypatch):
    monkeypatch.setattr("nexios_trio.testing.simulation.deadlock.MAX_IDLE_PASSES", 5000)
    app = NexiosApp()

    @app.ws_route("/")
    async def spin(ws: WebSocket):
        async with open_channel(ws):
            await insisting()

    with pytest.raises(Stuck, match=r"(?s)What spins:\ntask .*insisting") as caught:
        async with World(app) as w, w.connect("/", name="ann"):
            await trio.sleep(1)
    assert "ann     connects to" in caught.value.__notes__[0]


async def test_a_world_whose_test_waits_for_ever(autojump_clock):
    with pytest.raises(
        Stuck, match=r"(?s)every task waits.*?, at\n[^,]*waits_for_ever: await trio.Event.*task network"
    ):
        async with World(NexiosApp(), check=False):
            await trio.Event().wait()


async def test_much_ado_at_one_moment_is_no_spin(autojump_clock, monkeypatch):
    app = NexiosApp()

    @app.ws_route("/")
    async def echo(ws: WebSocket):
        async with open_channel(ws) as channel, channel.member("all"):
            async for message in channel:
                await ChannelBox.group_send("all", message)

    async with World(app) as w, w.connect("/") as ws:
        monkeypatch.setattr(w._detector, "_limit", 3000)  # more than the passes of one answer, less than those of all
        begin = w.now
        for number in range(1000):
            await ws.send_json(number)
            assert await ws.receive_json() == number
        assert w.now == begin


def test_a_scenario_that_spins_when_it_is_cancelled(monkeypatch):
    monkeypatch.setattr("nexios_trio.testing.simulation.deadlock.MAX_PASSES", 5000)

    async def scenario():
        try:
            await trio.sleep(1)
        finally:
            with trio.CancelScope(shield=True):
                while not scenario.__name__.startswith("other"):
                    await trio.lowlevel.checkpoint()

    with pytest.raises(AssertionError, match="What spins"):
        cancel_everywhere(scenario)


class TestSteppedRun:
    @pytest.fixture
    def stepped_run(self):
        stepped_run = SteppedRun()
        yield stepped_run
        stepped_run.close()

    def test_a_call_that_spins(self, stepped_run):
        with pytest.raises(Stuck, match="going_round"):
            stepped_run.call(going_round)
        assert stepped_run.call(self.answer) == 42

    def test_a_call_that_waits_for_ever(self, stepped_run):
        with pytest.raises(Stuck, match="every task waits"):
            stepped_run.call(trio.sleep_forever)
        assert stepped_run.call(self.answer) == 42

    def test_timeouts_come(self, stepped_run):
        async def wait():
            with trio.move_on_after(3600):
                await trio.sleep_forever()
            return trio.current_time()

        begin = stepped_run.call(self.now)
        assert stepped_run.call(wait) == begin + 3600
        assert stepped_run.call(self.now) == begin + 3600

    async def answer(self):
        await trio.lowlevel.checkpoint()
        return 42

    async def now(self):
        await trio.lowlevel.checkpoint()
        return trio.current_time()


async def test_what_is_found_is_raised_once():
    detector = DeadlockDetector()
    with detector.enforced():
        pass
    detector.error = Stuck("so it is")
    with pytest.raises(Stuck, match="so it is"), detector.enforced():
        raise ValueError("a consequence")
    with pytest.raises(KeyboardInterrupt), detector.enforced():
        raise KeyboardInterrupt
