"""Who is in which group, and what each member is still owed.

A group numbers its messages; `Group.pending` holds those that some member has not been given yet, and every membership
has a cursor, the number of the next message it is owed:

        base                    top
    ----|--- pending messages ---|----> sequence numbers
            ^cursor: given up to here

Publishing appends to `pending`. A flush gives members what lies between their cursor and the top. So a member that
joins starts at the top, one that leaves is given its rest first, and one that is written to directly in between is
flushed first: order holds whoever flushes when.

Invariants (`tests/core/test_groups.py`): base <= cursor <= top; a member is in `group.members` exactly if the group is
in the index's entry of that member; a group without members is not in the index.
"""

from collections.abc import Callable, Collection, Hashable, Iterator
from enum import Enum
from typing import Any, Generic, Protocol, TypeVar

from .messages import Batch, Kind, Message

MAX_WATCHED = 32  # backlogs of one group; whether some of its writers get on is what matters

M = TypeVar("M", bound=Hashable)


class Backlog(Protocol):
    """What is queued for one member."""

    taken: int  # messages that its writer has taken, ever

    @property
    def is_high(self) -> bool:
        """More than half of what it may hold."""
        ...


Write = Callable[[bytes], int]


class Receiver:
    """How a member is reached. This one throws everything away: for an index that only counts members."""

    __slots__ = ()

    def attach(self, membership: "Membership[Any]") -> None:
        """Keep `membership.inline` true from now on."""

    def detach(self, membership: "Membership[Any]") -> None:
        """No longer."""

    def offer_batch(self, kind: Kind, batch: Batch, written: int = 0) -> Backlog | None:
        """Take over a batch of which `inline` has written so many bytes. Returns the backlog if it is high."""
        return None


_NOWHERE = Receiver()


class Removed(Enum):
    """What `GroupIndex.remove` did."""

    MEMBER = "member"
    GROUP = "group"  # and the member was its last
    NO_MEMBER = "no member"
    NO_GROUP = "no group"


class Membership(Generic[M]):
    """One member's place in one group."""

    __slots__ = ("cursor", "group", "inline", "kind", "member", "receiver")

    def __init__(self, member: M, group: "Group[M]") -> None:
        self.member = member
        self.group = group
        # While nothing is queued for the member: writes the server frames of a batch, or their beginning, and returns
        # how many bytes; raises OSError, upon which `offer_batch` finds out what to do. The short way for most of a
        # group, and here rather than with the receiver because every object on it costs a tenth of a microsecond.
        self.inline: Write | None = None
        self.receiver: Receiver = _NOWHERE
        self.kind: Kind = 0  # how the member's messages are encoded
        self.cursor = group.top

    def reach(self, receiver: Receiver, kind: Kind) -> None:
        """By `receiver` from now on, with messages encoded as `kind`."""
        self.receiver.detach(self)
        self.inline = None
        self.receiver = receiver
        self.kind = kind
        receiver.attach(self)

    def take(self) -> Batch | None:
        """What the member is owed, now given to it."""
        group = self.group
        start, self.cursor = self.cursor, group.top
        owed = [message for message, excluded in group.pending[start - group.base :] if self.member not in excluded]
        return Batch(tuple(owed)) if owed else None


class Group(Generic[M]):
    """One group: its members and the messages on their way to them."""

    __slots__ = ("_memberships", "backlogs", "base", "excluding", "members", "name", "pending", "pending_bytes")

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: dict[M, Membership[M]] = {}
        self._memberships: tuple[Membership[M], ...] | None = None
        self.pending: list[tuple[Message, Collection[M]]] = []
        self.base = 0
        self.pending_bytes = 0
        self.excluding = False  # some pending message leaves somebody out
        self.backlogs: list[Backlog] = []  # high ones, some of them, as of the last flush

    @property
    def top(self) -> int:
        return self.base + len(self.pending)

    @property
    def memberships(self) -> tuple[Membership[M], ...]:
        """Those of this moment; made when somebody has joined or left since."""
        if self._memberships is None:
            self._memberships = tuple(self.members.values())
        return self._memberships

    def join(self, member: M, receiver: Receiver, kind: Kind) -> Membership[M]:
        membership = self.members[member] = Membership(member, self)
        membership.reach(receiver, kind)
        self._memberships = None
        return membership

    def leave(self, member: M) -> bool:
        """False when it was no member."""
        membership = self.members.pop(member, None)
        if membership is None:
            return False
        membership.receiver.detach(membership)
        self._memberships = None
        return True

    def publish(self, message: Message, excluded: Collection[M] = ()) -> None:
        self.pending.append((message, excluded))
        self.pending_bytes += message.size
        if excluded:
            self.excluding = True

    def watch(self, backlog: Backlog) -> None:
        """Remember a high backlog."""
        if len(self.backlogs) < MAX_WATCHED:
            self.backlogs.append(backlog)

    def batch(self) -> Batch | None:
        """Everything pending, for the members that are owed all of it; None when each must be asked for its own."""
        if self.excluding:
            return None
        return Batch(tuple(message for message, _ in self.pending))

    def settle(self, upto: int) -> None:
        """Forget the messages below number `upto`; every member's cursor must be there or above."""
        done = upto - self.base
        if done <= 0:  # somebody else has flushed further in the meantime
            return
        if done == len(self.pending):
            self.pending.clear()
            self.pending_bytes = 0
            self.excluding = False
        else:
            self.pending_bytes -= sum(message.size for message, _ in self.pending[:done])
            del self.pending[:done]
            self.excluding = any(excluded for _, excluded in self.pending)
        self.base = upto


class GroupIndex(Generic[M]):
    """The two-way index: group name -> members, member -> its memberships."""

    def __init__(self) -> None:
        self.groups: dict[str, Group[M]] = {}
        self._of: dict[M, dict[str, Membership[M]]] = {}

    def add(self, member: M, name: str, receiver: Receiver = _NOWHERE, kind: Kind = 0) -> bool:
        """Join; True when the group is new. Joining twice is joining once."""
        group = self.groups.get(name)
        is_new = group is None
        if group is None:
            group = self.groups[name] = Group(name)
        if member not in group.members:
            self._of.setdefault(member, {})[name] = group.join(member, receiver, kind)
        return is_new

    def remove(self, member: M, name: str) -> Removed:
        group = self.groups.get(name)
        if group is None:
            return Removed.NO_GROUP
        if not group.leave(member):
            return Removed.NO_MEMBER
        memberships = self._of[member]
        del memberships[name]
        if not memberships:
            del self._of[member]
        if group.members:
            return Removed.MEMBER
        del self.groups[name]
        return Removed.GROUP

    def discard(self, member: M) -> list[str]:
        """Leave every group; the names of those left, in joining order."""
        names = list(self._of.get(member, ()))
        for name in names:
            self.remove(member, name)
        return names

    def memberships(self, member: M) -> Collection[Membership[M]]:
        return self._of.get(member, {}).values()

    def clear(self) -> None:
        self.groups.clear()
        self._of.clear()

    def __contains__(self, name: object) -> bool:
        return name in self.groups

    def __iter__(self) -> Iterator[Group[M]]:
        return iter(self.groups.values())

    def __len__(self) -> int:
        return len(self.groups)
