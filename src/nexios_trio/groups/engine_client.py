"""A box's side of its engine: the engine's life, the groups it watches for the box, and posts on their way.

    join    the group is watched first: `watch`, and a block in which the watch stays
    leave   the last member's end of a group ends the watch, unless somebody is about to join
    post    remembered until its receipt is settled, so that its task's direct sends can wait for it

With an engine whose answers are there at once, nothing of this ever waits.
"""

from collections.abc import Container, Generator
from contextlib import contextmanager
from functools import partial

import trio

from ..engines.base import Engine, Owner, Receipt, claim_engine
from ..exceptions import EngineError

__all__ = ["EngineClient"]

Task = trio.lowlevel.Task


class _Watch:
    """One group's watch, and how many are about to join it."""

    __slots__ = ("joining", "receipt")

    def __init__(self, receipt: Receipt) -> None:
        self.receipt = receipt
        self.joining = 0


class EngineClient:
    """Owned by a box.

    Args:
        groups: those that have members on this node, by name.
    Raises: LifecycleError when another box has the engine.
    """

    def __init__(self, engine: Engine, owner: Owner, groups: Container[str]) -> None:
        claim_engine(engine, owner)
        self.engine = engine
        self._groups = groups
        self._watches: dict[str, _Watch] = {}
        self._life = trio.Lock()
        # Receipts that are not settled: task -> group -> that of its latest post. Read from outside, for speed.
        self.unsettled: dict[Task, dict[str, Receipt]] = {}

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Let the engine live, for ever. Of several lifespans' tasks one does, and the others wait to take over.

        Raises: what the engine raises, as EngineError when it cannot be started.
        """
        is_first = not self._life.locked()
        if not is_first:
            task_status.started()
        async with self._life, self.engine.run():
            if is_first:
                task_status.started()
            await trio.sleep_forever()

    # Watching

    @contextmanager
    def joining(self, group: str) -> Generator[Receipt]:
        """Watch the group for somebody who is about to join it. The receipt says when that holds."""
        watch = self._watches.get(group)
        if watch is None or watch.receipt.error is not None:
            watch = self._watches[group] = _Watch(self.engine.watch(group))
        watch.joining += 1
        try:
            yield watch.receipt
        finally:
            watch.joining -= 1
            self.left(group)

    def joined(self, group: str) -> None:
        """The group has its first member here."""
        if group not in self._watches:
            self._watches[group] = _Watch(self.engine.watch(group))

    def left(self, group: str) -> None:
        """Somebody has left, or did not join: if nobody is there, and nobody is about to be, watch no longer."""
        watch = self._watches.get(group)
        if watch is not None and not watch.joining and group not in self._groups:
            del self._watches[group]
            self.engine.unwatch(group)

    # Posting

    def remember(self, group: str, receipt: Receipt) -> None:
        """This task has posted to the group, and the receipt is not settled."""
        task = trio.lowlevel.current_task()
        self.unsettled.setdefault(task, {})[group] = receipt
        receipt.on_settled = partial(self._settled, task, group)

    def _settled(self, task: Task, group: str, receipt: Receipt) -> None:
        receipts = self.unsettled.get(task)
        if receipts is not None and receipts.get(group) is receipt:
            del receipts[group]
            if not receipts:
                del self.unsettled[task]

    async def settle(self, groups: Container[str]) -> None:
        """Wait for what this task has posted to these groups. A failure is its own receipt's to tell."""
        receipts = self.unsettled.get(trio.lowlevel.current_task())
        if receipts is None:
            return
        for receipt in [receipt for group, receipt in receipts.items() if group in groups]:
            try:
                await receipt
            except EngineError:
                continue
