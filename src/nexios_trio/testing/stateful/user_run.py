"""What a `PresenceMachine` asks of users, on all servers, and what everybody must know in the end."""

from collections import Counter
from typing import Any, Final

import trio

from ...exceptions import EngineError
from ...groups.user_connections import UserConnections
from .presence_run import Person, PresenceRun
from .world_run import CALM_SECONDS, NODES

__all__ = ["UserRun"]

GOODBYE: Final = (4003, "signed out")


class UserRun(PresenceRun):
    """The part of the machine's async part that calls what `app.user` gives."""

    # The application's

    def user(self, app: Any, user: str) -> UserConnections:
        raise NotImplementedError

    # Users

    def _all_is_well(self) -> bool:
        return all(faults.are_over(self.world.now) for faults in self._faults)

    def _user(self, user: str, node: int) -> UserConnections:
        return self.user(self.world.nodes[node].app, user)

    def _connections_of(self, user: str) -> list[Person]:
        return [person for person in self.people.values() if person.user == user]

    async def _send(self, user: str, node: int) -> None:
        await self._look()
        number, now = len(self._receivers), self.world.now
        self._receivers.append(user)
        is_fine = self._faults[node].are_over(now)
        there = self._connections_of(user)
        owed = [each for each in there if is_fine and self._faults[each.visit.node].are_over(now) and not each.is_lost]
        try:
            is_heard = await self._user(user, node).send({"number": number})
        except EngineError:
            if is_fine:
                raise
        else:
            self._in_order.add(number)
            assert is_heard or not owed, f"nobody was there for message {number} to {user}, and {owed[0].name} was"
            assert there or not is_heard or not self._all_is_well(), f"message {number} went to {user}, who has left"
        await self._look()
        for person in owed:
            if person.visit.client.end is None:
                assert number in person.got, f"{person.name} did not get message {number} to its user"

    async def _disconnect(self, user: str, node: int) -> None:
        await self._look()
        is_fine, there = self._all_is_well(), self._connections_of(user)
        try:
            count = await self._user(user, node).disconnect(GOODBYE[1], GOODBYE[0])
        except EngineError:
            if is_fine:
                raise
        else:
            is_known = is_fine and not any(person.is_lost for person in there)
            assert count == len(there) or not is_known, f"{count} connections of {user} ended, and not {len(there)}"
        await trio.sleep(0.1)
        await self._look()
        for person in there:
            if (is_fine or person.visit.node == node) and not person.is_lost:
                end = person.visit.client.end
                assert end is not None, f"{person.name} is still connected: {user} was disconnected"
                assert is_fine is False or (end.code, end.reason) == GOODBYE, f"{person.name} was told {end}"

    async def _unsubscribe(self, user: str, group: str, node: int) -> None:
        await self._look()
        is_fine = self._all_is_well()
        members = self._members(group, user)
        try:
            count = await self._user(user, node).unsubscribe(group)
        except EngineError:
            if is_fine:
                raise
        else:
            assert count == len(members) or not is_fine, f"{count} left {group!r} for {user}, and not {len(members)}"
        await self._look()
        assert not self._members(group, user) or not is_fine, f"{user} is still in {group!r}, after unsubscribe"

    async def _check_connections(self, user: str, node: int) -> None:
        there = self._connections_of(user)
        found = await self._user(user, node).connections()
        if not any(person.is_lost for person in there):
            here = [person for person in there if person.visit.node == node]
            seen = len(found), len([each for each in found if each.is_here])
            assert seen == (len(there), len(here)), f"{user} has {len(there)} connections, and {seen[0]} are seen"
        for group in self._groups:
            members = self._members(group, user)
            count = len([each for each in found if group in each.groups])
            assert count == len(members), f"{count} connections of {user} are in {group!r}, and not {len(members)}"

    # What must be true in the end

    async def _check_at_the_end(self) -> None:
        await self._check_when_all_is_well()

    async def _check_when_all_is_well(self) -> None:
        """Raises: AssertionError when somebody does not know what is true, long after the last fault."""
        for person in self.people.values():
            if person.is_lost:
                person.visit.client.heal()
                person.is_lost = False
        calm = self.lease * 4 / 3 + self.grace + CALM_SECONDS
        await self._pass(max(self._quiet_at - self.world.now, 0.0) + calm)
        for node in range(NODES):
            for group in self._groups:
                await self._check_presence(group, node)
        for user in sorted({user for user in self._users.values() if user is not None}):
            for node in range(NODES):
                await self._check_connections(user, node)
                await self._send(user, node)

    async def _check_presence(self, group: str, node: int) -> None:
        there = self._members(group)
        found = {user.id: user for user in await self._box(node).presence(group)}
        where = f"node {node} says of group {group!r}"
        counts, expected = {key: len(user.connections) for key, user in found.items()}, Counter(s.key for s in there)
        assert counts == expected, f"{where} that these are there: {counts}, and not {dict(expected)}"
        for key, user in found.items():
            infos = [stay.info for stay in there if stay.key == key]
            assert None in infos or user.info in infos, f"{where} that {key!r} is {user.info!r}, and not {infos}"
        for watcher in self._watchers:
            if watcher.node == node and watcher.view.group == group:
                shown, told = watcher.view.present, {key: user.info for key, user in found.items()}
                assert shown == told, f"{where} that these are there: {told}, and its watcher was told {shown}"
