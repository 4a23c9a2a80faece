"""The ready machine for clients that come back, over our own box, over a kept room, and over some with a mistake."""

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from nexios_trio import ChannelBox, NexiosApp, WebSocket, open_channel
from nexios_trio.testing.simulation.broker import Broker
from nexios_trio.testing.simulation.broker_engine import BrokerEngine
from nexios_trio.testing.stateful.resume import KEPT, ResumeMachine

FEW = settings(max_examples=30, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck))
ONCE = settings(FEW, max_examples=200, database=None, phases=[Phase.generate], derandomize=True)

TestOurBox = ResumeMachine.TestCase
TestOurBox.settings = FEW


class Room(ResumeMachine):
    """A room as in the guide, whose clients tell of their position in a way of their own."""

    groups = (("tea", KEPT),)
    since = "seen"
    excludes = False
    forgets = 0  # how far back it believes that its clients are
    ignores = False  # it does not look at positions
    is_silent = False  # it does not say that messages are gone

    def make(self) -> Any:
        app = NexiosApp(box=self.make_box())
        app.box.keep("*", max_messages=KEPT)

        @app.ws_route("/rooms/{room}")
        async def serve(ws: WebSocket, room: str) -> None:
            seen = ws.query_params.get("seen")
            if seen is not None and self.forgets:
                epoch, offset = seen.split(":")
                seen = f"{epoch}:{max(int(offset) - self.forgets, 0)}"
            async with open_channel(ws, positions=True) as channel:
                channel.on_gap(lambda channel, *gap: self.warn(channel))
                async with channel.member(room, since=None if self.ignores else seen) as joined:
                    if seen and not self.ignores and not joined.recovered:
                        await self.warn(channel)
                    async for _ in channel:
                        pass

        return app

    def make_box(self) -> ChannelBox:
        return ChannelBox(name="rooms")

    async def warn(self, channel) -> None:
        if not self.is_silent:
            await channel.send("load the page anew")

    def url(self, group: str, user: str) -> str:
        return f"/rooms/{group}"

    def tells(self, message: Any) -> bool:
        return message == {"data": "load the page anew"}


TestRoom = Room.TestCase
TestRoom.settings = settings(FEW, max_examples=10)


class Forgetful(Room):
    forgets = 1


class Ignorant(Room):
    ignores = True


class Silent(Room):
    is_silent = True


class LooksNotBack(BrokerEngine):
    """Does not ask what it has missed when its link is back."""

    def _repair(self, watch) -> None:
        watch.waiting.clear()


class BrokenBroker(Broker):
    _engine_type = LooksNotBack


class Broken(Room):
    def __init__(self) -> None:
        super().__init__()
        self.broker = BrokenBroker()

    def make_box(self) -> ChannelBox:
        return ChannelBox(self.broker.engine(), name="rooms")


@pytest.mark.parametrize(
    ("machine", "text"),
    [
        (Forgetful, r"client \d in group 'tea' got message \d+ twice"),
        (Ignorant, "of 'tea', and was told of no gap"),
        (Silent, "of 'tea', and was told of no gap"),
        (Broken, "did not get message|was told of no gap"),
    ],
)
def test_a_mistake_is_found(machine, text):
    with pytest.raises(AssertionError, match=text):
        run_state_machine_as_test(machine, settings=ONCE)
