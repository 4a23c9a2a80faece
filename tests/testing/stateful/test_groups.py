"""The ready machine, over our own box, over an application of a user's, and over one with a mistake."""

from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from nexios_trio.application import NexiosApp
from nexios_trio.testing import Stuck
from nexios_trio.testing.stateful.groups import GroupMembershipMachine
from nexios_trio.websockets import ChannelBox, WebSocket, open_channel

FEW = settings(max_examples=30, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck))


TestOurBox = GroupMembershipMachine.TestCase
TestOurBox.settings = FEW


class ByMessages(GroupMembershipMachine):
    """Members join, leave and send by telling their application to."""

    expires = (None,)

    def make(self) -> Any:
        app = NexiosApp()

        @app.ws_route("/")
        async def serve(ws: WebSocket) -> None:
            async with open_channel(ws) as channel:
                async for request in channel:
                    match request:
                        case {"join": group}:
                            await ChannelBox.add_channel_to_group(channel, group)
                        case {"leave": group}:
                            await ChannelBox.remove_channel_from_group(channel, group)
                        case {"to": group, "message": message}:
                            await ChannelBox.group_send(group, {"said": message})

        return app

    async def join(self, member, group):
        await member.client.send_json({"join": group})

    async def leave(self, member, group):
        await member.client.send_json({"leave": group})

    async def send(self, member, group, message):
        await member.client.send_json({"to": group, "message": message})

    def number_in(self, received):
        return received["said"]["number"] if "said" in received else None


TestByMessages = ByMessages.TestCase
TestByMessages.settings = FEW


class Forgetful(ByMessages):
    groups = ("a",)
    max_members = 3

    def make(self) -> Any:
        app = NexiosApp()
        box = app.box

        @app.ws_route("/")
        async def serve(ws: WebSocket) -> None:
            async with open_channel(ws) as channel:
                async for request in channel:
                    match request:
                        case {"join": group}:
                            await box.add_channel_to_group(channel, group)
                        case {"leave": group}:
                            if len(await box.show_groups().get(group, {})) == 1:  # planted
                                await box.remove_channel_from_group(channel, group)
                        case {"to": group, "message": message}:
                            await box.group_send(group, {"said": message})

        return app


def test_a_mistake_is_found_and_shrunk():
    with pytest.raises(AssertionError, match="the application's groups are") as caught:
        run_state_machine_as_test(
            Forgetful,
            settings=settings(
                FEW, max_examples=200, stateful_step_count=8, database=None, phases=[Phase.generate, Phase.shrink]
            ),
        )
    steps = "\n".join(getattr(caught.value, "__notes__", []))
    assert steps.count("state.connect") == 2
    assert steps.count("Leave(") == 1


class Spinning(GroupMembershipMachine):
    """Leaving never ends, and does not wait for anything either."""

    async def leave(self, member, group):
        while True:
            await trio.lowlevel.checkpoint()


class Waiting(GroupMembershipMachine):
    """Leaving waits for what never comes."""

    async def leave(self, member, group):
        await trio.sleep_forever()


@pytest.mark.parametrize(("machine", "text"), [(Spinning, "What spins"), (Waiting, "every task waits")])
def test_what_never_ends_is_found(machine, text, monkeypatch):
    monkeypatch.setattr("nexios_trio.testing.stateful.stepping.MAX_IDLE_PASSES_PER_CALL", 3000)
    once = settings(FEW, database=None, phases=[Phase.generate])
    with pytest.raises(Stuck, match=f"(?s){text}.*in {machine.__name__}.leave"):
        run_state_machine_as_test(machine, settings=once)
