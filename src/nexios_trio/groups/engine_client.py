"""A box's side of its engine: the engine's life, the groups it watches for the box, and posts on their way.

    join    the group is watched first: `watch`, and a block in which the watch stays
    leave   the last member's end of a group ends the watch, unless somebody is about to join
    post    remembered until its receipt is settled, so that its task's direct sends can wait for it

With an engine whose answers are there at once, nothing of this ever waits.
"""

from collections.abc import Awaitable, Callable, Container, Generator, Hashable
from contextlib import contextmanager
from functools import partial
from typing import Any

import trio

from ..core.message import Message, Position
from ..engines.base import Engine, Owner, Receipt, claim_engine
from ..exceptions import EngineError
from ..transports.hypercorn.workers import warn_of_separate_groups
from .authorization import acting_session

__all__ = ["EngineClient", "Tail", "Watch"]

# Queued at once when its owner joins, so it is to be a small part of an outbox.
MAX_TAIL_MESSAGES = 32
MAX_TAIL_BYTES = 16384

# A task; of a connection with a synchronous handler, the connection, in whose name several tasks run
Poster = Hashable


class Watch:
    """One group's watch, and how many are about to join it."""

    __slots__ = ("delivered", "joining", "receipt", "tails")

    def __init__(self, receipt: Receipt) -> None:
        self.receipt = receipt
        self.joining = 0
        self.delivered: Position | None = None  # of the last message that was; None: none since the watch
        self.tails: list[Tail] = []


