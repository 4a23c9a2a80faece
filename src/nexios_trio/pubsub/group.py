"""Who is in which group, and what each member is still owed.

A group numbers its messages; `Group.pending` holds those that some member has not been given yet, and every membership
has a cursor, the number of the next message it is owed:

        base                    top
    ----|--- pending messages ---|----> sequence numbers
            ^cursor: given up to here

Publishing appends to `pending`. A flush gives members what lies between their cursor and the top. So a member that
joins starts at the top, one that leaves is given its rest first, and one that is written to directly in between is
flushed first: order holds whoever flushes when.

Most members of a large group are owed the same and can be written to at once. They march in cohorts, which have one
cursor for all. The others are stragglers, each with its own:

    falls out   who is given something alone, or has something queued
    falls in    who has nothing queued, when the group has nothing pending for it, at the end of a flush at the latest

Invariants (`tests/pubsub/test_group.py`): base <= cursor <= top; a member is in `group.members` exactly if the group is
in the index's entry of that member; a membership is in one cohort or a straggler; a group without members is not in the
index.
"""

from collections.abc import Callable, Collection, Hashable
from math import inf
from typing import Any, Generic, Protocol, TypeVar

from ..core.message import Batch, Kind, Message

# docs/decisions/001
MAX_COHORT = 500  # members; written to between two checkpoints, which takes two to five milliseconds
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
        """Tell `membership.set_inline` from now on."""

    def detach(self, membership: "Membership[Any]") -> None:
        """No longer."""

    def offer_batch(self, kind: Kind, batch: Batch, written: int = 0) -> Backlog | None:
        """Take over a batch of which `inline` has written so many bytes. Returns the backlog if it is high."""
        return None


NOWHERE = Receiver()


class Membership(Generic[M]):
    """One member's place in one group."""

    __slots__ = ("_cursor", "cohort", "group", "inline", "kind", "member", "receiver")

    def __init__(self, member: M, group: "Group[M]") -> None:
        self.member = member
        self.group = group
        # While nothing is queued for the member: writes the server frames of a batch, or their beginning, and returns
        # how many bytes; raises OSError, upon which `offer_batch` finds out what to do.
        self.inline: Write | None = None
        self.receiver: Receiver = NOWHERE
        self.kind: Kind = 0  # how the member's messages are encoded
        self.cohort: Cohort[M] | None = None
        self._cursor = group.top

    @property
    def cursor(self) -> int:
        return self._cursor if self.cohort is None else self.cohort.cursor

    def reach(self, receiver: Receiver, kind: Kind) -> None:
        """By `receiver` from now on, with messages encoded as `kind`."""
        self.receiver.detach(self)
        self.set_inline(None)
        self.receiver = receiver
        self.kind = kind
        receiver.attach(self)

    def set_inline(self, write: Write | None) -> None:
        """Use `write` for the member from now on, while nothing is queued; None: it has to be queued."""
        if write is not self.inline:
            self.group.fall_out(self)
            self.inline = write
            self.group.fall_in(self)

    def take(self) -> Batch | None:
        """Return what the member is owed, which counts as given to it from now on."""
        group = self.group
        start = self.cursor
        if start == group.top:
            return None
        group.fall_out(self)
        owed = [message for message, excluded in group.pending[start - group.base :] if self.member not in excluded]
        self.give(group.top)
        group.fall_in(self)
        return Batch(tuple(owed)) if owed else None

    def give(self, upto: int) -> None:
        """A straggler has got everything below number `upto`."""
        self._cursor = upto


class Cohort(Generic[M]):
    """Members of one encoding that are owed the same and can be written to at once."""

    __slots__ = ("_writes", "cursor", "kind", "members")

    def __init__(self, kind: Kind, cursor: int) -> None:
        self.kind: Kind = kind
        self.cursor = cursor
        self.members: dict[Membership[M], Write] = {}
        self._writes: tuple[Write, ...] | None = None

    @property
    def writes(self) -> tuple[Write, ...]:
        """The members' `inline`, in their order. A flush touches nothing else: each object that it has to fetch for a
        delivery costs a tenth of a microsecond, since the kernel's part of it has emptied the caches.
        """
        if self._writes is None:
            self._writes = tuple(self.members.values())
        return self._writes

    def add(self, membership: Membership[M], write: Write) -> None:
        self.members[membership] = write
        self._writes = None

    def remove(self, membership: Membership[M]) -> None:
        del self.members[membership]
        self._writes = None


