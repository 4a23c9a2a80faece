"""Giving a group's messages to its members: at once for a small group, once per pause for a large one.

A message to a large group is not written yet when `group_send` returns. The flusher waits until publishers pause for a
few scheduler passes, a matter of microseconds against the milliseconds that a thousand writes take, and then writes all
that is pending to each member in one go. Cursors (`core.groups`) keep the order for those who join, leave or are
written to directly in between.
"""

import logging
from collections.abc import Hashable, Iterable
from itertools import islice
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

from ..core.groups import Group, Membership, Receiver
from ..core.messages import Batch, Kind

logger = logging.getLogger("nexios_trio.fanout")

SMALL_GROUP = 32  # members; up to here a flush costs less than waking the flusher
SLICE = 500  # members between two checkpoints: about two milliseconds
QUIET_PASSES = 3  # scheduler passes without a new message before a large group is flushed
MAX_PASSES = 32
MAX_LINGER = 0.002  # seconds: a busy server's passes are long
MAX_PENDING = 128  # messages
BREATH_PASSES = 8  # in which a writer that can go on takes at least one message
MAX_BREATHS = 16
MAX_PENDING_BYTES = 65536  # flush sooner than a kernel buffer would overflow


class Member(Hashable, Protocol):
    """Whoever can be in a group."""

    def receiver(self) -> tuple[Receiver, Kind]:
        """How it is reached, and with which encoding. Looked up once, at joining."""
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
        if not self.dirty:
            self._dirty_since = trio.current_time()
        self.dirty[group] = None
        if self._sleeper is not None:
            reschedule(self._sleeper)
            self._sleeper = None

    def flush(self, group: Group[Member]) -> None:
        """Give every member all it is owed, now."""
        self.dirty.pop(group, None)
        group.backlogs.clear()
        top = group.top
        self._give(group, group.batch(), top, group.memberships)
        group.settle(top)

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
                    await self._linger()
                    for group in list(self.dirty):
                        if group in self.dirty:  # else flushed in the meantime
                            await self._flush_in_slices(group)
                    self._dirty_since = trio.current_time()
        finally:
            self._flushers -= 1
            if not self._flushers:
                for group in list(self.dirty):
                    self.flush(group)

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

    async def _flush_in_slices(self, group: Group[Member]) -> None:
        group.backlogs.clear()
        top = group.top
        batch = group.batch()
        memberships = group.memberships
        members = iter(memberships)
        for start in range(0, len(memberships), SLICE):
            if start:
                await checkpoint()
            self._give(group, batch, top, islice(members, SLICE))
        group.settle(top)
        if not group.pending:
            self.dirty.pop(group, None)

    def _give(
        self, group: Group[Member], batch: Batch | None, top: int, memberships: Iterable[Membership[Member]]
    ) -> None:
        """Write a batch to those who are owed exactly that, and to the others what they are owed.

        Thousands of times for each message: every object touched here is one that no cache has any more.
        """
        if batch is None:
            for membership in memberships:
                self._give_other(membership, top)
            return
        base = top - len(batch.messages)
        wires = batch.wires
        given = 0
        for membership in memberships:
            if membership.cursor != base:
                self._give_other(membership, top)
                continue
            membership.cursor = top
            given += 1
            inline = membership.inline
            if inline is None:
                self._offer(membership, batch)
                continue
            data = wires[membership.kind] or batch.wire(membership.kind)
            try:
                written = inline(data)
            except OSError:
                self._offer(membership, batch)
                continue
            if written != len(data):
                self._offer(membership, batch, written)
        self.deliveries += given * len(batch.messages)

    def _give_other(self, membership: Membership[Member], top: int) -> None:
        if membership.cursor < top and membership.group.members.get(membership.member) is membership:
            self._give_rest(membership)

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
