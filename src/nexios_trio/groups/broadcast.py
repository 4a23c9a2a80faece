"""Giving a group's messages to its members: at once, or joined where many messages come to many members.

    small group                             at once, by whoever publishes
    medium group, a message that is alone   at once too
    otherwise                               by the flusher: all that is pending, to each member in one go

So a message to a large group is not written yet when `group_send` returns. Where one message follows another, the
flusher waits until publishers pause for a few scheduler passes, a matter of microseconds against the milliseconds that
a thousand writes take; where it comes alone, nobody waits for a second one. Cursors (`pubsub.group`) keep the order for
those who join, leave or are written to directly in between.
"""

import logging
from collections.abc import Hashable, Iterable, Iterator
from typing import Protocol

import trio
from trio.lowlevel import (
    Abort,
    Task,
    cancel_shielded_checkpoint,
    checkpoint,
    current_task,
    reschedule,
    wait_task_rescheduled,
)

from ..core.message import Batch, Kind
from ..pubsub.group import Cohort, Group, Membership, Receiver, Write

logger = logging.getLogger("nexios_trio.fanout")

# docs/decisions/001
SMALL_GROUP = 32  # members; up to here a flush costs less than waking the flusher
MEDIUM_GROUP = 128  # members; up to here a flush, of a millisecond or two, may be the publisher's
SLICE = 500  # members between two checkpoints: two to five milliseconds
QUIET_PASSES = 3  # scheduler passes without a new message before a group that gets many is flushed
MAX_PASSES = 32
MAX_LINGER = 0.002  # seconds: a busy server's passes are long. Who has had no message for so long does not wait at all
MAX_PENDING = 128  # messages
BREATH_PASSES = 8  # in which a writer that can go on takes at least one message
MAX_BREATHS = 16
MAX_PENDING_BYTES = 65536  # flush sooner than a kernel buffer would overflow


class Member(Hashable, Protocol):
    """Whoever can be in a group."""

    def receiver(self) -> tuple[Receiver, Kind]:
        """Return how it is reached, and with which encoding. Looked up once, at joining."""
        ...


