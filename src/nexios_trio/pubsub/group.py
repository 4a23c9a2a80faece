"""Who is in which group, and what each member is still owed.

A group numbers its messages; `Group.pending` holds those that some member has not been given yet, and every membership
has a cursor, the number of the next message it is owed:

        base                    top
    ----|--- pending messages ---|----> sequence numbers
            ^cursor: given up to here

Publishing appends to `pending`. A flush gives members what lies between their cursor and the top. So a member that
joins starts at the top, one that leaves is given its rest first, and one that is written to directly in between is
flushed first: order holds whoever flushes when.

Most members of a large group are owed the same and can be written to at once. They are in cohorts, which have one
cursor for all. The others are stragglers, each with its own:

    leave_cohort    who is given something alone, or has something queued
    enter_cohort    who has nothing queued: when the group has nothing pending, at the end of a flush at the latest

The seam to the members' connections, which are `Receiver`s:

    at joining      `receiver.attach(membership)` gives back a `WriteNow`, or None: it cannot be written to at once
    later           the receiver calls `membership.set_write_now(...)` whenever that changes
    at a flush      `write_now(data)`, and `receiver.offer_batch` for what that did not take
    at leaving      `receiver.detach(membership)`

Invariants (`tests/pubsub/test_group.py`): base <= cursor <= top; a member is in `group.members` exactly if the group is
in the index's entry of that member; a membership is in one cohort or a straggler; a group without members is not in the
index.
"""

from collections.abc import Collection, Hashable
from math import inf
from typing import Any, Generic, TypeVar

from ..core.message import Batch, FrameIndex, Message
from ..core.overflow import Policy
from .writing import Backlog, WriteNow

# docs/decisions/001
MAX_COHORT_MEMBERS = 500  # written to between two checkpoints, which takes two to five milliseconds
MAX_WATCHED_BACKLOGS = 32  # of one group; whether some of its writers get on is what matters

M = TypeVar("M", bound=Hashable)


class Receiver:
    """How a member is reached. This one throws everything away: for an index that only counts members."""

    __slots__ = ()

    def attach(self, membership: "Membership[Any]") -> WriteNow | None:
        """Tell `membership.set_write_now` of changes from now on. Returns how it can be written to at present.

        It may give the membership another `frame_index`: that of the same form, compressed.
        """
        return None

    def detach(self, membership: "Membership[Any]") -> None:
        """Tell it no longer. It is a straggler, and was given the messages from number `first` to below its cursor."""

    def heed_policy(self, policy: Policy) -> None:
        """Prepare for messages that go by this overflow policy."""

    def offer_batch(self, membership: "Membership[Any]", batch: Batch, written: int = 0) -> Backlog | None:
        """Take over a batch of which `write_now` has written so many bytes. Returns the backlog if it is high."""
        return None

    def interrupt(self, membership: "Membership[Any]") -> None:
        """A message that may not be missing was not queued, nor those behind it: an overflow policy dropped them."""


NOWHERE = Receiver()


class Membership(Generic[M]):
    """One member's place in one group."""

    __slots__ = ("_cursor", "cohort", "first", "frame_index", "group", "member", "policy", "receiver", "write_now")

    def __init__(self, member: M, group: "Group[M]", receiver: Receiver, frame_index: FrameIndex) -> None:
        self.member = member
        self.group = group
        self.receiver = receiver
        self.frame_index: FrameIndex = frame_index  # which form of a message the member gets
        self.write_now: WriteNow | None = None  # the receiver's; None while something is queued for the member
        self.cohort: Cohort[M] | None = None
        self.policy: Policy | None = None  # for what the member has no room for; None: its connection's
        self._cursor = self.first = group.base + len(group.pending)

    @property
    def cursor(self) -> int:
        return self._cursor if self.cohort is None else self.cohort.cursor

    def set_receiver(self, receiver: Receiver, frame_index: FrameIndex) -> None:
        """Reach the member by `receiver` from now on."""
        self.set_write_now(None)
        self.receiver.detach(self)
        self.first = self._cursor
        self.receiver = receiver
        self.frame_index = frame_index
        self.set_write_now(receiver.attach(self))
        self._tell_policy()

    def set_policy(self, policy: Policy | None) -> None:
        """Go by this overflow policy for what the member has no room for; None: by its connection's."""
        self.policy = policy
        self._tell_policy()

    def _tell_policy(self) -> None:
        policy = self.group.policy or self.policy
        if policy is not None:
            self.receiver.heed_policy(policy)

    def set_write_now(self, write: WriteNow | None) -> None:
        """Note how the member can be written to without queueing, from now on; None for not at all."""
        if write is not self.write_now:
            self.group.leave_cohort(self)
            self.write_now = write
            if write is not None:
                self.group.enter_cohort(self, write)

    def take_owed(self) -> Batch | None:
        """Return what the member is owed, now given to it."""
        group = self.group
        start = self.cursor
        if start == group.top:
            return None
        group.leave_cohort(self)
        owed = [message for message, excluded in group.pending[start - group.base :] if self.member not in excluded]
        self.first += group.top - start - len(owed)  # what it was left out of, it was not given
        self.advance(group.top)
        if self.write_now is not None:
            group.enter_cohort(self, self.write_now)
        return Batch(tuple(owed)) if owed else None

    def advance(self, upto: int) -> None:
        """Note that a straggler has got everything below number `upto`."""
        self._cursor = upto


