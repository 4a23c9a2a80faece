"""What happens in the run of a `PresenceMachine`: connections, watchers, faults, and what everybody is told."""

from contextlib import suppress
from typing import Any, Final
from uuid import UUID

import attrs
import trio
import trio.testing

from ...channels.channel import Channel
from ...groups.presence_changes import PresenceChange
from ..checks.delivery import MARK
from ..errors import ConnectionOver
from ..internals import extensions_of, see_memberships
from .stays import Faults, Stay, Stays, View
from .world_run import NODES, Visit, WorldRun

__all__ = ["Person", "PresenceRun"]

LOOK_SECONDS: Final = 1.0  # at most between two looks at the groups


@attrs.define(eq=False)
class Person:
    """A connection of a user, who is to be in a group.

    Args:
        user: None for a connection without one.
        is_lost: the peer hears nothing any more.
        got: the numbers of the messages to its user.
    """

    name: str
    user: str | None
    group: str
    visit: Visit
    is_lost: bool = False
    got: list[int] = attrs.Factory(list)


@attrs.define(eq=False)
class _Watcher:
    view: View
    node: int
    scope: trio.CancelScope


class PresenceRun(WorldRun):
    """The part of the machine that is async."""

    lease: float
    grace: float

    def _begin(self, groups: list[str]) -> None:
        self.people: dict[str, Person] = {}  # by name, whose connections are not over
        self._faults = [Faults(self.lease) for _ in range(NODES)]
        self._stays = Stays(self.lease, self.grace)
        self._groups = groups
        self._watchers: list[_Watcher] = []
        self._changes: list[tuple[View, PresenceChange, float]] = []  # that watchers were told since the last look
        self._here: dict[tuple[str, UUID], Stay] = {}  # which channels are in which group
        self._users: dict[str, str | None] = {}  # of all that have ever come, by name
        self._receivers: list[str] = []  # of each message that was sent, its user
        self._in_order: set[int] = set()  # messages that had their place before the next one was sent

    # The application's

    def url(self, group: str, user: str | None) -> str:
        raise NotImplementedError

    async def update(self, client: Any, info: Any) -> None:
        raise NotImplementedError

    def number_in(self, message: Any) -> int | None:
        raise NotImplementedError

    # Inside the run

    async def _open(self, seed: int) -> None:
        await super()._open(seed)
        for node in range(NODES):
            self._see(node)

    async def _come(self, group: str, user: str | None, node: int) -> None:
        name = f"{user or 'somebody'} {len(self._users)}"
        self._users[name] = user
        with suppress(ConnectionOver):  # that server is down
            self.people[name] = await self._start(self._hold, name, group, user, node)
        await self._look()

    async def _hold(
        self, name: str, group: str, user: str | None, node: int, task_status: trio.TaskStatus[Person]
    ) -> None:
        async with self.world.connect(self.url(group, user), name=name, node=node) as client:
            visit = Visit(client, node)
            task_status.started(Person(name, user, group, visit))
            await visit.go.wait()

    async def _go(self, person: Person, how: str) -> None:
        await self._look()
        if how == "half_open":
            person.visit.client.half_open()
            person.is_lost = True
            return
        if how == "lose":
            person.visit.client.lose()
        self._end(person)
        await self._look()

    def _awake(self) -> list[Person]:
        return [person for person in self.people.values() if not person.is_lost]

    def _end(self, person: Person) -> None:
        self.people.pop(person.name, None)
        person.visit.go.set()

    async def _say(self, person: Person, info: Any) -> None:
        for stay in self._here.values():
            if stay.name == person.name:
                with suppress(ConnectionOver):
                    await self.update(person.visit.client, info)
                    stay.info = info
        await self._look()

    def _see(self, node: int) -> None:
        """Note from now on who joins and leaves by this server."""

        def joined(channel: Channel, group: str) -> None:
            if group in self._groups:
                name = extensions_of(channel)[MARK].name
                key = self._users[name] or str(channel.uuid)
                stay = Stay(group, key, name, node, self._faults[node], self.world.now)
                self._stays.all.append(stay)
                self._here[group, channel.uuid] = stay

        def left(channel: Channel, group: str) -> None:
            if group in self._groups:
                self._here.pop((group, channel.uuid)).gone = self.world.now

        see_memberships(self._box(node), joined, left)

    def _members(self, group: str, key: str | None = None) -> list[Stay]:
        return [stay for stay in self._here.values() if stay.group == group and key in (None, stay.key)]

    async def _pass(self, seconds: float) -> None:
        end = trio.current_time() + seconds
        while trio.current_time() < end:
            await trio.sleep_until(min(trio.current_time() + LOOK_SECONDS, end))
            await self._look()

    async def _fail(self, node: int, seconds: float, what: str) -> None:
        await self._look()
        self._faults[node].note(self.world.now, self.world.now + seconds, is_cut=what == "cut_engine")
        await super()._fail(node, seconds, what)

    async def _restart(self, node: int, kill: bool) -> None:
        await self._look()
        self._faults[node].restarted(self.world.now)
        for watcher in [each for each in self._watchers if each.node == node]:
            watcher.scope.cancel(reason="its server restarts")
            self._watchers.remove(watcher)
        await super()._restart(node, kill)
        self._see(node)
        self._faults[node].restarted(self.world.now)
        await self._look()

    # Watching

    async def _watch_all(self) -> None:
        """Let somebody watch each group on each server that can be relied on."""
        watched = {(each.node, each.view.group) for each in self._watchers}
        for node in range(NODES):
            for group in self._groups:
                if (node, group) not in watched and self._faults[node].are_over(self.world.now):
                    self._watchers.append(await self._start(self._watch, node, group))

    async def _watch(self, node: int, group: str, task_status: trio.TaskStatus[_Watcher]) -> None:
        with trio.CancelScope() as scope:
            async with self._box(node).watch_presence(group) as changes:
                present = {user.id: user.info for user in changes.present}
                view = View(
                    f"a watcher on node {node}", group, self._faults[node], self._stays, present, self.world.now
                )
                task_status.started(_Watcher(view, node, scope))
                async for change in changes:
                    self._changes.append((view, change, self.world.now))

    def _let_go(self) -> None:
        for person in self.people.values():
            if person.is_lost:
                person.visit.client.heal()
            person.visit.go.set()
        for watcher in self._watchers:
            watcher.scope.cancel(reason="the machine is at its end")

    # Looking

    async def _look(self) -> None:
        """Take what everybody has got, and note who is in the groups. Raises: AssertionError, saying what is wrong."""
        await trio.testing.wait_all_tasks_blocked()
        self._is_wrong = True  # unless all of this is passed
        changes, self._changes = self._changes, []
        for view, change, when in changes:
            view.tell(change.kind, change.id, change.info, change.version, when)
        for watcher in self._watchers:
            watcher.view.check(self.world.now)
        for person in list(self.people.values()):
            while person.visit.client.unread():
                self._take(person, self.number_in(await person.visit.client.receive_json()))
            if person.visit.client.end is not None:
                self._end(person)
        self._is_wrong = False
        await self._watch_all()

    def _take(self, person: Person, number: int | None) -> None:
        if number is None:
            return
        for_whom = self._receivers[number]
        assert for_whom == person.user, f"{person.name} got message {number}, which was for {for_whom}"
        assert number not in person.got, f"{person.name} got message {number} twice"
        if number in self._in_order:
            later = [each for each in person.got if each > number and each in self._in_order]
            assert not later, f"{person.name} got message {number} after {later[0]}"
        person.got.append(number)