class Tail:
    """What is delivered to a group on this node while somebody is reading its history, within bounds."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.messages: list[Message] = []
        self.is_broken = False  # a gap: the history and what comes live do not join
        self.is_moved = False  # what comes live is of a newer epoch, which goes on from that of the history's answer
        self._bytes = 0
        self._news = trio.Event()

    @property
    def is_full(self) -> bool:
        """Some messages were not noted."""
        return len(self.messages) > MAX_TAIL_MESSAGES or self._bytes > MAX_TAIL_BYTES

    @property
    def delivered(self) -> Position | None:
        """Return the position behind which live messages come; None where nobody knows."""
        return self.watch.delivered or self.watch.receipt.position

    def clear(self) -> None:
        """Begin anew."""
        self.messages.clear()
        self._bytes = 0
        self.is_broken = self.is_moved = False

    def add(self, message: Message) -> None:
        if not self.is_full:
            self.messages.append(message)
            self._bytes += message.size
        self._news.set()

    def fail(self) -> None:
        self.is_broken = True
        self._news.set()

    def move(self) -> None:
        self.is_moved = True
        self._news.set()

    async def until(self, top: Position) -> None:
        """Wait until this node was given everything up to `top`, or never will be. A checkpoint if that is to come.

        An answer of a newer epoch than what comes live is followed by a gap, or by that epoch.
        """
        while not (self.is_broken or self.is_moved):
            delivered = self.delivered
            if delivered is None or (delivered.epoch == top.epoch and delivered >= top):
                return
            self._news = trio.Event()
            await self._news.wait()


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
        self._watches: dict[str, Watch] = {}
        self._life = trio.Lock()
        self._tasks: trio.Nursery | None = None
        # Receipts that are not settled: who posts -> group -> that of its latest post. Read from outside, for speed.
        self.unsettled: dict[Poster, dict[str, Receipt]] = {}

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Let the engine live, for ever. Of several lifespans' tasks one does, and the others wait to take over.

        Raises: what the engine raises, as EngineError when it cannot be started.
        """
        is_first = not self._life.locked()
        if not is_first:
            task_status.started()
        elif self.engine.is_local:
            warn_of_separate_groups()
        async with self._life, self.engine.run(), trio.open_nursery() as self._tasks:
            if is_first:
                task_status.started()
            await trio.sleep_forever()

    def start_soon(self, function: Callable[..., Awaitable[Any]], *args: Any) -> None:
        """Start a task that lives as long as the engine; a no-op while that does not run."""
        if self._tasks is not None and not self._tasks.cancel_scope.cancel_called:
            self._tasks.start_soon(function, *args)

    # Watching

    @contextmanager
    def joining(self, group: str) -> Generator[Receipt]:
        """Watch the group for somebody who is about to join it. The receipt says when that holds."""
        watch = self.begin_joining(group)
        try:
            yield watch.receipt
        finally:
            self.end_joining(group, watch)

    def begin_joining(self, group: str) -> Watch:
        """Do what `joining` does at its beginning. `end_joining` must follow."""
        watch = self._watches.get(group)
        if watch is None or watch.receipt.error is not None:
            watch = self._watches[group] = Watch(self.engine.watch(group))
        watch.joining += 1
        return watch

    def end_joining(self, group: str, watch: Watch) -> None:
        """They have joined, or will not."""
        watch.joining -= 1
        self.left(group)

    def joined(self, group: str) -> None:
        """The group has its first member here."""
        if group not in self._watches:
            self._watches[group] = Watch(self.engine.watch(group))

    def left(self, group: str) -> None:
        """Somebody has left, or did not join: if nobody is there, and nobody is about to be, watch no longer."""
        watch = self._watches.get(group)
        if watch is not None and not watch.joining and group not in self._groups:
            del self._watches[group]
            self.engine.unwatch(group)

    def tail(self, group: str) -> "Tail":
        """Follow what is delivered to a group that somebody is `joining`; until `unfollow`."""
        watch = self._watches[group]
        tail = Tail(watch)
        watch.tails.append(tail)
        return tail

    def unfollow(self, tail: "Tail") -> None:
        """No longer."""
        tail.watch.tails.remove(tail)

    def delivered(self, group: str, message: Message) -> None:
        """Note what the engine has given to this node."""
        watch = self._watches.get(group)
        if watch is not None and message.position is not None:
            watch.delivered = message.position
            for tail in watch.tails:
                tail.add(message)

    def missed(self, group: str, upto: Position | None) -> None:
        """Note that the engine has told of a gap: what comes next comes after `upto`."""
        watch = self._watches.get(group)
        if watch is not None:
            watch.delivered = upto
            if upto is None:  # nobody knows what comes next
                watch.receipt = Receipt(True)
            for tail in watch.tails:
                tail.fail()

    def followed(self, group: str, position: Position) -> None:
        """Note that what was delivered is a position of a new epoch."""
        watch = self._watches.get(group)
        if watch is not None:
            watch.delivered = position
            for tail in watch.tails:
                tail.move()

    # Posting

    def remember(self, group: str, receipt: Receipt) -> None:
        """The caller has posted to the group, and the receipt is not settled."""
        poster = _poster()
        self.unsettled.setdefault(poster, {})[group] = receipt
        receipt.then(partial(self._settled, poster, group))

    def _settled(self, poster: Poster, group: str, receipt: Receipt) -> None:
        receipts = self.unsettled.get(poster)
        if receipts is not None and receipts.get(group) is receipt:
            del receipts[group]
            if not receipts:
                del self.unsettled[poster]

    def unsettled_posts(self, groups: Container[str]) -> list[Receipt]:
        """Return what the caller has posted to these groups and is not settled."""
        receipts = self.unsettled.get(_poster())
        return [] if receipts is None else [receipt for group, receipt in receipts.items() if group in groups]

    async def settle(self, groups: Container[str]) -> None:
        """Wait for what this task has posted to these groups. A failure is its own receipt's to tell."""
        for receipt in self.unsettled_posts(groups):
            try:
                await receipt
            except EngineError:
                continue


def _poster() -> Poster:
    """Tell who posts: what it posts, and what it sends after that, stays in order."""
    session: Any = acting_session()
    return session if session is not None and session.is_synchronous else trio.lowlevel.current_task()
