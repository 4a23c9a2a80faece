"""How a node catches up with a group at a Redis or Valkey server. `watches` says when, and why it is exact."""

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import attrs

from ...core.message import Message, Position
from ...core.message_codec import UnreadableMessage, decode_message, encoded_id
from ..base import Deliver, Gap, Receipt, no_gap
from .client import RedisClient, is_elsewhere
from .keys import LIFE_MS, RedisKeys
from .link import LinkLost, RedisRefusal, Word
from .posts import Post

__all__ = ["GroupWatch", "Repairs"]

logger = logging.getLogger("nexios_trio.box")

PAGE_MESSAGES: Final = 500
PAGE_BYTES: Final = 1_048_576
MAX_REMEMBERED_IDS: Final = 20_000  # of messages that were delivered
MAX_LATE: Final = 1000  # messages without a number that wait for the end of a repair

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
    has_followed: bool = False  # the epoch goes on from the one before, and nobody has said otherwise
    place: int | None = None  # while it is looked for: the offset in a new epoch of what was delivered last
    late: deque[Message] = attrs.Factory(lambda: deque(maxlen=MAX_LATE))
    answered: deque[Post] = attrs.Factory(deque)  # whose messages have yet to come
    presence_of: str | None = None  # the group whose presence its messages are about: numbered with that, never kept

    def move(self, offset: int, epoch: bytes) -> None:
        """Set the position."""
        self.epoch = epoch
        self.position = Position(offset, epoch.decode())


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
        self._delivered: OrderedDict[bytes, GroupWatch] = OrderedDict()  # by the message's id
        self.keys = RedisKeys("")
        self.deliver: Deliver = lambda group, message: None
        self.gap: Gap = no_gap

    def give(self, watch: GroupWatch, offset: int, data: bytes) -> None:
        """Deliver a message, unless that was done when it had another number."""
        before = watch.position
        watch.position = position = Position(offset, before.epoch)
        message = self._own.get(encoded_id(data))
        if message is not None:
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
        if len(self._delivered) > MAX_REMEMBERED_IDS:
            self._delivered.popitem(last=False)
        self.deliver(watch.group, message)

    def begin(self, watch: GroupWatch) -> None:
        """Read what came after the position."""
        watch.is_repairing = True
        self._read(watch, watch.epoch, watch.position.offset, self._take)

    def _read(
        self, watch: GroupWatch, epoch: bytes, offset: int, then: Callable[[GroupWatch, list[Any]], None]
    ) -> None:
        if watch.presence_of is not None:
            self.ask_for_versions([watch], partial(self._answered, watch, partial(self._take_version, offset)))
            return
        self._client.run_script(
            "history",
            self.keys.of_group(watch.group),
            (self.keys.nonce, LIFE_MS, epoch, offset, PAGE_MESSAGES, PAGE_BYTES),
            partial(self._answered, watch, then),
        )

    def ask_for_versions(self, watches: list[GroupWatch], then: Callable[[Any], None]) -> None:
        """Ask for the numbers of the last events of groups whose presence is watched."""
        groups = [watch.presence_of or "" for watch in watches]
        words: tuple[Word, ...] = (self.keys.nonce, self.keys.presence_channels, LIFE_MS, *groups)
        self._client.run_script("versions", self.keys.presence, words, then)

    def _take_version(self, offset: int, watch: GroupWatch, answer: list[Any]) -> None:
        """Nothing of it is kept: whoever misses something reads who is there."""
        epoch, top, first = answer
        goes_on = epoch == watch.epoch and offset <= top
        self._take(watch, [epoch, top, first, goes_on, False])

    def _answered(self, watch: GroupWatch, then: Callable[[GroupWatch, list[Any]], None], answer: Any) -> None:
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
        epoch, top, _, goes_on, has_more = page[:5]
        if not goes_on:
            watch.place = None
            self._look(watch, page)
            return
        if epoch != watch.epoch:
            watch.move(watch.position.offset, epoch)
            watch.has_followed = True
        for offset, data in _rows(page):
            if offset != watch.position.offset + 1:
                self._miss(watch, offset - 1)
            self.give(watch, offset, data)
        if has_more:
            self.begin(watch)
            return
        if watch.position.offset < top:
            self._miss(watch, top)
        watch.is_repairing = False
        self._on_repaired(watch)

    def _miss(self, watch: GroupWatch, upto: int) -> None:
        before = watch.position
        watch.move(upto, watch.epoch)
        self.gap(watch.group, before, watch.position)

    # Another epoch, which does not go on from ours

    def _look(self, watch: GroupWatch, page: list[Any]) -> None:
        """Find the last message that this node has delivered, in a history that may have been begun anew."""
        epoch, top, first, _, has_more = page[:5]
        rows = _rows(page)
        if first != watch.first_epoch:
            self._settle_at(watch, rows[0][0] - 1 if rows else top, epoch, first)
            return
        for offset, data in rows:
            if self._has_delivered(watch, data):
                watch.place = offset
        if has_more:
            self._read(watch, epoch, rows[-1][0], self._look)
        else:
            self._settle_at(watch, top if watch.place is None else watch.place, epoch, first)

    def _has_delivered(self, watch: GroupWatch, data: bytes) -> bool:
        try:
            return self._delivered.get(decode_message(data).id) is watch
        except UnreadableMessage:
            return False

    def _settle_at(self, watch: GroupWatch, offset: int, epoch: bytes, first: bytes) -> None:
        """Tell of the gap, here and to the other nodes, and go on behind it."""
        before = watch.position
        watch.move(offset, epoch)
        watch.first_epoch, watch.place, watch.has_followed = first, None, False
        if watch.presence_of is None:
            meta, _ = self.keys.of_group(watch.group)
            self._client.run_script("mark", [meta], (watch.channel, epoch))
        self.gap(watch.group, before, watch.position)
        self.begin(watch)


def _rows(page: list[Any]) -> list[Row]:
    return list(zip(page[5::2], page[6::2], strict=True))
