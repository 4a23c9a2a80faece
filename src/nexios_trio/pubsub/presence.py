"""Who is present in groups, as data: nodes with leases, connections, users, and what is told of them.

    node        one incarnation of a process, until its lease ends; a renewal of its own begins the lease anew
    connection  enters a group in the name of its node, and leaves it, or its node ends
    user        all connections of one user in one group; a connection without a user is by itself

        (nobody) --first connection enters--> present --last one leaves--> leaving --grace is over--> (nobody)
                                                 ^------another enters------'

Joining is told when a user comes from nobody, leaving when a user goes back to that, and nothing in between but changed
info. Nothing grows with the connections of a node that renews its lease; what a dead node leaves behind is cleared away
in bounded parts, whoever renews or reads next.
"""

from collections import deque
from collections.abc import Callable
from math import inf
from typing import Final, Literal

import attrs

from ..core.deadlines import Deadlines

__all__ = ["PresenceEdit", "PresenceEvent", "PresenceTable", "PresentClient", "Renewal"]

MAX_REAPED: Final = 1000  # connections of dead nodes, and ends of graces, at a time

Kind = Literal["joined", "left", "updated"]


@attrs.frozen
class PresenceEdit:
    """What a node says of one of its connections. The last one of a connection in a group holds.

    Args:
        client: the connection's id.
        is_present: it is in the group; False: not any more.
        user: None for a connection without one.
        info: what is to be known of it: JSON, or "" for nothing.
        grace: seconds after leaving within which another connection of the user makes it unseen.
    """

    group: str
    client: str
    is_present: bool
    user: str | None = None
    info: str = ""
    grace: float = 0.0


@attrs.frozen
class Renewal:
    """What a node says: that it lives, and what has changed.

    Args:
        node: the incarnation, by a name of its own. One that has lost its lease never comes back.
        number: ascending; what comes late, behind a higher one, is not done.
        lease: seconds.
        is_first: the incarnation begins, if it is not there.
    """

    node: str
    number: int
    lease: float
    edits: tuple[PresenceEdit, ...] = ()
    is_first: bool = False


@attrs.frozen
class PresenceEvent:
    """What is told of a group. `client` is "" where there is a user, `info` is that of the user as a whole."""

    kind: Kind
    user: str | None
    client: str
    info: str


@attrs.frozen
class PresentClient:
    """A connection that is present, or whose user is about to leave unless one comes back."""

    client: str
    user: str | None
    info: str


class _Node:
    __slots__ = ("entries", "name", "number", "until")

    def __init__(self, name: str) -> None:
        self.name = name
        self.number = -1
        self.until = inf  # the end of the lease
        self.entries: dict[_Entry, None] = {}


class _Entry:
    """A connection in a group."""

    __slots__ = ("client", "grace", "info", "node", "user")

    def __init__(self, client: str, user: "_User", node: _Node, info: str, grace: float) -> None:
        self.client = client
        self.user = user
        self.node: _Node | None = node  # None: it has left
        self.info = info
        self.grace = grace


class _User:
    """A user in a group: present by some connection, or leaving.

    Args:
        name: None: it is one connection without a user.
    """

    __slots__ = ("group", "info", "key", "leaving", "name", "present")

    def __init__(self, group: "_Group", key: str, name: str | None) -> None:
        self.group = group
        self.key = key
        self.name = name
        self.present: dict[str, _Entry] = {}  # by connection; the last one has said something last
        self.leaving: _Entry | None = None  # the last connection, once none is present
        self.info = ""  # as it was told

    def latest_info(self) -> str:
        return next((entry.info for entry in reversed(self.present.values()) if entry.info), "")


class _Group:
    __slots__ = ("entries", "name", "users")

    def __init__(self, name: str) -> None:
        self.name = name
        self.entries: dict[str, _Entry] = {}  # by connection
        self.users: dict[str, _User] = {}  # by key


