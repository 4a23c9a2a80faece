"""`PresenceMachine`: a Hypothesis machine in which users come and go by several servers, which fail."""

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ...application import NexiosApp
from ...groups.user_connections import UserConnections
from ...websockets import ChannelBox, WebSocket, open_channel
from ..strategies import seeds
from .stepping import SteppedRun
from .user_run import UserRun

__all__ = ["PresenceMachine"]

_nodes = st.integers(0, 2)
_places = st.integers(0, 7)


class PresenceMachine(UserRun, RuleBasedStateMachine):
    """Users come and go by three servers, with several connections; links are cut, servers restart; and a simple model
    says who is present, and who is reached.

    Somebody watches each group on each server. Whoever is there must be seen, whoever has left must not be, in the time
    that lease and grace allow; nobody may leave who was back within the grace, and each joins and leaves once. What is
    sent to a user reaches each of the user's connections once and in order; disconnecting and unsubscribing hold on all
    servers. When all faults are over, everybody agrees.

    Subclass it for your own application: override `make`, and what your protocol needs of `groups`, `users`, `grace`,
    `lease`, `infos`, `url`, `user`, `update`, `number_in`. Then `TestMine = Mine.TestCase` is a test.
    """

    groups: Sequence[str] = ("room.1", "room.2")  # whose presence is kept, and which `url` can ask for
    users: Sequence[str | None] = ("ann", "bob", None)  # None: a connection without a user
    grace = 2.0  # seconds, as the application gives them to `keep_presence`
    lease = 9.0
    infos: Sequence[Any] = ("busy", "away")  # what `update` can say; () for an application in which nobody can
    max_clients = 6

    # To be overridden

    def make(self) -> Any:
        """The application of each server. By default one whose connections are in the group that their path names."""
        app = NexiosApp()
        app.box.keep_presence("room.*", grace=2, lease=9)

        @app.ws_route("/{group}")
        async def serve(ws: WebSocket, group: str) -> None:
            ws.user = ws.query_params.get("user")
            async with open_channel(ws) as channel, channel.member(group):
                async for info in channel:
                    app.box.update_presence(channel, group, info)

        return app

    def box(self, app: Any) -> ChannelBox:
        """Return the box that holds the application's groups."""
        box: ChannelBox = app.box
        return box

    def url(self, group: str, user: str | None) -> str:
        """Return the path on which a user connects, to be in the group."""
        return f"/{group}?user={user}" if user else f"/{group}"

    def user(self, app: Any, user: str) -> UserConnections:
        """Return all connections of a user. By default `app.user(user)`."""
        connections: UserConnections = app.user(user)
        return connections

    async def update(self, client: Any, info: Any) -> None:
        """Let a client say this of itself, which is then the info of its user. By default it sends that as JSON."""
        await client.send_json(info)

    def number_in(self, message: Any) -> int | None:
        """Return the "number" in what was sent to the user; None for anything else that a client got."""
        return message.get("number") if isinstance(message, dict) else None

    # Rules

    @initialize(seed=seeds())
    def begin(self, seed: int) -> None:
        self._begin(list(self.groups))
        self.stepped_run = SteppedRun(seed)
        self.stepped_run.call(self._open, seed, scoped=False)

    @precondition(lambda self: len(self.people) < self.max_clients)
    @rule(group=_places, user=_places, node=_nodes)
    def come(self, group: int, user: int, node: int) -> None:
        groups, users = self.groups, self.users
        self.stepped_run.call(self._come, groups[group % len(groups)], users[user % len(users)], node)

    @precondition(lambda self: self._awake())
    @rule(place=_places, how=st.sampled_from(["close", "lose", "half_open"]))
    def go(self, place: int, how: str) -> None:
        awake = self._awake()
        self.stepped_run.call(self._go, awake[place % len(awake)], how)

    @precondition(lambda self: self.infos and self._awake())
    @rule(place=_places, info=_places)
    def say(self, place: int, info: int) -> None:
        awake = self._awake()
        self.stepped_run.call(self._say, awake[place % len(awake)], self.infos[info % len(self.infos)])

    @rule(user=_places, node=_nodes)
    def send(self, user: int, node: int) -> None:
        self.stepped_run.call(self._send, self._named(user), node)

    @rule(user=_places, node=_nodes)
    def disconnect(self, user: int, node: int) -> None:
        self.stepped_run.call(self._disconnect, self._named(user), node)

    @rule(user=_places, group=_places, node=_nodes)
    def unsubscribe(self, user: int, group: int, node: int) -> None:
        self.stepped_run.call(self._unsubscribe, self._named(user), self.groups[group % len(self.groups)], node)

    @rule(seconds=st.sampled_from([0.1, 1.0, 2.5, 12.0]))
    def let_pass(self, seconds: float) -> None:
        self.stepped_run.call(self._pass, seconds)

    @rule(
        node=_nodes, seconds=st.sampled_from([0.5, 4.0, 7.0, 20.0]), what=st.sampled_from(["cut_engine", "stall_node"])
    )
    def fail(self, node: int, seconds: float, what: str) -> None:
        self.stepped_run.call(self._fail, node, seconds, what)

    @rule(node=_nodes, kill=st.booleans())
    def restart(self, node: int, kill: bool) -> None:
        self.stepped_run.call(self._restart, node, kill)

    @rule()
    def wait_until_all_is_well(self) -> None:
        self.stepped_run.call(self._check_when_all_is_well)

    @invariant()
    def everybody_knows(self) -> None:
        if hasattr(self, "world"):
            self.stepped_run.call(self._look)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            try:
                self.stepped_run.call(self._close, scoped=False)
            finally:
                self.stepped_run.close()

    def _named(self, place: int) -> str:
        named = [user for user in self.users if user is not None]
        return named[place % len(named)]
