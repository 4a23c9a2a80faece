"""The model behind `GroupMembershipMachine`: who is in which group, who has to get which message.

Several operations begin at the same moment, and the application may put them into any order. So of a burst the model
keeps what every order has in common: a member that was in a group before, and neither left nor went, must get what was
sent to it; one that joined, left or went in the same burst may. Who both joined and left is asked of the application.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from itertools import combinations
from typing import Any, Protocol

import attrs
import trio
import trio.testing

from ...exceptions import LifecycleError, WebSocketDisconnect
from ...websockets import Channel, ChannelBox
from ..checks.delivery import MARK
from ..client.client import Client
from ..errors import Unmet
from ..internals import extensions_of, groups_of, members_of
from ..simulation.world import World

__all__ = ["Disconnect", "Hooks", "Join", "Leave", "Member", "Membership", "Operation", "Send"]


@attrs.frozen
class Join:
    """A member joins a group. Members are counted from 0 among those that are there, and over again."""

    member: int
    group: str


@attrs.frozen
class Leave:
    """A member leaves a group."""

    member: int
    group: str


@attrs.frozen
class Send:
    """A member sends to a group."""

    member: int
    group: str
    payload: Any = None


@attrs.frozen
class Disconnect:
    """A member's connection ends: "close" by its client, "lose" without a word, "server" by the application."""

    member: int
    how: str = "close"


Operation = Join | Leave | Send | Disconnect


@attrs.define
class _Sending:
    """A message of the present burst."""

    number: int
    sender: int
    group: str
    is_sent: bool = False


@attrs.define(eq=False)
class Member:
    """One connection, and what the model knows of it."""

    number: int
    client: Client
    expires_at: float | None  # seconds of trio's clock
    groups: set[str] = attrs.Factory(set)
    must: set[int] = attrs.Factory(set)  # numbers of messages that have to arrive
    may: set[int] = attrs.Factory(set)  # and of those that may
    got: list[int] = attrs.Factory(list)
    go: trio.Event = attrs.Factory(trio.Event)

    @property
    def name(self) -> str:
        return f"member {self.number}"

    @property
    def is_expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= trio.current_time()


class Hooks(Protocol):
    """What differs from one application to the next."""

    groups: Sequence[str]

    def make(self) -> Any: ...
    def box(self, app: Any) -> ChannelBox: ...
    def url(self, expires: float | None) -> str: ...
    async def join(self, member: Member, group: str) -> None: ...
    async def leave(self, member: Member, group: str) -> None: ...
    async def send(self, member: Member, group: str, message: Any) -> None: ...
    def number_in(self, received: Any) -> int | None: ...


