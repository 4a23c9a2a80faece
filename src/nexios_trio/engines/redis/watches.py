"""The groups that a node watches at a Redis or Valkey server, and what is done about what has not come.

    a watch     SUBSCRIBE, and behind it on the same line the number of the last message: all after that comes
    a hole      what is missing is read from the history
    a link      the same, over each new one, for each group whose last number is another one
    a probe     the same, for messages that were lost with nothing behind them

What is read is on the same line too, so its answer has everything up to its place there: messages that come between the
question and the answer are in it, or are lost, and are not looked at. One repair of a group goes on at a time.

In a new epoch that goes on from ours (`scripts`) nothing was lost. In another our members have a gap, and get what was
kept after the last message that both have, or that we have given them, which we know by its id; all of it, where the
group was begun anew. A mark tells nodes to which nothing seemed to be lost that it was.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import trio

from ...core.message import Message
from ...core.message_codec import UnreadableMessage, decode_message
from ...exceptions import EngineError
from ..base import Receipt
from ..presence import group_of_events
from .client import Reach, RedisClient, is_elsewhere
from .keys import LIFE_MS
from .link import LinkLost, RedisRefusal
from .posts import Post, Posts
from .repair import GroupWatch, Repairs, in_threes
from .unwatched import Unwatched

__all__ = ["Watches"]

logger = logging.getLogger("nexios_trio.box")

TOPS_AT_ONCE: Final = 200  # groups that one question is about


class Watches:
    """Owned by an engine.

    Args:
        posts: those on their way.
        unwatched: positions in groups that are not watched here.
    """

    def __init__(self, client: RedisClient, posts: Posts, unwatched: Unwatched) -> None:
        self._client = client
        self._posts = posts
        self._settle = posts.settle
        self._unwatched = unwatched
        self.repairs = Repairs(
            client, lambda watch: self._watches.get(watch.group) is watch, self._repaired, posts.messages
        )
        self._watches: dict[str, GroupWatch] = {}
        self._by_channel: dict[bytes, GroupWatch] = {}
        self._unsettled: dict[GroupWatch, None] = {}  # the first to be late first
        self._added = trio.Event()
        self._unnumbered: dict[bytes, Post] = {}  # posts whose message has yet to come, by its id

    # Watching

    def watch(self, group: str, deadline: float) -> Receipt:
        watch = self._watches.get(group)
        if watch is not None and watch.has_held:
            return Receipt(True, watch.position)
        if watch is None:
            watch = GroupWatch(group, self.repairs.keys.channel(group), deadline, presence_of=group_of_events(group))
            self._watches[group] = self._by_channel[watch.channel] = watch
            self._unsettled[watch] = None
            self._added.set()
            self._ask_for([watch])
        return watch.receipt

    def unwatch(self, group: str) -> None:
        watch = self._watches.get(group)
        if watch is not None:
            self._drop(watch, "it is not watched any more")

    def _drop(self, watch: GroupWatch, why: str) -> None:
        del self._watches[watch.group]
        del self._by_channel[watch.channel]
        self._unsettled.pop(watch, None)
        link = self._client.link
        if link is not None:
            link.unsubscribe(watch.channel)
        watch.holds = False
        if watch.has_held and watch.presence_of is None:
            self._unwatched.note(watch.group, watch.position)
        watch.receipt.fail(EngineError(f"group {watch.group!r} is not watched: {why}"))
        self._settle_all(watch)

    def rename(self) -> None:
        """The keys are others."""
        for watch in self._watches.values():
            watch.channel = self.repairs.keys.channel(watch.group)
        self._by_channel = {watch.channel: watch for watch in self._watches.values()}

    def end(self) -> None:
        """The engine ends: what does not hold yet fails."""
        for watch in list(self._unsettled):
            self._drop(watch, "the engine has ended")

    def watch_again(self, reach: Reach) -> None:
        """There is a new link."""
        self._ask_for(self._within(reach))

    def lose(self, reach: Reach) -> None:
        """The link is lost."""
        self.repairs.lose(reach)
        for watch in self._within(reach):
            watch.holds = watch.is_repairing = False
            watch.place = None
            while watch.answered:  # whether the next server has it is not known
                self._posts.doubt(watch.answered.popleft())
        for post in list(self._unnumbered.values()):
            if reach(self.repairs.keys.channel(post.group)):
                del self._unnumbered[post.message.id]
                self._settle(post)

    def _within(self, reach: Reach) -> list[GroupWatch]:
        return [watch for watch in self._watches.values() if reach(watch.channel)]

    def _ask_for(self, watches: list[GroupWatch]) -> None:
        link = self._client.link
        if link is None:
            return
        for watch in watches:
            link.subscribe(watch.channel, partial(self._refused, [watch]))
        for some in self._in_parts(watches):
            self.repairs.ask_for_tops(some, partial(self._watching, some))

    def _watching(self, watches: list[GroupWatch], answer: Any) -> None:
        """From here on every message of these groups comes."""
        if isinstance(answer, EngineError):
            self._refused(watches, answer)
            return
        for watch, (epoch, top, first) in zip(watches, in_threes(answer), strict=True):
            if self._watches.get(watch.group) is not watch:
                continue
            watch.holds = True
            if not watch.has_held:
                watch.has_held, watch.first_epoch = True, first
                watch.move(top, epoch)
                self._unsettled.pop(watch, None)
                watch.receipt.settle(watch.position)
            elif (top, epoch) != (watch.position.offset, watch.epoch):
                self.repairs.begin(watch)
            else:
                self._settle_all(watch)

    def _refused(self, watches: list[GroupWatch], answer: Any) -> None:
        """Fail what never held; for what did, and must again, try another link."""
        if not isinstance(answer, EngineError) or isinstance(answer, LinkLost):
            return
        if isinstance(answer, RedisRefusal) and (is_elsewhere(answer) or any(watch.has_held for watch in watches)):
            self._client.leave(answer)
            return
        for watch in watches:
            if self._watches.get(watch.group) is watch:
                self._drop(watch, str(answer))

    async def keep_deadlines(self) -> None:
        """Drop what does not hold in time. Checkpoint: always; never returns."""
        while True:
            while not self._unsettled:
                self._added = trio.Event()
                await self._added.wait()
            await trio.sleep_until(next(iter(self._unsettled)).deadline)
            now = trio.current_time()
            while self._unsettled and (watch := next(iter(self._unsettled))).deadline <= now:
                self._drop(watch, f"no answer from {self._client.address} in time")

    def probe(self, client: RedisClient, reach: Reach, well: Callable[[], None]) -> None:
        """Find out whether messages were lost, and whether anybody answers at all."""
        self.repairs.forget_old(trio.current_time())
        watches = [watch for watch in self._within(reach) if watch.holds]
        for some in self._in_parts(watches):
            self.repairs.ask_for_tops(some, partial(self._compare, some))
        if not watches:
            client.run_script("tops", [], (self.repairs.keys.nonce, LIFE_MS), partial(_look, client))
        if client.link is not None:
            client.link.post("PING", then=lambda answer: None if isinstance(answer, LinkLost) else well())

    def _in_parts(self, watches: list[GroupWatch]) -> list[list[GroupWatch]]:
        """Divide them into those that one question may be about."""
        places: dict[object, list[GroupWatch]] = {}
        for watch in watches:
            kind = self._client.place_of(watch.channel), watch.presence_of is None
            places.setdefault(kind, []).append(watch)
        return [some[at : at + TOPS_AT_ONCE] for some in places.values() for at in range(0, len(some), TOPS_AT_ONCE)]

    def _compare(self, watches: list[GroupWatch], answer: Any) -> None:
        if is_elsewhere(answer):
            self._client.leave(answer)
        elif not isinstance(answer, EngineError):
            for watch, (epoch, top, _) in zip(watches, in_threes(answer), strict=True):
                if watch.holds and not watch.is_repairing and (top, epoch) != (watch.position.offset, watch.epoch):
                    self.repairs.begin(watch)

    def _repaired(self, watch: GroupWatch) -> None:
        while watch.late:
            self._give_unnumbered(watch, watch.late.popleft())
        self._settle_all(watch)

    # What comes

    def take(self, channel: bytes, payload: bytes) -> None:
        """A message has come."""
        watch = self._by_channel.get(channel)
        if watch is None or not watch.holds:
            return  # what comes before the watch holds is older than its position
        offset, epoch, data = payload.split(b" ", 2)
        if offset == b"-":
            self._take_mark(watch, epoch, data)
        elif offset == b"0":
            self._take_unnumbered(watch, data)
        elif not watch.is_repairing:
            number = int(offset)
            if epoch == watch.epoch and number == watch.position.offset + 1:
                self.repairs.give(watch, number, data)
                if watch.answered:
                    self._settle_given(watch)
            elif epoch != watch.epoch or number > watch.position.offset:
                self.repairs.begin(watch)

    def _take_unnumbered(self, watch: GroupWatch, data: bytes) -> None:
        try:
            message = decode_message(data)
        except UnreadableMessage as error:
            logger.warning("a message to group %s cannot be read: %s", watch.group, error)
            return
        if watch.is_repairing:
            watch.late.append(message)
        else:
            self._give_unnumbered(watch, message)

    def _give_unnumbered(self, watch: GroupWatch, message: Message) -> None:
        self.repairs.deliver(watch.group, message)
        post = self._unnumbered.pop(message.id, None)
        if post is not None:
            self._settle(post)  # if it has its answer

    def _take_mark(self, watch: GroupWatch, epoch: bytes, before: bytes) -> None:
        if watch.is_repairing or watch.epoch == epoch:
            return
        if watch.epoch != before:
            self.repairs.begin(watch)
            return
        self.repairs.miss(watch, watch.position.offset, epoch)
        self._settle_given(watch)

    # Answers to posts

    def expect(self, post: Post) -> None:
        """A message without a number is sent: it comes back before its post's answer, or after."""
        watch = self._watches.get(post.group)
        if watch is not None and watch.holds:
            self._unnumbered[post.message.id] = post
            post.receipt.then(partial(self._forget, post))

    def _forget(self, post: Post, receipt: Receipt) -> None:
        self._unnumbered.pop(post.message.id, None)

    def answered(self, post: Post, is_first: bool) -> None:
        """A post has its answer; it is settled when its message has come, if that is to come here."""
        assert post.answer is not None
        position, _ = post.answer
        watch = self._watches.get(post.group)
        if watch is None or not watch.holds:
            if position is not None:
                self._unwatched.note(post.group, position)
            self._settle(post)
        elif position is None:
            if not is_first or post.message.id not in self._unnumbered:
                self._settle(post)
        elif watch.is_repairing or watch.is_to_give(position, is_first):
            watch.answered.append(post)
        else:
            self._settle(post)

    def _settle_given(self, watch: GroupWatch) -> None:
        while watch.answered:
            answer = watch.answered[0].answer
            if answer is not None and answer[0] is not None and watch.is_to_give(answer[0], False):
                return
            self._settle(watch.answered.popleft())

    def _settle_all(self, watch: GroupWatch) -> None:
        while watch.answered:
            self._settle(watch.answered.popleft())


def _look(client: RedisClient, answer: Any) -> None:
    if is_elsewhere(answer):
        client.leave(answer)
