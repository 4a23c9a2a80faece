"""`ResumeMachine`: a Hypothesis machine in which clients come back to groups whose servers and engine fail."""

from collections.abc import Sequence
from typing import Any

import trio
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ...application import NexiosApp
from ...channels.channel import Channel
from ...core.position import Position
from ...groups.results import OLDEST
from ...websockets import ChannelBox, WebSocket, open_channel
from ..strategies import seeds
from .readers import Log, Reader
from .resume_run import ResumeRun
from .stepping import SteppedRun

__all__ = ["ResumeMachine"]

KEPT = 5  # messages of each group, by the application of this module
GONE = {"data": "gone"}
KINDS = ("plain", "save", "transient", "key")

_nodes = st.integers(0, 2)
_places = st.integers(0, 7)
_counts = st.integers(1, KEPT + 1)


class ResumeMachine(ResumeRun, RuleBasedStateMachine):
    """Clients come, break off and come back with their last position, to any of three servers; messages are sent of all
    kinds; the engine that the servers share is cut off, stalls and forgets; and a simple model says what must be true.

    Each client must be given every message once, in the order of its group, and none that was not for it. Where some
    are missing, it must have been told so before the next one; and it must not be told so for nothing. When all faults
    are over, what is sent reaches everybody who is connected.

    Subclass it for your own application: override `make`, and what your protocol needs of `url`, `since`, `tells`,
    `groups`. Then `TestMine = Mine.TestCase` is a test.
    """

    groups: Sequence[tuple[str, int]] = (("kept", KEPT), ("other", 0))  # and how many messages of each are kept
    since = "since"  # the name in the query of the position that a client gives back
    excludes = True  # the application knows users, so that `exclude` holds for those who come back, too
    max_clients = 4

    # To be overridden

    def make(self) -> Any:
        """The application of each server. By default one that keeps the messages of one group of two."""
        app = NexiosApp(box=ChannelBox(name="resume", history_overflow="trim"))
        app.box.keep("kept", max_messages=KEPT)

        @app.ws_route("/{group}")
        async def serve(ws: WebSocket, group: str) -> None:
            ws.scope["user"] = ws.query_params.get("user")
            async with open_channel(ws, positions=True) as channel:

                @channel.on_gap
                async def tell(channel: Channel, group: str, after: Position | None, upto: Position | None) -> None:
                    await channel.send(GONE["data"])

                async with channel.member(group, since=ws.query_params.get("since", OLDEST)) as joined:
                    if not joined.recovered:
                        await channel.send(GONE["data"])
                    async for _ in channel:
                        pass

        return app

    def box(self, app: Any) -> ChannelBox:
        """Return the box that holds the application's groups."""
        box: ChannelBox = app.box
        return box

    def url(self, group: str, user: str) -> str:
        """Return the path on which a user connects, to join the group at the position in the query."""
        return f"/{group}?user={user}"

    def tells(self, message: Any) -> bool:
        """Tell whether a message says that others are gone."""
        return bool(message == GONE)

    # Rules

    @initialize(seed=seeds())
    def begin(self, seed: int) -> None:
        self._begin([Log(name, kept) for name, kept in self.groups])
        self.stepped_run = SteppedRun(seed)
        self.stepped_run.call(self._open, seed, scoped=False)

    @precondition(lambda self: len(self.readers) < self.max_clients)
    @rule(place=_places, node=_nodes)
    def arrive(self, place: int, node: int) -> None:
        self.readers.append(Reader(len(self.readers), self.logs[place % len(self.logs)]))
        self.stepped_run.call(self._connect, self.readers[-1], node)

    @precondition(lambda self: len(self._visits) < len(self.readers))
    @rule(place=_places, node=_nodes)
    def come_back(self, place: int, node: int) -> None:
        away = [reader for reader in self.readers if reader not in self._visits]
        self.stepped_run.call(self._connect, away[place % len(away)], node)

    @precondition(lambda self: self._visits)
    @rule(place=_places, how=st.sampled_from(["close", "lose", "half_open"]))
    def go(self, place: int, how: str) -> None:
        self.stepped_run.call(self._go, list(self._visits)[place % len(self._visits)], how)

    @rule(
        place=_places, node=_nodes, count=st.integers(1, KEPT + 1), kind=st.sampled_from(KINDS), excludes=st.booleans()
    )
    def send(self, place: int, node: int, count: int, kind: str, excludes: bool) -> None:
        log = self.logs[place % len(self.logs)]
        for _ in range(count):
            self.stepped_run.call(self._send, log, node, kind, excludes and self.excludes)

    @precondition(lambda self: self._with_keys())
    @rule(place=_places, node=_nodes)
    def send_again(self, place: int, node: int) -> None:
        found = self._with_keys()
        self.stepped_run.call(self._send_again, *found[place % len(found)], node)

    @rule(seconds=st.sampled_from([0.1, 1.0, 4.0, 12.0]))
    def let_pass(self, seconds: float) -> None:
        self.stepped_run.call(trio.sleep, seconds)

    @rule(node=_nodes, seconds=st.sampled_from([0.5, 4.0, 9.0]), what=st.sampled_from(["cut_engine", "stall_node"]))
    def fail(self, node: int, seconds: float, what: str) -> None:
        self.stepped_run.call(self._fail, node, seconds, what)

    @rule(count=st.integers(1, 3))
    def lose_tail(self, count: int) -> None:
        self.stepped_run.call(self._lose_tail, count)

    @rule(node=_nodes, kill=st.booleans())
    def restart(self, node: int, kill: bool) -> None:
        self.stepped_run.call(self._restart, node, kill)

    @rule()
    def wait_until_all_is_well(self) -> None:
        self.stepped_run.call(self._check_when_all_is_well)

    @invariant()
    def nobody_has_missed_anything(self) -> None:
        if hasattr(self, "world"):
            self.stepped_run.call(self._read)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            try:
                self.stepped_run.call(self._close, scoped=False)
            finally:
                self.stepped_run.close()
