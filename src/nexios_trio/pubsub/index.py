"""Which group has which members, and which member is in which groups."""

from collections.abc import Callable, Collection, Iterator
from enum import Enum
from typing import Generic

from ..core.message import FrameIndex
from .group import NOWHERE, Group, M, Membership, Receiver


class Removed(Enum):
    """What `GroupIndex.remove` did."""

    __hash__ = object.__hash__  # Enum's own is Python code

    MEMBER = "member"
    GROUP = "group"  # and the member was its last
    NO_MEMBER = "no member"
    NO_GROUP = "no group"


class GroupIndex(Generic[M]):
    """The two-way index: group name -> members, member -> its memberships."""

    def __init__(self) -> None:
        self.on_empty: Callable[[str], None] | None = None  # told of each group that has lost its last member
        self.on_leave: Callable[[M, str], None] | None = None  # told of each member that has left a group
        self.groups: dict[str, Group[M]] = {}
        # Read from outside, for speed; changed here alone.
        self.of: dict[M, dict[str, Membership[M]]] = {}
        self.size = 0  # memberships

    def add(self, member: M, name: str, receiver: Receiver = NOWHERE, frame_index: FrameIndex = 0) -> bool:
        """Join; True when the group is new. Joining twice is joining once."""
        group = self.groups.get(name)
        is_new = group is None
        if group is None:
            group = self.groups[name] = Group(name)
        if member not in group.members:
            self.of.setdefault(member, {})[name] = group.add_member(member, receiver, frame_index)
            self.size += 1
        return is_new

    def remove(self, member: M, name: str) -> Removed:
        group = self.groups.get(name)
        if group is None:
            return Removed.NO_GROUP
        if not group.remove_member(member):
            return Removed.NO_MEMBER
        self.size -= 1
        memberships = self.of[member]
        del memberships[name]
        if not memberships:
            del self.of[member]
        if self.on_leave is not None:
            self.on_leave(member, name)
        if group.members:
            return Removed.MEMBER
        del self.groups[name]
        if self.on_empty is not None:
            self.on_empty(name)
        return Removed.GROUP

    def discard(self, member: M) -> list[str]:
        """Leave every group; the names of those left, in joining order."""
        names = list(self.of.get(member, ()))
        for name in names:
            self.remove(member, name)
        return names

    def memberships(self, member: M) -> Collection[Membership[M]]:
        return self.of.get(member, {}).values()

    def __contains__(self, name: object) -> bool:
        return name in self.groups

    def __iter__(self) -> Iterator[Group[M]]:
        return iter(self.groups.values())

    def __len__(self) -> int:
        return len(self.groups)
