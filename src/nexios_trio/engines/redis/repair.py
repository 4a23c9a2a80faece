"""How a node catches up with a group at a Redis or Valkey server. `watches` says when, and why it is exact."""

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import attrs

from ...core.message import Message, Position
from ...core.message_codec import UnreadableMessage, decode_message, encoded_id
from ..base import RECEIPT_SECONDS, Deliver, Followed, Gap, Receipt, no_gap, not_followed
from .client import Reach, RedisClient, is_elsewhere
from .keys import LIFE_MS, RedisKeys
from .link import LinkLost, RedisRefusal, Word
from .posts import Post

__all__ = ["MARKED", "GroupWatch", "Repairs", "in_threes"]

logger = logging.getLogger("nexios_trio.box")

# A server cuts a link that it owes too much, by default 32 MB: were all groups read at once, or their pages large, each
# link after a fault would end like the one before.
PAGE_MESSAGES: Final = 256
PAGE_BYTES: Final = 131_072  # of payloads; one message may be larger
MAX_PAGES: Final = 8  # that are asked for at the same time
MAX_REMEMBERED_IDS: Final = 20_000  # of messages that were delivered
REMEMBERED_SECONDS: Final = RECEIPT_SECONDS - 30  # less than a key is: then the server knows better
MAX_LATE: Final = 1000  # messages without a number that wait for the end of a repair

MARKED: Final = -2  # in place of the offset up to which an epoch goes on

Row = tuple[int, bytes]  # an offset, and the message


@attrs.define(eq=False)
class GroupWatch:
    """A group that this node watches."""

    group: str
    channel: bytes
    deadline: float
    receipt: Receipt = attrs.Factory(Receipt)
    position: Position = attrs.Factory(
        lambda: Position(0, "")
    )  # of the last message that was delivered, once it has held
    epoch: bytes = b""  # that of the position
    first_epoch: bytes = b""  # the one that the group began with
    holds: bool = False  # everything after the position comes
    has_held: bool = False  # there is a position
    is_repairing: bool = False
    place: int | None = None  # while it is looked for: the offset in a new epoch of what was delivered last
    late: deque[Message] = attrs.Factory(lambda: deque(maxlen=MAX_LATE))
    answered: deque[Post] = attrs.Factory(deque)  # whose messages have yet to come
    presence_of: str | None = None  # the group whose presence its messages are about: numbered with that, never kept

    def move(self, offset: int, epoch: bytes) -> None:
        """Set the position."""
        self.epoch = epoch
        self.position = Position(offset, epoch.decode())

    def is_to_give(self, answered: Position, is_first: bool) -> bool:
        """Tell whether the message of a post that is answered will come yet.

        The answer to a later try with its key may be a position of an older epoch.
        """
        return answered > self.position if answered.epoch == self.position.epoch else is_first


