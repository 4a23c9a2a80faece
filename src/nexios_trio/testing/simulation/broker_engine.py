"""An engine of several nodes over a link that may fail: what one for a real server has to do, in virtual time.

    post            a request; its receipt is settled when the answer is there and the message has come back
    a lost link     posts of an unknown fate fail, those with a key are sent again over the next one
    a watch         a request; over a new link all of them again, and what was missed is read from the history
    a hole          the same repair; messages that come meanwhile wait for its end
    a quiet link    a probe: the tops of all watched groups, of which none may be ahead of what was delivered

For a new epoch there is a gap, and then what survives of what came after the last message that was delivered, which the
engine knows by its id. What came before is none of this watch: those who came back got it elsewhere.
"""

from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from math import inf
from typing import Any, Final

import trio

from ...core.message import Message, Position
from ...core.message_codec import UnreadableMessage, decode_message, encode_message
from ...engines.base import (
    Answer,
    Deliver,
    EngineState,
    Gap,
    HistoryLimits,
    HistoryPage,
    Receipt,
    check_key,
    no_answer,
    no_gap,
)
from ...exceptions import EngineError
from .broker_client import BrokerClient
from .broker_presence import PresenceLink
from .broker_server import BrokerServer, Delivery, Event, Question
from .broker_state import Post, Watch, before_row, is_ahead

__all__ = ["BrokerEngine"]

MAX_POSTS: Final = 10_000  # that are on their way
MAX_REMEMBERED_IDS: Final = 20_000  # of messages that were delivered
PAGE_MESSAGES: Final = 100


