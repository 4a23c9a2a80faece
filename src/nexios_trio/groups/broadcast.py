"""Giving a group's messages to its members: at once, or joined where many messages come to many members.

    small group                             at once, by whoever publishes
    medium group, a message that is alone   at once too
    otherwise                               by the flusher: all that is pending, to each member in one go

So a message to a large group is not written yet when `group_send` returns. Where one message follows another, the
flusher waits until publishers pause for a few scheduler passes, a matter of microseconds against the milliseconds that
a thousand writes take; where it comes alone, nobody waits for a second one. Cursors (`pubsub.group`) keep the order for
those who join, leave or are written to directly in between.

An engine calls `Broadcaster.deliver`, which a box has given to its `attach`. From there to the members' sockets or
queues nothing awaits.
"""

import logging
import sys
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from typing import Any
from uuid import UUID

import trio
from trio.lowlevel import Abort, Task, checkpoint, current_task, reschedule, wait_task_rescheduled

from ..core.message import Batch, Message
from ..pubsub.group import Cohort, Group, Membership
from ..pubsub.index import GroupIndex
from ..pubsub.writing import WriteNow
from .backlogs import wait_for_writers
from .flush_watch import FlushWatch, OnFlushed

logger = logging.getLogger("nexios_trio.fanout")

# docs/decisions/001
SMALL_GROUP_MEMBERS = 32  # up to here a flush costs less than waking the flusher
MEDIUM_GROUP_MEMBERS = 128  # up to here a flush, of a millisecond or two, may be the publisher's
MEMBERS_PER_SLICE = 500  # between two checkpoints: two to five milliseconds
QUIET_PASSES = 3  # scheduler passes without a new message before a group that gets many is flushed
MAX_DEFERRAL_PASSES = 32
MAX_DEFERRAL_SECONDS = 0.002  # a busy server's passes are long. Who has had no message for so long does not wait at all
MAX_PENDING_MESSAGES = 128
MAX_PENDING_BYTES = 65536  # flush sooner than a kernel buffer would overflow
_NEVER = sys.maxsize


Member = Hashable  # whoever can be in a group