class Fanout:
    """The flush of every group of one box. Without a running flusher all groups count as small."""

    def __init__(self) -> None:
        self.dirty: dict[Group[Member], None] = {}  # groups with pending messages
        # More than this is written at once by whoever publishes: a burst must not overflow the outboxes of peers that
        # would have kept up.
        self.max_pending = MAX_PENDING
        self.max_pending_bytes = 8 * MAX_PENDING_BYTES
        self.deliveries = 0
        self._published = 0
        self._dirty_since = 0.0  # seconds of trio's clock
        self._flushers = 0
        self._sleeper: Task | None = None
        self._duty = trio.Lock()  # of several lifespans' flushers, one works and the others wait

    def published(self, group: Group[Member]) -> None:
        """`group` has a new pending message."""
        self._published += 1
        if (
            not self._flushers
            or len(group.members) <= SMALL_GROUP
            or len(group.pending) >= self.max_pending
            or group.pending_bytes >= self.max_pending_bytes
        ):
            self.flush(group)
            return
        now = trio.current_time()
        group.is_calm = group not in self.dirty and now - group.flushed_at > MAX_LINGER
        if group.is_calm and len(group.members) <= MEDIUM_GROUP:
            self.flush(group)
            group.flushed_at = trio.current_time()
            return
        if not self.dirty:
            self._dirty_since = now
        self.dirty[group] = None
        if self._sleeper is not None:
            reschedule(self._sleeper)
            self._sleeper = None

    def flush(self, group: Group[Member]) -> None:
        """Give every member all it is owed, now."""
        self.dirty.pop(group, None)
        for _ in self._flush(group):
            pass

    def catch_up(self, memberships: Iterable[Membership[Member]]) -> None:
        """Give one member what it is owed in these groups, before it leaves or is written to directly."""
        for membership in tuple(memberships):  # giving may end a connection, which leaves its groups
            if membership.group in self.dirty:
                self._give_rest(membership)

    async def breathe(self, group: Group[Member]) -> None:
        """Let writers that have much queued get on, or a burst would overflow outboxes of peers that keep up.

        Waits for no peer: it is over when those writers stand still, and after some scheduler passes in any case.

        Checkpoint: always, but not one of cancellation: what was published is published.
        """
        for _ in range(MAX_BREATHS):
            high = [(backlog, backlog.taken) for backlog in group.backlogs if backlog.is_high]
            if not high:
                group.backlogs.clear()
                return
            for _ in range(BREATH_PASSES):
                await cancel_shielded_checkpoint()
            if all(backlog.taken == taken for backlog, taken in high):
                return

    async def run(self) -> None:
        """Flush large groups for ever. Cancellation: between two slices; what is pending then goes out at once."""
        self._flushers += 1
        try:
            async with self._duty:
                while True:
                    while not self.dirty:
                        await self._sleep()
                    if not all(group.is_calm for group in self.dirty):
                        await self._linger()
                    await self._flush_dirty()
                    self._dirty_since = trio.current_time()
        finally:
            self._flushers -= 1
            if not self._flushers:
                for group in list(self.dirty):
                    self.flush(group)

    async def _flush_dirty(self) -> None:
        given = 0
        for group in list(self.dirty):
            if given and given + len(group.members) > SLICE:
                await checkpoint()
                given = 0
            if group not in self.dirty:  # flushed in the meantime
                continue
            given += len(group.members)
            for _ in self._flush(group):
                await checkpoint()
            group.flushed_at = trio.current_time()
            if not group.pending:
                self.dirty.pop(group, None)

    async def _sleep(self) -> None:
        self._sleeper = current_task()
        await wait_task_rescheduled(self._abandon)

    def _abandon(self, _: object) -> Abort:
        self._sleeper = None
        return Abort.SUCCEEDED

    async def _linger(self) -> None:
        quiet = passes = 0
        latest = self._dirty_since + MAX_LINGER
        while quiet < QUIET_PASSES and passes < MAX_PASSES and trio.current_time() <= latest:
            seen = self._published
            await checkpoint()
            quiet = quiet + 1 if self._published == seen else 0
            passes += 1
            if any(group.pending_bytes > MAX_PENDING_BYTES for group in self.dirty):
                return

    def _flush(self, group: Group[Member]) -> Iterator[None]:
        """The slices of a flush. Between two of them anything may happen, another flush of the group too."""
        group.backlogs.clear()
        top = group.top
        batch = group.batch(group.base, top)
        given = 0
        for member in tuple(group.left_out):
            if given >= SLICE:
                yield
                given = 0
            if member in group.members:
                given += 1
                self._give_rest(group.members[member])
        for cohort in tuple(group.cohorts):
            if given + len(cohort.members) > SLICE:
                yield
                given = 0
            given += len(cohort.members)
            self._give_cohort(group, cohort, batch, top)
        # Whoever falls out of a cohort from here on has been given the batch.
        for membership in tuple(group.stragglers):
            if given >= SLICE:
                yield
                given = 0
            given += 1
            self._give_straggler(membership, batch, top)
        group.settle(top)

    def _give_cohort(self, group: Group[Member], cohort: Cohort[Member], batch: Batch, top: int) -> None:
        """Write a batch to members that are owed exactly that. Thousands of times for each message."""
        if cohort.cursor >= top:
            return
        if cohort.cursor != top - len(batch.messages):  # a flush was cancelled
            batch = group.batch(cohort.cursor, top)
        cohort.cursor = top
        data = batch.wire(cohort.kind)
        size = len(data)
        writes = cohort.writes
        self.deliveries += len(writes) * len(batch.messages)
        for index, write in enumerate(writes):
            try:
                written = write(data)
            except OSError:
                written = 0
            if written != size:
                self._give_rest_of(cohort, index, written, batch)
                return

    def _give_rest_of(self, cohort: Cohort[Member], index: int, written: int, batch: Batch) -> None:
        """Go on from a member that took only so many bytes; others may now fall out, who have the same socket."""
        members = tuple(cohort.members.items())
        self._offer(members[index][0], batch, written)
        for membership, write in members[index + 1 :]:
            if membership.cohort is cohort:
                self._write(membership, write, batch)
            else:
                self._offer(membership, batch)

    def _write(self, membership: Membership[Member], write: Write, batch: Batch) -> None:
        data = batch.wire(membership.kind)
        try:
            written = write(data)
        except OSError:
            written = 0
        if written != len(data):
            self._offer(membership, batch, written)

    def _give_straggler(self, membership: Membership[Member], batch: Batch, top: int) -> None:
        if membership.cursor >= top or membership.group.members.get(membership.member) is not membership:
            return
        if membership.cursor != top - len(batch.messages):
            self._give_rest(membership)
            return
        membership.give(top)
        self.deliveries += len(batch.messages)
        self._offer(membership, batch)

    def _give_rest(self, membership: Membership[Member]) -> None:
        """Write to one member what it is still owed."""
        batch = membership.take()
        if batch is not None:
            self.deliveries += len(batch.messages)
            self._offer(membership, batch)

    def _offer(self, membership: Membership[Member], batch: Batch, written: int = 0) -> None:
        try:
            backlog = membership.receiver.offer_batch(membership.kind, batch, written)
        except Exception:
            logger.exception("a member of group %r could not be written to", membership.group.name)
        else:
            if backlog is not None:
                membership.group.watch(backlog)