class Cohort(Generic[M]):
    """Members that get the same form of messages, are owed the same and can be written to at once."""

    __slots__ = ("cursor", "frame_index", "members", "writes")

    def __init__(self, frame_index: FrameIndex, cursor: int) -> None:
        self.frame_index: FrameIndex = frame_index
        self.cursor = cursor
        self.members: dict[Membership[M], WriteNow] = {}
        # The members' `write_now`, in their order; None: to be made again. A flush touches nothing else: each object
        # that it has to fetch for a delivery costs a tenth of a microsecond, since the kernel's part of it has emptied
        # the caches.
        self.writes: tuple[WriteNow, ...] | None = None


class Group(Generic[M]):
    """One group: its members and the messages on their way to them."""

    __slots__ = (
        "_may_enter_cohort",
        "_open_cohorts",
        "backlogs",
        "base",
        "cohorts",
        "flushed_at",
        "is_lone",
        "left_out",
        "members",
        "name",
        "pending",
        "pending_bytes",
        "policy",
        "policy_error_told",
        "stragglers",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: dict[M, Membership[M]] = {}
        self.cohorts: dict[Cohort[M], None] = {}
        self.stragglers: dict[Membership[M], None] = {}
        self._open_cohorts: dict[FrameIndex, dict[Cohort[M], None]] = {}  # those that are not full
        self._may_enter_cohort = False  # some straggler, after the next flush
        self.pending: list[tuple[Message, Collection[M]]] = []  # each with the members that do not get it
        self.base = 0
        self.pending_bytes = 0
        self.left_out: dict[M, None] = {}  # of some pending message
        # The broadcaster's: when the last flush that it has to know of ended, in seconds of trio's clock, and whether
        # what is pending came long after it, and alone.
        self.flushed_at = -inf
        self.is_lone = False
        self.backlogs: list[Backlog] = []  # high ones, some of them, as of the last flush
        self.policy: Policy | None = None  # for what members have no room for, before their own
        self.policy_error_told = False  # the transports': an overflow policy has failed here, and the log says so

    def set_policy(self, policy: Policy | None) -> None:
        """Go by this overflow policy for all members, before their own; None: by their own."""
        self.policy = policy
        if policy is not None:
            for membership in tuple(self.members.values()):
                membership.receiver.heed_policy(policy)

    @property
    def top(self) -> int:
        return self.base + len(self.pending)

    def add_member(self, member: M, receiver: Receiver, frame_index: FrameIndex) -> Membership[M]:
        membership = self.members[member] = Membership(member, self, receiver, frame_index)
        self.stragglers[membership] = None
        write = membership.write_now = receiver.attach(membership)
        if write is not None:
            self.enter_cohort(membership, write)
        return membership

    def remove_member(self, member: M) -> bool:
        """Return False when it was no member."""
        membership = self.members.pop(member, None)
        if membership is None:
            return False
        self.leave_cohort(membership)
        membership.receiver.detach(membership)
        del self.stragglers[membership]
        return True

    def leave_cohort(self, membership: Membership[M]) -> None:
        """Make it a straggler; a no-op for one that is."""
        cohort = membership.cohort
        if cohort is None:
            return
        membership._cursor = cohort.cursor
        membership.cohort = None
        self.stragglers[membership] = None
        del cohort.members[membership]
        cohort.writes = None
        if cohort.members:
            self._open_cohorts[cohort.frame_index][cohort] = None
        else:
            del self.cohorts[cohort]
            self._open_cohorts[cohort.frame_index].pop(cohort, None)

    def enter_cohort(self, membership: Membership[M], write: WriteNow, *, is_flushed: bool = False) -> None:
        """Put a straggler that can be written to at once into a cohort: now, or when what is pending was flushed.

        `is_flushed`: the straggler and all cohorts are at the base, whatever is pending.
        """
        if self.pending and not is_flushed:
            self._may_enter_cohort = True
            return
        open_cohorts = self._open_cohorts.setdefault(membership.frame_index, {})
        cohort = next(iter(open_cohorts), None)
        if cohort is None:
            cohort = Cohort(membership.frame_index, self.base)
            open_cohorts[cohort] = self.cohorts[cohort] = None
        cohort.members[membership] = write
        cohort.writes = None
        if len(cohort.members) >= MAX_COHORT_MEMBERS:
            del open_cohorts[cohort]
        membership.cohort = cohort
        del self.stragglers[membership]

    def publish(self, message: Message, excluded: Collection[M] = ()) -> None:
        """Owe `message` to every member but those excluded, who are looked up: a set, when there are many."""
        self.pending.append((message, excluded))
        self.pending_bytes += message.size
        if excluded:
            self.left_out.update(dict.fromkeys(excluded))

    def watch(self, backlog: Backlog) -> None:
        """Remember a high backlog."""
        if len(self.backlogs) < MAX_WATCHED_BACKLOGS:
            self.backlogs.append(backlog)

    def batch(self, start: int, end: int) -> Batch:
        """Return the messages from number `start` to below `end`, for those that are left out of none."""
        return Batch(tuple([message for message, _ in self.pending[start - self.base : end - self.base]]))

    def forget_delivered(self, upto: int) -> None:
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
        if self._may_enter_cohort:
            self._may_enter_cohort = False
            for membership in tuple(self.stragglers):
                if membership.write_now is None:
                    continue
                if membership.cursor == upto:
                    self.enter_cohort(membership, membership.write_now, is_flushed=True)
                else:
                    self._may_enter_cohort = True