class Repairs:
    """Owned by the watches of an engine.

    Args:
        is_watched: tells whether it still is.
        on_repaired: called with a group that has everything again.
        own: messages of this node's own that are on their way, by id: they need not be decoded.
    """

    def __init__(
        self,
        client: RedisClient,
        is_watched: Callable[[GroupWatch], bool],
        on_repaired: Callable[[GroupWatch], None],
        own: Mapping[bytes, Message],
    ) -> None:
        self._client = client
        self._is_watched = is_watched
        self._on_repaired = on_repaired
        self._own = own
        self._delivered: OrderedDict[bytes, GroupWatch] = OrderedDict()  # by the message's id; the oldest first
        self._given = 0  # messages, ever
        self._asked = 0  # pages that are not answered
        self._waiting: deque[tuple[GroupWatch, Callable[[], None]]] = deque()  # to ask for one
        self._times: deque[tuple[float, int]] = deque()  # trio's clock, and how many had been given then
        self.keys = RedisKeys("")
        self.deliver: Deliver = lambda group, message: None
        self.gap: Gap = no_gap
        self.followed: Followed = not_followed

    def give(self, watch: GroupWatch, offset: int, data: bytes) -> None:
        """Deliver a message, unless that was done when it had another number."""
        before = watch.position
        watch.position = position = Position(offset, before.epoch)
        message = self._own.get(encoded_id(data))
        if message is not None and message.encoded == data:  # another one may have had its key before
            message.position = position
        else:
            try:
                message = decode_message(data, position)
            except UnreadableMessage as error:
                logger.warning("a message to group %s cannot be read: %s", watch.group, error)
                self.gap(watch.group, before, position)
                return
        if message.id in self._delivered:
            return
        self._delivered[message.id] = watch
        self._given += 1
        if len(self._delivered) > MAX_REMEMBERED_IDS:
            self._delivered.popitem(last=False)
        self.deliver(watch.group, message)

    def forget_old(self, now: float) -> None:
        """Forget what a publish with the same key may follow by now; called now and then."""
        self._times.append((now, self._given))
        while self._times[0][0] < now - REMEMBERED_SECONDS:
            _, given = self._times.popleft()
            for _ in range(len(self._delivered) - (self._given - given)):
                self._delivered.popitem(last=False)

    def begin(self, watch: GroupWatch) -> None:
        """Read what came after the position."""
        watch.is_repairing = True
        self._read(watch, watch.epoch, watch.position.offset, self._take)

    def _read(
        self, watch: GroupWatch, epoch: bytes, offset: int, then: Callable[[GroupWatch, list[Any]], None]
    ) -> None:
        if watch.presence_of is not None:
            self.ask_for_tops([watch], partial(self._answered, watch, partial(self._take_version, offset)))
        elif self._asked >= MAX_PAGES:
            self._waiting.append((watch, partial(self._read, watch, epoch, offset, then)))
        elif self._is_watched(watch):
            args = (self.keys.nonce, LIFE_MS, epoch, offset, PAGE_MESSAGES, PAGE_BYTES)
            of_group = self.keys.of_group(watch.group)
            self._asked += self._client.run_script("history", of_group, args, partial(self._page_came, watch, then))

    def _page_came(self, watch: GroupWatch, then: Callable[[GroupWatch, Any], None], answer: Any) -> None:
        self._asked -= 1
        self._answered(watch, then, answer)
        while self._waiting and self._asked < MAX_PAGES:
            self._waiting.popleft()[1]()

    def lose(self, reach: Reach) -> None:
        """A link is lost: all within its reach begins anew with the next."""
        self._waiting = deque([(watch, read) for watch, read in self._waiting if not reach(watch.channel)])

    def ask_for_tops(self, watches: list[GroupWatch], then: Callable[[Any], None]) -> None:
        """Ask for the numbers of the last messages of groups, which are of one kind, and at one place."""
        if watches[0].presence_of is None:
            keys = [key for watch in watches for key in self.keys.of_group(watch.group)]
            self._client.run_script("tops", keys, (self.keys.nonce, LIFE_MS), then)
            return
        groups = [watch.presence_of or "" for watch in watches]
        words: tuple[Word, ...] = (self.keys.nonce, self.keys.presence_channels, LIFE_MS, *groups)
        self._client.run_script("versions", self.keys.presence, words, then)

    def _take_version(self, offset: int, watch: GroupWatch, answer: list[Any]) -> None:
        """Nothing of it is kept: whoever misses something reads who is there."""
        epoch, top, first = answer
        goes_on = epoch == watch.epoch and offset <= top
        self._take(watch, [epoch, top, first, goes_on, False, MARKED])

    def _answered(self, watch: GroupWatch, then: Callable[[GroupWatch, Any], None], answer: Any) -> None:
        if isinstance(answer, LinkLost) or not self._is_watched(watch):
            return  # over the next link it begins anew
        if is_elsewhere(answer):
            self._client.leave(answer)
        elif isinstance(answer, RedisRefusal):  # until the next probe
            logger.error("what group %s has missed could not be read: %s", watch.group, answer)
            watch.is_repairing = False
        else:
            then(watch, answer)

    def _take(self, watch: GroupWatch, page: list[Any]) -> None:
        """Deliver a page of what was missed."""
        epoch, top, _, goes_on, has_more, _ = page[:6]
        if not goes_on:
            watch.place = None
            self._look(watch, page)
            return
        if epoch != watch.epoch:
            watch.move(watch.position.offset, epoch)
            self.followed(watch.group, watch.position)
        for offset, data in _rows(page):
            if offset != watch.position.offset + 1:
                self.miss(watch, offset - 1, epoch)
            self.give(watch, offset, data)
        if has_more:
            self.begin(watch)
            return
        if watch.position.offset < top:
            self.miss(watch, top, epoch)
        watch.is_repairing = False
        self._on_repaired(watch)

    def miss(self, watch: GroupWatch, upto: int, epoch: bytes) -> None:
        """Tell of a gap, and go on behind it."""
        before = watch.position
        watch.move(upto, epoch)
        self.gap(watch.group, before, watch.position)

    # Another epoch, which does not go on from ours

    def _look(self, watch: GroupWatch, page: list[Any]) -> None:
        """Find the last message that this node has delivered, in a history that may have been begun anew."""
        epoch, top, first, _, has_more, fork = page[:6]
        rows = _rows(page)
        if fork >= 0 and epoch != watch.epoch and watch.place is None and first == watch.first_epoch:
            self._settle_at(watch, fork, page)  # what comes after that is new
            return
        if first != watch.first_epoch:
            self._settle_at(watch, rows[0][0] - 1 if rows else top, page)
            return
        for offset, data in rows:
            if self._has_delivered(watch, data):
                watch.place = offset
        if has_more:
            self._read(watch, epoch, rows[-1][0], self._look)
        else:
            self._settle_at(watch, top if watch.place is None else watch.place, page)

    def _has_delivered(self, watch: GroupWatch, data: bytes) -> bool:
        try:
            return self._delivered.get(decode_message(data).id) is watch
        except UnreadableMessage:
            return False

    def _settle_at(self, watch: GroupWatch, offset: int, page: list[Any]) -> None:
        """Make a mark, so that the other nodes tell of the gap, too; with its answer, tell of it here."""
        epoch, _, first, _, _, fork = page[:6]
        if fork == MARKED:  # they have
            self._marked(offset, epoch, first, watch, b"")
            return
        then = partial(self._marked, offset, epoch, first)
        args = (watch.channel, epoch)
        self._client.run_script("mark", self.keys.of_group(watch.group)[:1], args, partial(self._answered, watch, then))

    def _marked(self, offset: int, epoch: bytes, first: bytes, watch: GroupWatch, marked: bytes) -> None:
        watch.first_epoch, watch.place = first, None
        self.miss(watch, offset, marked or epoch)
        self.begin(watch)


def in_threes(answer: list[Any]) -> list[tuple[bytes, int, bytes]]:
    """Return an answer about the numbering of groups: epoch, offset and first epoch of each."""
    return list(zip(answer[::3], answer[1::3], answer[2::3], strict=True))


def _rows(page: list[Any]) -> list[Row]:
    return list(zip(page[6::2], page[7::2], strict=True))
