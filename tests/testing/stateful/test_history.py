"""The ready machine for histories, over our own engine and over some with a mistake."""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from nexios_trio.application import NexiosApp
from nexios_trio.core.message import Position
from nexios_trio.engines.base import HistoryPage
from nexios_trio.engines.memory import MemoryEngine
from nexios_trio.testing.stateful.history import HistoryMachine
from nexios_trio.websockets import ChannelBox, WebSocket, open_channel

FEW = settings(max_examples=30, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck))

TestOurEngine = HistoryMachine.TestCase
TestOurEngine.settings = FEW


class OffByOne(MemoryEngine):
    """Gives again what was seen last."""

    async def history(self, group, since=None, **bounds):
        if since is not None and since.offset > 0:
            since = Position(since.offset - 1, since.epoch)
        return await super().history(group, since, **bounds)


class Silent(MemoryEngine):
    """Tells of no gap."""

    async def history(self, group, since=None, **bounds):
        page = await super().history(group, since, **bounds)
        return HistoryPage(page.messages, True, page.top)


class Hoarder(MemoryEngine):
    """Forgets nothing."""

    async def flush_history(self, group=None):
        await super().history(group or "a")


@pytest.mark.parametrize(
    ("engine", "text"),
    [
        (OffByOne, "after offset 1 of group 'a' "),
        (Silent, "after offset 0 of group 'a' the engine tells of no gap, but there is one"),
        (Hoarder, "the history of group 'a' is"),
    ],
)
def test_a_mistake_is_found_and_shrunk(engine, text):
    class Mistaken(HistoryMachine):
        groups = ("a",)

        def make_engine(self):
            return engine()

    once = settings(
        FEW,
        max_examples=100,
        stateful_step_count=6,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        report_multiple_bugs=False,
    )
    with pytest.raises(AssertionError, match=text) as caught:
        run_state_machine_as_test(Mistaken, settings=once)
    steps = "\n".join(getattr(caught.value, "__notes__", []))
    assert steps.count("state.send_one") == 1


class Newcomers(HistoryMachine):
    """An application's own way with history: what is kept is said on arrival."""

    saves = (True,)
    skipped = 0

    def make(self, limits):
        app = NexiosApp(
            box=ChannelBox(
                history_bytes=limits.max_bytes,
                history_limit=limits.max_messages,
                history_ttl=limits.max_age,
                history_overflow=limits.overflow,
            )
        )

        @app.ws_route("/{room}")
        async def serve(ws: WebSocket, room: str):
            async with open_channel(ws) as channel, channel.member(room):
                kept = await ChannelBox.show_history(room)
                await channel.send([message.payload for message in kept[self.skipped :]])
                async for said in channel:
                    await ChannelBox.group_send(room, said, save_history=True)

        return app

    async def send(self, group, payload, save):
        await self.members[group].send_json(payload)

    async def shown(self, group):
        async with self.world.connect(self.url(group)) as newcomer:
            return await newcomer.receive_json()


class Forgetful(Newcomers):
    skipped = 1  # planted


TestNewcomers = Newcomers.TestCase
TestNewcomers.settings = settings(FEW, max_examples=10)


def test_an_applications_mistake_is_found():
    with pytest.raises(AssertionError, match="the history of group '[ab]' is"):
        run_state_machine_as_test(Forgetful, settings=settings(FEW, database=None, phases=[Phase.generate]))
