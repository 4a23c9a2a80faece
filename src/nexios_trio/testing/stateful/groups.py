"""`GroupMembershipMachine`: a Hypothesis machine that compares an application's groups with a dict."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ...application import NexiosApp
from ...websockets import ChannelBox, WebSocket, open_channel
from ..strategies import seeds
from .model import Disconnect, Join, Leave, Member, Membership, Operation, Send
from .stepping import SteppedRun

__all__ = ["GroupMembershipMachine"]


class GroupMembershipMachine(RuleBasedStateMachine):
    """Connections join and leave groups, send, expire and go, several at once, and a dict says what must be true.

    After every step each group must have exactly the members of the model, and each member must have got every message
    that was sent while it was in, in one order for all. What several operations at once may end in is taken from the
    application, within what is possible.

    Subclass it for your own application: override `make`, and what your protocol needs of `url`, `join`, `leave`,
    `send`, `number_in`. Then `TestMine = Mine.TestCase` is a test.
    """

    groups: Sequence[str] = ("a", "b", "c")
    expires: Sequence[float | None] = (None, 5.0, 20.0)  # times to live that `url` can ask for; (None,) for none
    max_members = 6

    # To be overridden

    def make(self) -> Any:
        """The application under test. By default one whose connections only wait."""
        app = NexiosApp()

        @app.ws_route("/")
        async def wait(ws: WebSocket) -> None:
            expires = ws.query_params.get("expires")
            async with open_channel(ws, expires=float(expires) if expires else None):
                async for _ in ws:
                    pass

        return app

    def box(self, app: Any) -> ChannelBox:
        """Return the box that holds the application's groups."""
        box: ChannelBox = app.box
        return box

    def url(self, expires: float | None) -> str:
        """Return the path on which a new member connects, with a channel that lives so long."""
        return f"/?expires={expires}" if expires else "/"

    async def join(self, member: Member, group: str) -> None:
        """Let the member join. By default through the box."""
        await self.model.box.add_channel_to_group(self.model.channel_of(member), group)

    async def leave(self, member: Member, group: str) -> None:
        """Let the member leave. By default through the box."""
        await self.model.box.remove_channel_from_group(self.model.channel_of(member), group)

    async def send(self, member: Member, group: str, message: Any) -> None:
        """Send a message from the member to the group. By default through the box."""
        await self.model.box.group_send(group, message)

    def number_in(self, received: Any) -> int | None:
        """The "number" of the message of `send` that a member received; None for anything else."""
        return received.get("number") if isinstance(received, dict) else None

    # Rules

    @initialize(seed=seeds())
    def begin(self, seed: int) -> None:
        self.stepped_run = SteppedRun(seed)
        self.model = Membership(self, seed)
        self.stepped_run.call(self.model.open, scoped=False)

    @precondition(lambda self: len(self.model.members) < self.max_members)
    @rule(data=st.data())
    def connect(self, data: st.DataObject) -> None:
        expires = data.draw(_times(tuple(self.expires)), label="expires")
        self.stepped_run.call(self.model.connect, expires)

    @precondition(lambda self: self.model.members)
    @rule(data=st.data())
    def at_once(self, data: st.DataObject) -> None:
        operations = data.draw(_bursts(self.max_members, tuple(self.groups)), label="at once")
        self.stepped_run.call(self.model.perform, operations)

    @precondition(lambda self: any(member.expires_at is not None for member in self.model.members.values()))
    @rule(seconds=st.sampled_from([1.0, 4.9, 5.0, 20.0]))
    def let_pass(self, seconds: float) -> None:
        self.stepped_run.call(self.model.let_pass, seconds)

    @invariant()
    def the_application_agrees(self) -> None:
        if hasattr(self, "model"):
            self.stepped_run.call(self.model.check)

    def teardown(self) -> None:
        if hasattr(self, "stepped_run"):
            try:
                self.stepped_run.call(self.model.close, scoped=False)
            finally:
                self.stepped_run.close()


@cache
def _bursts(members: int, groups: tuple[str, ...]) -> st.SearchStrategy[list[Operation]]:
    member, group = st.integers(0, members - 1), st.sampled_from(groups)
    operation = st.one_of(
        st.builds(Join, member, group),
        st.builds(Send, member, group),
        st.builds(Leave, member, group),
        st.builds(Disconnect, member, st.sampled_from(["close", "lose", "server"])),
    )
    return st.lists(operation, min_size=1, max_size=4)


@cache
def _times(times: tuple[float | None, ...]) -> st.SearchStrategy[float | None]:
    return st.sampled_from(times)