class Broadcaster:
    """The flush of every group of one box. Without a running flusher all groups count as small.

    Args:
        index: the box's groups.
        members: by the ids that a message's `excluded` has.
    """

    def __init__(self, index: GroupIndex[Any], members: Mapping[UUID, Any]) -> None:
        self._index = index
        self._members = members
        # Who else follows a name: given the messages of one that no group of members here has.
        self.listeners: dict[str, list[Callable[[Message | None], None]]] = {}
        self.dirty: dict[Group[Member], None] = {}  # groups with pending messages
        # More than this is written at once by whoever publishes: a burst must not overflow the outboxes of peers that
        # would have kept up.
        self.max_pending = MAX_PENDING_MESSAGES
        self.max_pending_bytes = 8 * MAX_PENDING_BYTES
        self.underway: Collection[Any] = ()  # posts that the engine has not numbered: publishers go on
        self.deliveries = 0
        self._delivered = 0  # messages to groups with members, ever
        self._watches: list[FlushWatch] = []
        self._watched_from = _NEVER  # `_delivered` from which on a watch is told of a flush
        self._dirty_since = 0.0  # seconds of trio's clock
        self.flushers = 0  # that run now
        self.has_run = False
        self._sleeper: Task | None = None
        self._flushing = trio.Lock()  # of several lifespans' flushers, one works and the others wait

    def deliver(self, group_name: str, message: Message) -> None:
        """Give a message to the members of a group, or leave it to the flusher. The box gave this to its engine."""
        message.group = group_name  # also for those who are about to join
        group: Group[Member] | None = self._index.groups.get(group_name)
        if group is None:
            for listen in tuple(self.listeners.get(group_name, ())):
                listen(message)
            return
        excluded: frozenset[Member] = frozenset()
        if message.excluded:
            excluded = frozenset([self._members[uuid] for uuid in message.excluded if uuid in self._members])
        group.publish(message, excluded)
        self._delivered += 1
        if (
            not self.flushers
            or len(group.members) <= SMALL_GROUP_MEMBERS
            or len(group.pending) >= self.max_pending
            or group.pending_bytes >= self.max_pending_bytes
        ):
            self.dirty.pop(group, None)  # as in `flush`
            for _ in self._flush_in_slices(group):
                pass
        else:
            self._defer(group)

    def _defer(self, group: Group[Member]) -> None:
        now = trio.current_time()
        group.is_lone = group not in self.dirty and now - group.flushed_at > MAX_DEFERRAL_SECONDS
        if group.is_lone and len(group.members) <= MEDIUM_GROUP_MEMBERS:
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
        for _ in self._flush_in_slices(group):
            pass

    def catch_up(self, memberships: Iterable[Membership[Member]]) -> None:
        """Give one member what it is owed in these groups, before it leaves or is written to directly."""
        for membership in tuple(memberships):  # giving may end a connection, which leaves its groups
            if membership.group in self.dirty:
                self._deliver_owed(membership)

    def watch_flushes(self, period: int, on_flushed: OnFlushed) -> None:
        """Call `on_flushed` after every flush in which `period` messages more have come than at its last call."""
        self._watches.append(FlushWatch(period, on_flushed, self._delivered + period))
        self._watched_from = min(watch.due for watch in self._watches)

    def _tell_watches(self, group: Group[Member], batch: Batch) -> None:
        for watch in self._watches:
            watch.tell(group, batch, self._delivered)
        self._watched_from = min(watch.due for watch in self._watches)

    wait_for_writers = staticmethod(wait_for_writers)

    async def run(self) -> None:
        """Flush large groups for ever. Cancellation: between two slices; what is pending then goes out at once."""
        self.flushers += 1
        self.has_run = True
        try:
            async with self._flushing:
                while True:
                    while not self.dirty:
                        await self._sleep()
                    if not all(group.is_lone for group in self.dirty):
                        await self._until_publishers_pause()
                    await self._flush_dirty()
                    self._dirty_since = trio.current_time()
        finally:
            self.flushers -= 1
            if not self.flushers:
                for group in list(self.dirty):
                    self.flush(group)

    async def _flush_dirty(self) -> None:
        given = 0
        for group in list(self.dirty):
            if given and given + len(group.members) > MEMBERS_PER_SLICE:
                await checkpoint()
                given = 0
            if group not in self.dirty:  # flushed in the meantime
                continue
            given += len(group.members)
            for _ in self._flush_in_slices(group):
                await checkpoint()
            group.flushed_at = trio.current_time()
            if not group.pending:
                self.dirty.pop(group, None)

    async def _sleep(self) -> None:
        self._sleeper = current_task()
        await wait_task_rescheduled(self._abort_sleep)

    def _abort_sleep(self, _: object) -> Abort:
        self._sleeper = None
        return Abort.SUCCEEDED

    async def _until_publishers_pause(self) -> None:
        quiet = passes = 0
        latest = self._dirty_since + MAX_DEFERRAL_SECONDS
        while quiet < QUIET_PASSES and passes < MAX_DEFERRAL_PASSES and trio.current_time() <= latest:
            seen = self._delivered
            await checkpoint()
            quiet = quiet + 1 if self._delivered == seen and not self.underway else 0
            passes += 1
            if any(group.pending_bytes > MAX_PENDING_BYTES for group in self.dirty):
                return

    def _flush_in_slices(self, group: Group[Member]) -> Iterator[None]:
        """Yield between the slices of a flush. There anything may happen, another flush of the group too."""
        group.backlogs.clear()
        top = group.base + len(group.pending)
        batch = Batch(tuple([message for message, _ in group.pending]))
        given = 0
        for member in tuple(group.left_out):
            if given >= MEMBERS_PER_SLICE:
                yield
                given = 0
            if member in group.members:
                given += 1
                self._deliver_owed(group.members[member])
        for cohort in tuple(group.cohorts):
            if given + len(cohort.members) > MEMBERS_PER_SLICE:
                yield
                given = 0
            given += len(cohort.members)
            self._write_cohort(group, cohort, batch, top)
        # Whoever leaves a cohort from here on has been given the batch.
        for membership in tuple(group.stragglers):
            if given >= MEMBERS_PER_SLICE:
                yield
                given = 0
            given += 1
            self._deliver_pending(membership, batch, top)
        group.forget_delivered(top)
        if self._delivered >= self._watched_from:
            self._tell_watches(group, batch)

    def _write_cohort(self, group: Group[Member], cohort: Cohort[Member], batch: Batch, top: int) -> None:
        """Write a batch to members that are owed exactly that. Thousands of times for each message."""
        if cohort.cursor >= top:
            return
        if cohort.cursor != top - len(batch.messages):  # a flush was cancelled
            batch = group.batch(cohort.cursor, top)
        cohort.cursor = top
        data = batch.wire(cohort.frame_index)
        size = len(data)
        writes = cohort.writes
        if writes is None:
            writes = cohort.writes = tuple(cohort.members.values())
        self.deliveries += len(writes) * len(batch.messages)
        # Each `write` is the `WriteNow` that a member's transport gave to `Membership.set_write_now`: on a socket of
        # ours its own `send` (transports/direct/writer.py). So this loop is where a message leaves the process.
        for index, write in enumerate(writes):
            try:
                written = write(data)
            except OSError:
                written = 0
            if written != size:
                self._resume_after_partial_write(cohort, index, written, batch)
                return

    def _resume_after_partial_write(self, cohort: Cohort[Member], index: int, written: int, batch: Batch) -> None:
        """Go on from a member that took only so many bytes; others may now leave the cohort: they share its socket."""
        members = tuple(cohort.members.items())
        self._offer(members[index][0], batch, written)
        for membership, write in members[index + 1 :]:
            if membership.cohort is cohort:
                self._write(membership, write, batch)
            else:
                self._offer(membership, batch)

    def _write(self, membership: Membership[Member], write: WriteNow, batch: Batch) -> None:
        data = batch.wire(membership.frame_index)
        try:
            written = write(data)
        except OSError:
            written = 0
        if written != len(data):
            self._offer(membership, batch, written)

    def _deliver_pending(self, membership: Membership[Member], batch: Batch, top: int) -> None:
        """Hand a straggler the batch, or what it is owed of it, unless it has that, or has left."""
        if membership.cursor >= top or membership.group.members.get(membership.member) is not membership:
            return
        if membership.cursor != top - len(batch.messages):
            self._deliver_owed(membership)
            return
        membership.advance(top)
        self.deliveries += len(batch.messages)
        self._offer(membership, batch)

    def _deliver_owed(self, membership: Membership[Member]) -> None:
        """Hand one member what it is still owed."""
        batch = membership.take_owed()
        if batch is not None:
            self.deliveries += len(batch.messages)
            self._offer(membership, batch)

    def _offer(self, membership: Membership[Member], batch: Batch, written: int = 0) -> None:
        try:
            backlog = membership.receiver.offer_batch(membership, batch, written)
        except Exception:
            logger.exception("a member of group %r could not be written to", membership.group.name)
        else:
            if backlog is not None:
                membership.group.watch(backlog)