class PresenceTable:
    """Owned by what nodes share, or by the only one. Time is an argument, in seconds of one clock.

    Args:
        tell: called with a group and each of its events, when that has happened.
    """

    def __init__(self, tell: Callable[[str, PresenceEvent], None]) -> None:
        self._tell = tell
        self._nodes: dict[str, _Node] = {}
        self._leases: Deadlines[_Node] = Deadlines()
        self._dead: deque[_Node] = deque()  # whose connections have yet to leave
        self._leaving: Deadlines[_Entry] = Deadlines()
        self._groups: dict[str, _Group] = {}

    def __contains__(self, group: object) -> bool:
        """Tell whether somebody is there."""
        return group in self._groups

    def renew(self, renewal: Renewal, now: float) -> bool:
        """Do what a node says. Returns False when its lease is over: nothing was done."""
        self.reap(now)
        node = self._nodes.get(renewal.node)
        if node is None:
            if not renewal.is_first:
                return False
            node = self._nodes[renewal.node] = _Node(renewal.node)
        if renewal.number <= node.number:
            return True
        node.number = renewal.number
        node.until = now + renewal.lease
        self._leases.set(node, node.until)
        for edit in renewal.edits:
            if edit.is_present:
                self._enter(node, edit)
            else:
                self._leave(node, edit, now)
        self.reap(now)
        return True

    def end(self, name: str, now: float) -> None:
        """End a node's lease: it is known to be dead. A no-op for one that is not there."""
        node = self._nodes.pop(name, None)
        if node is not None:
            node.until = now
            self._leases.discard(node)
            self._dead.append(node)

    def reap(self, now: float) -> None:
        """End leases and graces that are over, a bounded part of them: `due` says when there is more to do."""
        for node in self._leases.pop_due(now):
            del self._nodes[node.name]
            self._dead.append(node)
        most = MAX_REAPED
        while self._dead and most:
            node = self._dead[0]
            if node.entries:
                self._depart(next(iter(node.entries)), node.until)
                most -= 1
            else:
                self._dead.popleft()
        for entry in self._leaving.pop_due(now, most):
            self._remove(entry.user)

    def due(self) -> float:
        """Return the time at which there is something to reap: `inf` for none, `-inf` for at once."""
        return -inf if self._dead else min(self._leases.next(), self._leaving.next())

    def clients(self, group: str) -> tuple[PresentClient, ...]:
        """Return who is present, user by user, in the order in which they came."""
        found = self._groups.get(group)
        if found is None:
            return ()
        return tuple(
            PresentClient(entry.client, user.name, entry.info)
            for user in found.users.values()
            for entry in (user.present.values() if user.leaving is None else (user.leaving,))
        )

    def _enter(self, node: _Node, edit: PresenceEdit) -> None:
        key = edit.client + "\0" if edit.user is None else edit.user
        group = self._groups.get(edit.group)
        entry = None if group is None else group.entries.get(edit.client)
        if entry is not None and entry.user.key != key:  # it acts for somebody else now
            if entry.node is not None:
                self._depart(entry, 0.0)
            self._remove_if_leaving(entry)
            group = self._groups.get(edit.group)
        if group is None:
            group = self._groups[edit.group] = _Group(edit.group)
        user = group.users.get(key)
        is_new = user is None
        if user is None:
            user = group.users[key] = _User(group, key, edit.user)
        if user.leaving is not None:
            self._leaving.discard(user.leaving)
            del group.entries[user.leaving.client]
            user.leaving = None
        self._set_entry(group, user, node, edit)
        info = user.latest_info()
        if is_new or info != user.info:
            user.info = info
            self._say("joined" if is_new else "updated", user)

    def _set_entry(self, group: _Group, user: _User, node: _Node, edit: PresenceEdit) -> None:
        before = user.present.get(edit.client)
        if before is not None:
            assert before.node is not None
            if before.node is node and before.info == edit.info and before.grace == edit.grace:
                return
            del before.node.entries[before]
            if before.info != edit.info:  # else it keeps its place among the user's connections
                del user.present[edit.client]
        entry = _Entry(edit.client, user, node, edit.info, edit.grace)
        user.present[edit.client] = group.entries[edit.client] = entry
        node.entries[entry] = None

    def _leave(self, node: _Node, edit: PresenceEdit, now: float) -> None:
        group = self._groups.get(edit.group)
        entry = None if group is None else group.entries.get(edit.client)
        if entry is not None and entry.node is node:
            self._depart(entry, now)

    def _depart(self, entry: _Entry, when: float) -> None:
        """A connection has left; its user has not, as long as another one is there, or comes in time."""
        user = entry.user
        assert entry.node is not None
        del entry.node.entries[entry]
        entry.node = None
        del user.present[entry.client]
        if not user.present:
            user.leaving = entry
            self._leaving.set(entry, when + entry.grace)
            return
        del user.group.entries[entry.client]
        info = user.latest_info()
        if info != user.info:
            user.info = info
            self._say("updated", user)

    def _remove_if_leaving(self, entry: _Entry) -> None:
        if entry.user.leaving is entry:
            self._leaving.discard(entry)
            self._remove(entry.user)

    def _remove(self, user: _User) -> None:
        """The user has left for good."""
        group = user.group
        assert user.leaving is not None
        del group.entries[user.leaving.client]
        del group.users[user.key]
        if not group.users:
            del self._groups[group.name]
        self._say("left", user)

    def _say(self, kind: Kind, user: _User) -> None:
        client = next(iter(user.present), "") if user.leaving is None else user.leaving.client
        event = PresenceEvent(kind, user.name, client if user.name is None else "", user.info)
        self._tell(user.group.name, event)