class BrokerEngine(PresenceLink):
    """One node's engine. Made by `Broker.engine`."""

    def __init__(self, broker: BrokerServer, node: int) -> None:
        self.client = client = BrokerClient(broker, node, self.deadline)
        client.on_link, client.on_loss, client.on_event = self._on_link, self._on_loss, self._on_event
        client.probe = self._probe
        self._deliver: Deliver = lambda group, message: None
        self._gap: Gap = no_gap
        self._answer: Answer = no_answer
        self._posts: dict[Post, None] = {}  # not settled; the oldest first
        self._watches: dict[str, Watch] = {}
        self._delivered: OrderedDict[bytes, None] = OrderedDict()  # ids
        self._new_deadline = trio.Event()

    @property
    def state(self) -> EngineState:
        return self.client.state

    def attach(self, deliver: Deliver, gap: Gap = no_gap, answer: Answer = no_answer) -> None:
        self._deliver, self._gap, self._answer = deliver, gap, answer

    @asynccontextmanager
    async def run(self) -> AsyncGenerator[None]:
        async with self.client.run() as nursery:
            nursery.start_soon(self._keep_deadlines, name="broker deadlines")
            self._tasks = nursery
            try:
                yield
            finally:
                self._tasks = None
                for post in list(self._posts):
                    self._fail(post, "the engine has ended")

    def _on_link(self) -> None:
        for watch in self._watches.values():
            self._ask_for(watch)
        for post in self._posts:
            self._send(post)

    def _on_loss(self) -> None:
        """Nobody knows of what was sent whether it has been done; what has a key is sent again."""
        for watch in self._watches.values():
            watch.is_repairing = False
            watch.waiting.clear()
        for post in list(self._posts):
            if post.is_sent and post.key is None and post.answer is None:
                self._fail(post, "the link was lost before the answer")

    def _on_event(self, event: Event) -> None:
        match event:
            case Delivery():
                watch = self._watches.get(event.group)
                if watch is not None:
                    self._take(watch, event)
            case Question():
                self.client.reply(event, self._answer(event.data))
            case _:
                pass

    async def _keep_deadlines(self) -> None:
        """Settle what is not answered in time."""
        while True:
            now = trio.current_time()
            for post in [post for post in self._posts if post.deadline <= now]:
                self._fail(post, "no answer in time")
            waiting = [watch for watch in self._watches.values() if not watch.receipt.is_settled]
            for watch in [watch for watch in waiting if watch.deadline <= now]:
                del self._watches[watch.group]
                self.client.request("unwatch", watch.group)  # behind the watch, which may be on its way still
                watch.receipt.fail(EngineError(f"group {watch.group!r} could not be watched in time"))
            deadlines = [post.deadline for post in self._posts]
            deadlines += [watch.deadline for watch in waiting if not watch.receipt.is_settled]
            self._new_deadline = trio.Event()
            with trio.move_on_at(min(deadlines, default=inf)):
                await self._new_deadline.wait()

    # Publishing

    def post(
        self, group: str, message: Message, *, keep: HistoryLimits | None = None, key: str | None = None
    ) -> Receipt:
        if len(self._posts) >= MAX_POSTS:
            raise EngineError(f"{MAX_POSTS} messages are on their way already")
        key = None if key is None else check_key(key)
        post = Post(group, encode_message(message), keep, key, trio.current_time() + self.deadline)
        self._posts[post] = None
        self._new_deadline.set()
        self._send(post)
        return post.receipt

    def _send(self, post: Post) -> None:
        if post.answer is None:
            then: Callable[[Any], None] = lambda answer: self._answered(post, *answer)  # noqa: E731
            if self.client.request("post", post.group, post.data, post.keep, post.key, then=then):
                post.is_sent = True

    def _answered(self, post: Post, position: Position | None, is_watched: bool) -> None:
        watch = self._watches.get(post.group)
        post.answer = position, is_watched
        if watch is not None and watch.is_repairing and is_ahead(position, watch.position):
            watch.answered.append(post)
        else:
            self._settle(post)

    def _settle(self, post: Post) -> None:
        assert post.answer is not None
        self._posts.pop(post, None)
        post.receipt.settle(*post.answer)

    def _fail(self, post: Post, why: str) -> None:
        del self._posts[post]
        post.receipt.fail(EngineError(why, maybe_published=post.is_sent))

    # Watching

    def watch(self, group: str) -> Receipt:
        watch = self._watches.get(group)
        if watch is None:
            watch = self._watches[group] = Watch(group, trio.current_time() + self.deadline)
            self._new_deadline.set()
            self._ask_for(watch)
        return watch.receipt if watch.position is None else Receipt(True, watch.position)

    def unwatch(self, group: str) -> None:
        watch = self._watches.pop(group, None)
        if watch is None:
            return
        self.client.request("unwatch", group)
        watch.receipt.fail(EngineError(f"group {group!r} is not watched any more"))
        for post in watch.answered:
            self._settle(post)

    def _ask_for(self, watch: Watch) -> None:
        self.client.request("watch", watch.group, then=lambda top: self._watching(watch, top))

    def _watching(self, watch: Watch, top: Position) -> None:
        """From here on every message of the group comes."""
        if self._watches.get(watch.group) is not watch:
            return
        if watch.position is None:
            watch.position = top
            watch.receipt.settle(top)
        elif top != watch.position and not watch.is_repairing:
            self._repair(watch)

    def _take(self, watch: Watch, delivery: Delivery) -> None:
        """A message has come."""
        position, seen = delivery.position, watch.position
        if seen is None:  # the answer to the watch is still to come, and will be after this one
            return
        if watch.is_repairing:
            watch.waiting.append(delivery)
        elif position is None or position == Position(seen.offset + 1, seen.epoch):
            self._give(watch, delivery.data, position)
        elif is_ahead(position, seen):
            watch.waiting.append(delivery)
            self._repair(watch)

    def _give(self, watch: Watch, data: bytes, position: Position | None) -> None:
        before = watch.position
        if position is not None:
            watch.position = position
        try:
            message = decode_message(data, position)
        except UnreadableMessage:
            self._gap(watch.group, before, position)
            return
        if message.id not in self._delivered:
            watch.ids.append(message.id)
            self._delivered[message.id] = None
            if len(self._delivered) > MAX_REMEMBERED_IDS:
                self._delivered.popitem(last=False)
            self._deliver(watch.group, message)

    # What was missed

    def _probe(self, well: Callable[[], None]) -> None:
        """Find out whether deliveries were lost, and whether anybody answers at all."""
        watches = {group: watch for group, watch in self._watches.items() if watch.position is not None}

        def compare(tops: dict[str, Position]) -> None:
            for group, top in tops.items():
                watch = watches[group]
                if self._watches.get(group) is watch and not watch.is_repairing and is_ahead(top, watch.position):
                    self._repair(watch)
            well()

        self.client.request("tops", list(watches), then=compare)

    def _repair(self, watch: Watch) -> None:
        """Read on in the history until it meets what comes. One at a time."""
        watch.is_repairing = True
        self.client.request(
            "history",
            *(watch.group, watch.position, PAGE_MESSAGES, None),
            then=lambda page: self._repaired(watch, *page),
        )

    def _repaired(
        self, watch: Watch, rows: list[tuple[bytes, Position]], complete: bool, top: Position, has_more: bool
    ) -> None:
        if self._watches.get(watch.group) is not watch:
            return
        if not complete and watch.position is not None:
            watch.is_anew = top.epoch != watch.position.epoch
        first = self._first_to_give(watch, rows) if watch.is_anew else 0
        if not complete or first:
            before, watch.position = watch.position, before_row(rows, first, top, has_more)
            self._gap(watch.group, before, watch.position)
        for data, position in rows[first:]:
            self._give(watch, data, position)
        if has_more:
            self._repair(watch)
            return
        watch.is_repairing = watch.is_anew = False
        waiting, watch.waiting = watch.waiting, []
        for delivery in waiting:
            self._take(watch, delivery)
        while watch.answered and not watch.is_repairing:
            self._settle(watch.answered.popleft())

    def _first_to_give(self, watch: Watch, rows: list[tuple[bytes, Position]]) -> int:
        """Return the index of the first row after one that this watch has delivered."""
        for index, (data, _) in enumerate(rows, 1):
            try:
                watch.is_anew = decode_message(data).id not in watch.ids
            except UnreadableMessage:
                continue
            if not watch.is_anew:
                return index
        return len(rows)

    # History

    async def history(
        self, group: str, since: Position | None = None, *, limit: int | None = None, max_bytes: int | None = None
    ) -> HistoryPage:
        rows, complete, top, has_more = await self.client.call("history", group, since, limit, max_bytes)
        return HistoryPage(tuple([decode_message(*row) for row in rows]), complete, top, has_more)

    async def groups_with_history(self) -> list[str]:
        names: list[str] = await self.client.call("groups_with_history")
        return names

    async def flush_history(self, group: str | None = None) -> None:
        await self.client.call("flush_history", group)

    async def ask(self, request: bytes) -> list[bytes]:
        return await self.client.ask(request)
