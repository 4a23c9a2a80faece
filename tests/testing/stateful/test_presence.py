"""The ready machine for presence and users, over our own box, over a house as somebody writes it, and over mistakes."""

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from nexios_trio import NexiosApp, WebSocket, open_channel
from nexios_trio.groups.presence_changes import PresenceChanges
from nexios_trio.groups.presence_node import PresenceNode
from nexios_trio.groups.user_connections import UserConnections
from nexios_trio.groups.users import UserBox
from nexios_trio.testing.stateful import PresenceMachine

MANY = settings().max_examples  # of the profile
FEW = settings(max_examples=MANY // 4, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck))
ONCE = settings(FEW, max_examples=200, database=None, phases=[Phase.generate], derandomize=True)

TestOurBox = PresenceMachine.TestCase
TestOurBox.settings = FEW


class House(PresenceMachine):
    """Its clients say who they are, and what they do, in a way of their own."""

    groups = ("house.kitchen", "house.cellar")
    users = ("1", "2", "3")
    grace = 5.0
    lease = 12.0
    infos = ({"does": "cook"}, {"does": "sleep"})
    has_users = True  # it knows who has come
    wait = 5.0  # seconds, in place of the grace that it says it has

    def make(self) -> Any:
        app = NexiosApp(user_id=lambda user: user["number"])
        app.box.keep_presence("house.*", grace=self.wait, lease=self.lease)

        @app.ws_route("/in/{room}")
        async def enter(ws: WebSocket, room: str) -> None:
            if self.has_users:
                ws.user = {"number": int(ws.query_params["number"])}
            group = f"house.{room}"
            async with open_channel(ws) as channel, channel.member(group):
                await channel.send({"welcome": room})
                async for does in channel:
                    app.box.update_presence(channel, group, {"does": does})

        return app

    def url(self, group: str, user: str | None) -> str:
        return f"/in/{group.removeprefix('house.')}?number={user}"

    async def update(self, client: Any, info: Any) -> None:
        await client.send_json(info["does"])


TestHouse = House.TestCase
TestHouse.settings = settings(FEW, max_examples=MANY // 10)


class OfNobody(House):
    has_users = False


class Impatient(House):
    wait = 0.0


@pytest.mark.parametrize(
    ("machine", "text"),
    [
        (OfNobody, r"was told that '[-0-9a-f]{36}' has joined in group 'house.\w+', and no connection is"),
        (Impatient, r"was told that '\d' has left in group 'house.\w+', who was there, or back within 5 s"),
    ],
)
def test_a_mistake_of_the_application_is_found(machine, text):
    with pytest.raises(AssertionError, match=text):
        run_state_machine_as_test(machine, settings=ONCE)


# Mistakes of ours


def says_nothing(self, group, client):
    return self.entries.pop((group, client), None) is not None


def never_renews(self, *, retries=False):
    if retries or self._edits:
        SET_TIMER(self, retries=retries)


def ignores_holes(self, message):
    if message is not None:
        HEAR(self, message)


async def asks_nobody(self, scope, ask, **details):
    return await ASK(self, "node", ask, **details)


def forgets_the_first(self, key):
    return CONNECTIONS(self, key)[1:]


SET_TIMER = PresenceNode._set_timer
HEAR = PresenceChanges.hear
ASK = UserConnections._ask
CONNECTIONS = UserBox.connections_here


@pytest.mark.parametrize(
    ("target", "name", "instead", "text"),
    [
        (PresenceNode, "leave", says_nothing, "who has left"),
        (PresenceNode, "_set_timer", never_renews, "who is there|who was there|who has left"),
        (PresenceChanges, "hear", ignores_holes, "who is there|who has left"),
        (UserConnections, "_ask", asks_nobody, "is still connected|connections of|are seen|is still in|left"),
        (UserBox, "connections_here", forgets_the_first, "connections"),
    ],
    ids=["says nothing", "never renews", "ignores holes", "asks nobody", "forgets the first"],
)
def test_a_mistake_of_ours_is_found(target, name, instead, text, monkeypatch):
    monkeypatch.setattr(target, name, instead)
    with pytest.raises(AssertionError, match=text):
        run_state_machine_as_test(PresenceMachine, settings=ONCE)