class Membership:
    """The application, its connections, and the dict that it is compared with."""

    def __init__(self, hooks: Hooks, seed: int) -> None:
        self.hooks = hooks
        self.world = World(make=hooks.make, seed=seed, clock=None, check=False)
        self.members: dict[int, Member] = {}
        self._stack = AsyncExitStack()
        self._start: Callable[..., Awaitable[Any]] | None = None  # of the nursery that `open` opens
        self._next_member = 0
        self._next_message = 0

    @property
    def box(self) -> ChannelBox:
        return self.hooks.box(self.world.nodes[0].app)

    def channel_of(self, member: Member) -> Channel:
        """The member's channel. Raises: Unmet when its application has none."""
        for channel in self.box.channels():
            record = extensions_of(channel).get(MARK)
            if record is not None and record.name == member.name:
                return channel  # type: ignore[no-any-return]
        raise Unmet(f"a channel of {member.name}", "its application has none in the box")

    async def open(self) -> None:
        await self._stack.enter_async_context(self.world)
        nursery = await self._stack.enter_async_context(trio.open_nursery())
        self._start = nursery.start

    async def close(self) -> None:
        """Everybody goes; then nothing may be left."""
        try:
            await self.perform([Disconnect(place) for place in range(len(self.members))])
            await self.check()
            self.world.assert_no_leaks()
        except BaseException as error:
            await self._stack.__aexit__(type(error), error, error.__traceback__)
            raise
        await self._stack.aclose()

    async def connect(self, expires: float | None) -> None:
        assert self._start is not None
        number, self._next_member = self._next_member, self._next_member + 1
        self.members[number] = await self._start(self._hold, number, expires)
        await trio.testing.wait_all_tasks_blocked()

    async def _hold(self, number: int, expires: float | None, task_status: trio.TaskStatus[Member]) -> None:
        expires_at = None if expires is None else trio.current_time() + expires
        async with self.world.connect(self.hooks.url(expires), name=f"member {number}") as client:
            member = Member(number, client, expires_at)
            task_status.started(member)
            await member.go.wait()

    async def let_pass(self, seconds: float) -> None:
        """Move the clock, and forget those whose time was over."""
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, trio.testing.MockClock)
        clock.jump(seconds)
        await trio.testing.wait_all_tasks_blocked()
        for member in self.members.values():
            if member.is_expired:
                member.groups.clear()

    # A burst

    async def perform(self, operations: Sequence[Operation]) -> None:
        """Begin all operations at the same moment, and take note of what must and what may come of them."""
        numbers = sorted(self.members)
        known = [attrs.evolve(each, member=numbers[each.member % len(numbers)]) for each in operations if numbers]
        going = {each.member for each in known if isinstance(each, Disconnect)}
        sendings: list[_Sending] = []
        async with trio.open_nursery() as nursery:
            for operation in known:
                nursery.start_soon(self._do, operation, operation.member in going, sendings)
        await trio.testing.wait_all_tasks_blocked()
        for member in list(self.members.values()):
            joins = {each.group for each in known if isinstance(each, Join) and each.member == member.number}
            leaves = {each.group for each in known if isinstance(each, Leave) and each.member == member.number}
            for sending in sendings:
                _note_message(member, sending, joins, leaves, is_sure=going.isdisjoint({member.number, sending.sender}))
            self._note_groups(member, joins, leaves)
        for number in going:
            await self._say_farewell(self.members.pop(number))

    async def _do(self, operation: Operation, is_going: bool, sendings: list[_Sending]) -> None:
        member = self.members[operation.member]
        try:
            match operation:
                case Join(group=group):
                    await self.hooks.join(member, group)
                case Leave(group=group):
                    await self.hooks.leave(member, group)
                case Send(group=group, payload=payload):
                    sending = _Sending(self._next_message, member.number, group)
                    self._next_message += 1
                    sendings.append(sending)
                    await self.hooks.send(member, group, {"number": sending.number, "data": payload})
                    sending.is_sent = True
                case Disconnect(how=how):
                    await self._disconnect(member, how)
        except (WebSocketDisconnect, LifecycleError, Unmet):
            if not is_going and not member.is_expired:
                raise

    async def _disconnect(self, member: Member, how: str) -> None:
        if how == "lose":
            member.client.lose()
        elif how == "server":
            await self.channel_of(member).close(4000)
        else:
            await member.client.close()
        await trio.lowlevel.checkpoint()

    def _note_groups(self, member: Member, joins: set[str], leaves: set[str]) -> None:
        either = joins & leaves
        joined = set() if member.is_expired else joins
        member.groups = (member.groups | joined) - leaves
        member.groups |= {group for group in either if member.name in self._names_in(group)}

    async def _say_farewell(self, member: Member) -> None:
        await self._read(member)
        _check_messages(member, may_miss=True)
        member.go.set()
        await trio.testing.wait_all_tasks_blocked()

    # What must be true

    async def check(self) -> None:
        """Raises: AssertionError, saying what differs."""
        await trio.testing.wait_all_tasks_blocked()
        model = {group: {m.name for m in self.members.values() if group in m.groups} for group in self._groups()}
        actual = {group: self._names_in(group) for group in self._groups()}
        assert actual == model, f"the application's groups are {actual}, the model's are {model}"
        for member in self.members.values():
            await self._read(member)
            _check_messages(member)
        for one, two in combinations(self.members.values(), 2):
            _check_order(one, two)

    def _groups(self) -> list[str]:
        """Those that the machine plays with, where there is anybody. The application may have others."""
        named = {group for member in self.members.values() for group in member.groups}
        return sorted(named | (set(groups_of(self.box)) & set(self.hooks.groups)))

    def _names_in(self, group: str) -> set[str]:
        return {extensions_of(channel)[MARK].name for channel in members_of(self.box, group)}

    async def _read(self, member: Member) -> None:
        while member.client.unread():
            number = self.hooks.number_in(await member.client.receive_json())
            if number is not None:
                member.got.append(number)


def _note_message(member: Member, sending: _Sending, joins: set[str], leaves: set[str], *, is_sure: bool) -> None:
    group = sending.group
    if group in member.groups or group in joins:
        member.may.add(sending.number)
    if group in member.groups and group not in leaves and is_sure and sending.is_sent:
        member.must.add(sending.number)


def _check_messages(member: Member, *, may_miss: bool = False) -> None:
    got = set(member.got)
    assert len(got) == len(member.got), f"{member.name} got a message twice: {member.got}"
    assert got <= member.may, f"{member.name} got messages {sorted(got - member.may)}, which were not for it"
    missed = sorted(member.must - got)
    assert may_miss or not missed, f"{member.name} was in the group, and did not get messages {missed}"


def _check_order(one: Member, two: Member) -> None:
    both = set(one.got) & set(two.got)
    first, second = ([number for number in member.got if number in both] for member in (one, two))
    assert first == second, f"{one.name} got {first}, {two.name} got {second}: two orders of the same messages"
