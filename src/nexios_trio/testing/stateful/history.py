"""`HistoryMachine`: a Hypothesis machine that compares the history of groups, and resuming in it, with a list."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import attrs
import trio
import trio.testing
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ...application import NexiosApp
from ...core.message import Message, Position
from ...engines.base import Engine, HistoryLimits
from ...engines.memory import MemoryEngine
from ...websockets import ChannelBox, WebSocket, open_channel
from ..client.client import Client
from ..simulation.world import World
from ..strategies import seeds
from .stepping import SteppedRun

__all__ = ["HistoryMachine", "KeptMessages"]

_SECONDS = (1.0, 9.0, 10.0, 30.0)
_SIZES = (0, 10, 100, 1000)


@attrs.frozen
class _Row:
    offset: int
    payload: Any
    size: int
    saved_at: float


@attrs.define
class KeptMessages:
    """One group's history as it must be, kept in the simplest way there is."""

    limits: HistoryLimits
    rows: list[_Row] = attrs.Factory(list)
    top: int = 0  # offset of the latest message, kept or not

    def send(self, payload: Any, now: float, *, save: bool) -> None:
        self.top += 1
        if not save:
            return
        self.rows.append(_Row(self.top, payload, Message(payload, 0.0).size, now))
        self.expire(now)
        most = self.limits.max_messages
        self.rows = self.rows if most is None else self.rows[-most:]
        if self.limits.overflow == "clear" and self._bytes() > self.limits.max_bytes:
            self.rows = self.rows[-1:]
        while self._bytes() > self.limits.max_bytes:
            del self.rows[0]

    def expire(self, now: float) -> None:
        age = self.limits.max_age
        self.rows = [row for row in self.rows if age is None or now - row.saved_at < age]

    def after(self, offset: int) -> tuple[list[tuple[int, Any]], bool]:
        """Return what somebody gets who has seen everything up to `offset`; and whether that is all that was missed."""
        found = [(row.offset, row.payload) for row in self.rows if row.offset > offset]
        return found, [number for number, _ in found] == list(range(offset + 1, self.top + 1))

    def _bytes(self) -> int:
        return sum(row.size for row in self.rows)