class Group(Generic[M]):
    """One group: its members and the messages on their way to them."""

    __slots__ = (
        "_may_fall_in",
        "_roomy",
        "backlogs",
        "base",
        "cohorts",
        "flushed_at",
        "is_calm",
        "left_out",
        "members",
        "name",
        "pending",
        "pending_bytes",
        "stragglers",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: dict[M, Membership[M]] = {}
        self.cohorts: dict[Cohort[M], None] = {}
        self.stragglers: dict[Membership[M], None] = {}
        self._roomy: dict[Kind, dict[Cohort[M], None]] = {}  # the cohorts that are not full
        self._may_fall_in = False  # some straggler, after the next flush
        self.pending: list[tuple[Message, Collection[M]]] = []
        self.base = 0
        self.pending_bytes = 0
        self.left_out: dict[M, None] = {}  # of some pending message
        # The fan-out's: when the last flush that it has to know of ended, in seconds of trio's clock, and whether what
        # is pending came long after it, and alone.
        self.flushed_at = -inf
        self.is_calm = False
        self.backlogs: list[Backlog] = []  # high ones, some of them, as of the last flush

    @property
    def top(self) -> int:
        return self.base + len(self.pending)

    def join(self, member: M, receiver: Receiver, kind: Kind) -> Membership[M]:
        membership = self.members[member] = Membership(member, self)
        self.stragglers[membership] = None
        membership.reach(receiver, kind)
        return membership

    def leave(self, member: M) -> bool:
        """False when it was no member."""
        membership = self.members.pop(member, None)
        if membership is None:
            return False
        membership.receiver.detach(membership)
        self.fall_out(membership)
        del self.stragglers[membership]
        return True

    def fall_out(self, membership: Membership[M]) -> None:
        """Out of its cohort. A no-op for a straggler."""
        cohort = membership.cohort
        if cohort is None:
            return
        membership.give(cohort.cursor)
        membership.cohort = None
        self.stragglers[membership] = None
        cohort.remove(membership)
        if cohort.members:
            self._roomy[cohort.kind][cohort] = None
        else:
            del self.cohorts[cohort]
            self._roomy[cohort.kind].pop(cohort, None)

    def fall_in(self, membership: Membership[M]) -> None:
        """Into a cohort, if it can be written to at once: now, or when what is pending now has been flushed."""
        if membership.inline is None:
            return
        if self.pending:
            self._may_fall_in = True
        else:
            self._fall_in(membership, membership.inline)

    def _fall_in(self, membership: Membership[M], write: Write) -> None:
        """All cohorts and the membership are at the base."""
        roomy = self._roomy.setdefault(membership.kind, {})
        cohort = next(iter(roomy), None)
        if cohort is None:
            cohort = Cohort(membership.kind, self.base)
            roomy[cohort] = self.cohorts[cohort] = None
        cohort.add(membership, write)
        if len(cohort.members) >= MAX_COHORT:
            del roomy[cohort]
        membership.cohort = cohort
        del self.stragglers[membership]

    def publish(self, message: Message, excluded: Collection[M] = ()) -> None:
        self.pending.append((message, excluded))
        self.pending_bytes += message.size
        if excluded:
            self.left_out.update(dict.fromkeys(excluded))

    def watch(self, backlog: Backlog) -> None:
        """Remember a high backlog."""
        if len(self.backlogs) < MAX_WATCHED:
            self.backlogs.append(backlog)

    def batch(self, start: int, end: int) -> Batch:
        """The messages from number `start` to below `end`, for those that are left out of none."""
        return Batch(tuple(message for message, _ in self.pending[start - self.base : end - self.base]))

    def settle(self, upto: int) -> None:
        """Forget the messages below number `upto`; every member's cursor must be there or above."""
        done = upto - self.base
        if done <= 0:  # somebody else has flushed further in the meantime
            return
        if done == len(self.pending):
            self.pending.clear()
            self.pending_bytes = 0
            self.left_out.clear()
        else:
            self.pending_bytes -= sum(message.size for message, _ in self.pending[:done])
            del self.pending[:done]
            self.left_out = {member: None for _, excluded in self.pending for member in excluded}
        self.base = upto
        if self._may_fall_in:
            self._may_fall_in = False
            for membership in tuple(self.stragglers):
                if membership.inline is not None:
                    if membership.cursor == upto:
                        self._fall_in(membership, membership.inline)
                    else:
                        self._may_fall_in = True
