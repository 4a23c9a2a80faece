"""Publishes on their way to a Redis or Valkey server: sent, sent again where that is safe, failed in time."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import attrs
import trio

from ...core.message import Message, Position
from ...exceptions import EngineError
from ..base import RECEIPT_SECONDS, HistoryLimits, Receipt
from .client import Reach, RedisClient, is_elsewhere
from .keys import LIFE_MS, RedisKeys
from .link import LinkLost, RedisRefusal, Word

__all__ = ["Post", "Posts", "keep_words", "post_words"]

MAX_POSTS: Final = 10_000  # that are not settled
MAX_POST_BYTES: Final = 33_554_432  # of all of them
RECEIPT_MS: Final = int(RECEIPT_SECONDS * 1000)

# A script that is refused with one of these has done nothing; of any other refusal that is not known.
UNDONE: Final = frozenset(("OOM", "MISCONF", "NOREPLICAS", "BUSY", "NOPERM", "NOAUTH"))


@attrs.define(eq=False)
class Post:
    """A publish that is not settled."""

    group: str
    message: Message
    data: bytes
    keep: tuple[Word, ...]
    key: str | None
    deadline: float
    receipt: Receipt = attrs.Factory(Receipt)
    is_sent: bool = False  # its fate is not known where it is not answered
    answer: tuple[Position | None, bool] | None = None  # its position, and whether somebody was given it


def keep_words(message: Message, keep: HistoryLimits | None) -> tuple[Word, ...]:
    """Return what the script is told of keeping."""
    if keep is None or message.is_transient:
        return ("", 0, 0, 0, "")
    age = 0 if keep.max_age is None else max(1, round(keep.max_age * 1000))
    return (message.size, keep.max_bytes, keep.max_messages or 0, age, str(keep.overflow))


def post_words(
    keys: RedisKeys, group: str, message: Message, data: bytes, keep: tuple[Word, ...], key: str | None
) -> tuple[str, list[bytes], tuple[Word, ...]]:
    """Return the script that publishes a message, its keys and its arguments."""
    life = RECEIPT_MS if key is not None else 0
    receipt = keys.receipt(group, key or "")
    if message.is_transient:
        return "pass", [receipt], (keys.channel(group), data, life)
    args = (keys.nonce, keys.channel(group), data, LIFE_MS, life, group, *keep)
    return "post", [*keys.of_group(group), keys.index_of(group), receipt], args


class Posts:
    """Owned by an engine, which settles what is answered: when the message has come back here, if it is to come."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        # The engine's: called with a post that has its answer, and whether that is the first to its key.
        self.on_answer: Callable[[Post, bool], None] = lambda post, is_first: self.settle(post)
        self._posts: dict[Post, None] = {}  # not settled; the oldest, which is the first to be late, first
        self.messages: dict[bytes, Message] = {}  # theirs, by id
        self._bytes = 0
        self._added = trio.Event()
        self.keys = RedisKeys("")

    def check_room(self, size: int) -> None:
        """Raises: EngineError when too much is on its way."""
        if len(self._posts) >= MAX_POSTS or (self._posts and self._bytes + size > MAX_POST_BYTES):
            raise EngineError(f"too much is on its way to {self._client.address}: {len(self._posts)} messages")

    def add(self, post: Post) -> None:
        self._posts[post] = None
        self.messages[post.message.id] = post.message
        self._bytes += len(post.data)
        if not self._added.is_set():
            self._added.set()
        self._send(post)

    def send_all(self, reach: Reach) -> None:
        """There is a new link: send what was not answered."""
        for post in list(self._posts):
            if post.answer is None and reach(self.keys.channel(post.group)):
                self._send(post)

    def _send(self, post: Post) -> None:
        words = post_words(self.keys, post.group, post.message, post.data, post.keep, post.key)
        is_sent = self._client.run_script(*words, partial(self._answered, post))
        post.is_sent = post.is_sent or is_sent

    def _answered(self, post: Post, answer: Any) -> None:
        if post.receipt.is_settled:
            return
        if isinstance(answer, LinkLost):
            if post.key is None:
                self.fail(post, "the link was lost before the answer")
        elif is_elsewhere(answer):
            post.is_sent = False
            self._client.leave(answer)
        elif isinstance(answer, RedisRefusal):
            post.is_sent = answer.code not in UNDONE
            self.fail(post, f"{self._client.address} refuses: {answer}")
        else:
            offset, epoch, given, is_first = answer
            position = Position(offset, bytes(epoch).decode()) if offset else None
            post.answer = position, given > 0
            self.on_answer(post, bool(is_first))

    def settle(self, post: Post) -> None:
        """Tell who has published; a no-op for a post that has failed."""
        if post.answer is not None:
            self._forget(post)
            post.receipt.settle(*post.answer)

    def doubt(self, post: Post) -> None:
        """The link was lost before the message came back: what the answer said need not be true of the next server."""
        if post.receipt.is_settled:
            return
        post.answer = None
        if post.key is None:
            self.fail(post, "the link was lost before the message came back")

    def fail(self, post: Post, why: str) -> None:
        """Tell who has published that there is no answer."""
        self._forget(post)
        post.receipt.fail(EngineError(why, maybe_published=post.is_sent))

    def _forget(self, post: Post) -> None:
        if post in self._posts:
            del self._posts[post]
            self.messages.pop(post.message.id, None)
            self._bytes -= len(post.data)

    async def keep_deadlines(self) -> None:
        """Fail what is late. Checkpoint: always; never returns."""
        while True:
            while not self._posts:
                self._added = trio.Event()
                await self._added.wait()
            first = next(iter(self._posts))
            await trio.sleep_until(first.deadline)
            now = trio.current_time()
            while self._posts and (post := next(iter(self._posts))).deadline <= now:
                self.fail(post, f"no answer from {self._client.address} in time")

    def end(self) -> None:
        """The engine ends: fail all."""
        for post in list(self._posts):
            self.fail(post, "the engine has ended")