class HistoryMachine(RuleBasedStateMachine):
    """Messages are sent to groups, kept or not; time passes, histories are flushed; and a list says what must be there.

    After every step `show_history` must give the messages of the model in their order; and whoever resumes, from any
    position, must get exactly the kept messages after it, and be told of a gap if and only if there is one.

    Subclass it for your own engine: override `make_engine`. Or for your own application, as those see it who come
    later: override `make`, `limits`, `url`, `send`, `shown`. Then `TestMine = Mine.TestCase` is a test.
    """

    groups: Sequence[str] = ("a", "b")
    saves: Sequence[bool] = (True, False)  # whether messages are kept
    resumes = True  # offsets count the messages of `send` alone, so resuming can be checked
    limits: Sequence[HistoryLimits] = (
        HistoryLimits(max_bytes=10_000),
        HistoryLimits(max_bytes=300, max_messages=4, max_age=10.0, overflow="clear"),
        HistoryLimits(max_bytes=300, max_messages=8, max_age=30.0, overflow="trim"),
    )

    # To be overridden

    def make_engine(self) -> Engine:
        """The engine under test. By default that of one process."""
        return MemoryEngine()

    def make(self, limits: HistoryLimits) -> Any:
        """The application under test. By default one whose connections are in the group that their path names."""
        app = NexiosApp(
            box=ChannelBox(
                self.make_engine(),
                history_bytes=limits.max_bytes,
                history_limit=limits.max_messages,
                history_ttl=limits.max_age,
                history_overflow=limits.overflow,
            )
        )

        @app.ws_route("/{group}")
        async def listen(ws: WebSocket, group: str) -> None:
            async with open_channel(ws) as channel, channel.member(group):
                async for _ in ws:
                    pass

        return app

    def box(self, app: Any) -> ChannelBox:
        """Return the box that holds the application's groups."""
        box: ChannelBox = app.box
        return box

    def url(self, group: str) -> str:
        """Return the path of the group's one member: an engine of one process carries nothing to nobody."""
        return f"/{group}"

    async def send(self, group: str, payload: Any, save: bool) -> None:
        """Send to the group. By default through the box."""
        await self._box.group_send(group, payload, save_history=save)

    async def shown(self, group: str) -> list[Any]:
        """The payloads of the group's history, oldest first. By default those of `show_history`."""
        return [each.payload for each in await self._box.show_history(group)]

    # Rules

    @initialize(seed=seeds(), data=st.data())
    def begin(self, seed: int, data: st.DataObject) -> None:
        limits = data.draw(st.sampled_from(list(self.limits)), label="limits")
        self.model = {group: KeptMessages(limits) for group in self.groups}
        self._count = 0
        self._stack = AsyncExitStack()
        self.stepped_run = SteppedRun(seed)
        self.stepped_run.call(self._open, self.make(limits), seed, scoped=False)

    @rule(data=st.data(), size=st.sampled_from(_SIZES))
    def send_one(self, data: st.DataObject, size: int) -> None:
        group = data.draw(st.sampled_from(list(self.groups)), label="group")
        save = data.draw(st.sampled_from(list(self.saves)), label="save")
        self.stepped_run.call(self._send, group, size, save)

    @rule(seconds=st.sampled_from(_SECONDS))
    def let_pass(self, seconds: float) -> None:
        self.stepped_run.call(trio.sleep, seconds)

    @rule(data=st.data())
    def flush(self, data: st.DataObject) -> None:
        group = data.draw(st.sampled_from([None, *self.groups]), label="group")
        for name in self.groups if group is None else [group]:
            self.model[name].rows.clear()
        self.stepped_run.call(self._box.flush_history, group)

    @invariant()
    def the_history_agrees(self) -> None:
        if hasattr(self, "stepped_run"):
            self.stepped_run.call(self._check)

    def teardown(self) -> None:
        if hasattr(self, "stepped_run"):
            try:
                self.stepped_run.call(self._stack.aclose, scoped=False)
            finally:
                self.stepped_run.close()

    # Inside the run

    async def _open(self, app: Any, seed: int) -> None:
        self._box = self.box(app)
        self.world = await self._stack.enter_async_context(World(app, seed=seed, clock=None, check=False))
        self.members: dict[str, Client] = {}
        for group in self.groups:
            member = self.world.connect(self.url(group), name=f"member of {group}")
            self.members[group] = await self._stack.enter_async_context(member)
        await trio.testing.wait_all_tasks_blocked()

    async def _send(self, group: str, size: int, save: bool) -> None:
        self._count += 1
        payload = {"number": self._count, "data": "x" * size}
        self.model[group].send(payload, trio.current_time(), save=save)
        await self.send(group, payload, save)
        await trio.testing.wait_all_tasks_blocked()

    async def _check(self) -> None:
        for group, model in self.model.items():
            model.expire(trio.current_time())
            expected, shown = [row.payload for row in model.rows], await self.shown(group)
            assert shown == expected, f"the history of group {group!r} is {shown}, the model's is {expected}"
            if self.resumes:
                await self._check_resuming(group, model)
        if self.resumes:
            kept = sorted(await self._box.engine.groups_with_history())
            named = sorted(group for group, model in self.model.items() if model.rows)
            assert kept == named, f"groups {kept} have a history, in the model it is {named}"

    async def _check_resuming(self, group: str, model: KeptMessages) -> None:
        engine = self._box.engine
        top = (await engine.history(group)).top
        assert top.offset == model.top, f"group {group!r} is at offset {top.offset}, the model at {model.top}"
        for offset in range(model.top + 1):
            page = await engine.history(group, Position(offset, top.epoch))
            got = [(_offset(each.position), each.payload) for each in page.messages]
            expected, complete = model.after(offset)
            after = f"after offset {offset} of group {group!r}"
            assert got == expected, f"{after} there is {got}, in the model {expected}"
            gap = "no gap, but there is one" if page.complete else "a gap, but there is none"
            assert page.complete == complete, f"{after} the engine tells of {gap}"


def _offset(position: Position | None) -> int | None:
    return None if position is None else position.offset
