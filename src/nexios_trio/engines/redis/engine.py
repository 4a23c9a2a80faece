"""The engine whose nodes share a Redis or Valkey server, in one version or the other.

    post        a script: it numbers the message, keeps it, publishes it. The node that posts delivers what comes back
    watch       a subscription, and the number that it begins with
    history     a script, page by page
    renew       a script, for all that are present by way of this node
    ask         a channel of all nodes, and one of each node for its answers

All of it goes over one link, in one order (`link`). `scripts` says what is at the server, `watches`
how a node has every message once.
"""

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from hashlib import blake2b
from typing import Any, Final

import trio

from ...core.message import Message, Position
from ...core.message_codec import UnreadableMessage, decode_message, encode_message
from ...exceptions import EngineError, MessageTooBig
from ..base import (
    Answer,
    Deliver,
    Engine,
    EngineState,
    Gap,
    HistoryLimits,
    HistoryPage,
    Receipt,
    check_key,
    no_answer,
    no_gap,
)
from ..history_pages import bound_page, newest_of, read_in_pages
from ..presence import PresencePage, Renewal
from .address import RedisAddress, parse_redis_url
from .client import PROBE_SECONDS, Reach, RedisClient
from .cluster import ClusterClient
from .group_lists import GroupLists
from .kept import pack_kept
from .keys import LIFE_MS, PARTS, RedisKeys
from .link import RedisLink
from .posts import Post, Posts, keep_words
from .presence import RedisPresence
from .questions import Questions
from .rights import check_rights
from .unwatched import Unwatched
from .watches import Watches

__all__ = ["RedisEngine"]

logger = logging.getLogger("nexios_trio.box")

MAX_MESSAGE_BYTES: Final = 1_048_576
MAX_READS: Final = 16  # of histories at the same time: a server cuts a link that it owes too much (`repair`)
DEFAULT_PREFIX: Final = "nx"


class RedisEngine(Engine):
    """Carries the messages of boxes of one name, and of one prefix, by a Redis or Valkey server.

    Args:
        address: of the server; as an URL, see `parse_redis_url`.
        probe_seconds: between two questions whether the server is there, and nothing was lost.
    Raises: ValueError for an URL that names no server.
    Concurrency: any task of the run of trio that it runs in. Cancellation: a publish may have happened.
    """

    has_presence = True

    def __init__(self, address: RedisAddress | str, *, probe_seconds: float = PROBE_SECONDS) -> None:
        self.address = address = parse_redis_url(address) if isinstance(address, str) else address
        self.deadline = address.timeout or self.deadline
        kind = ClusterClient if address.is_cluster else RedisClient
        self.client: RedisClient = kind(address, lambda: self.deadline, probe_seconds)
        client = self.client
        self._posts = posts = Posts(client)
        self._unwatched = Unwatched(client)
        self._watches = Watches(client, posts, self._unwatched)
        posts.on_answer = self._watches.answered
        self._questions = Questions(client)
        self._reads = trio.Semaphore(MAX_READS)
        self._presence = RedisPresence(client, self._return)
        self._lists = GroupLists(client)
        self._is_running = False
        client.on_link, client.on_loss, client.on_message = self._on_link, self._on_loss, self._on_message
        client.probe = self._probe
        client.check = self._check

    @property
    def state(self) -> EngineState:
        return self.client.state

    def health(self) -> str:
        problem = self.client.problem
        return self.state.value if problem is None else f"{self.state.value}: {problem}"

    @asynccontextmanager
    async def run(self) -> AsyncGenerator[None]:
        """Live for the length of the block. Raises: EngineError when no server answers within the deadline."""
        prefix = f"{self.address.prefix or DEFAULT_PREFIX}:{self.name}"
        keys = RedisKeys(prefix, PARTS if self.address.is_cluster else 0)
        self._keys = self._posts.keys = self._watches.repairs.keys = self._questions.keys = self._presence.keys = keys
        self._unwatched.keys = keys
        self._watches.repairs.followed = self.followed
        self._watches.rename()
        self._is_running = True
        try:
            async with self.client.run() as nursery:
                nursery.start_soon(self._posts.keep_deadlines, name="redis engine: deadlines of posts")
                nursery.start_soon(self._watches.keep_deadlines, name="redis engine: deadlines of watches")
                nursery.start_soon(self._presence.keep_deadlines, name="redis engine: deadlines of renewals")
                yield
        finally:
            self._is_running = False
            self._posts.end()
            self._watches.end()
            self._presence.end()

    def attach(self, deliver: Deliver, gap: Gap = no_gap, answer: Answer = no_answer) -> None:
        self._watches.repairs.deliver, self._watches.repairs.gap = deliver, gap
        self._questions.answer = answer

    async def _check(self, client: RedisClient, link: RedisLink, part: int) -> None:
        await check_rights(client, link, self._keys.part(part))

    def _on_link(self, reach: Reach) -> None:
        self._tell_kept()
        self._questions.listen(reach)
        self._watches.watch_again(reach)
        self._unwatched.check(reach)
        self._posts.send_all(reach)
        if reach(self._keys.presence[0]):
            self.on_return()

    def _probe(self, client: RedisClient, reach: Reach, well: Callable[[], None]) -> None:
        self._tell_kept()  # a server may have forgotten it
        self._watches.probe(client, reach, well)

    def _tell_kept(self) -> None:
        link = self.client.link
        if link is not None and not self._keys.parts:  # nobody publishes past the application in a Cluster
            link.post("SET", self._keys.kept, pack_kept(self.kept_rules()), "PX", LIFE_MS)

    def _return(self) -> None:
        self.on_return()

    def _on_loss(self, reach: Reach) -> None:
        self._watches.lose(reach)

    def _on_message(self, channel: bytes, payload: bytes) -> None:
        if not self._questions.take(channel, payload):
            self._watches.take(channel, payload)

    # Messages

    def post(
        self, group: str, message: Message, *, keep: HistoryLimits | None = None, key: str | None = None
    ) -> Receipt:
        if not self._is_running:
            raise EngineError(_NOT_RUNNING)
        key = None if key is None else check_key(key)
        data = encode_message(message, None if key is None else _id_of(group, key))
        if len(data) > MAX_MESSAGE_BYTES:
            raise MessageTooBig(f"a group message of {len(data)} bytes; at most {MAX_MESSAGE_BYTES} are carried")
        self._posts.check_room(len(data))
        deadline = trio.current_time() + self.deadline
        post = Post(group, message, data, keep_words(message, keep), key, deadline)
        if message.is_transient:
            self._watches.expect(post)
        self._posts.add(post)
        return post.receipt

    def watch(self, group: str) -> Receipt:
        if not self._is_running:
            receipt = Receipt()
            receipt.fail(EngineError(_NOT_RUNNING))
            return receipt
        return self._watches.watch(group, trio.current_time() + self.deadline)

    def unwatch(self, group: str) -> None:
        self._watches.unwatch(group)

    # History

    async def history(
        self, group: str, since: Position | None = None, *, limit: int | None = None, max_bytes: int | None = None
    ) -> HistoryPage:
        ask = partial(self._read_page, group)
        if since is not None or max_bytes is None:
            return await read_in_pages(ask, since, limit, max_bytes)
        page = await read_in_pages(ask, None, limit, None)
        return HistoryPage(newest_of(page.messages, max_bytes), True, page.top)

    async def _read_page(
        self, group: str, since: Position | None, limit: int | None, max_bytes: int | None
    ) -> HistoryPage:
        asked = Position(0, "") if since is None else since
        count, most = bound_page(asked, limit, max_bytes)
        args = (self._keys.nonce, LIFE_MS, asked.epoch, asked.offset, count or 0, most or 0)
        with trio.move_on_after(self.deadline):
            async with self._reads:
                answer = await self.client.call("history", self._keys.of_group(group), *args)
                return _page_of(answer, asked)
        raise EngineError(f"no answer from {self.address} in {self.deadline:g} s")

    async def groups_with_history(self) -> list[str]:
        return await self._lists.keeping(self._keys)

    async def flush_history(self, group: str | None = None) -> None:
        await self._lists.flush(self._keys, group)

    # Presence

    def renew(self, renewal: Renewal) -> Receipt:
        if not self._is_running:
            raise EngineError(_NOT_RUNNING)
        return self._presence.renew(renewal, trio.current_time() + self.deadline)

    async def presence(self, group: str) -> PresencePage:
        return await self._presence.page(group, self.deadline)

    # The other nodes

    async def ask(self, request: bytes) -> list[bytes]:
        return await self._questions.ask(request, self.deadline)


def _id_of(group: str, key: str) -> bytes:
    """Return the id of what is published with that key: a later try has the same one, on every node."""
    name = group.encode(errors="surrogatepass")
    return blake2b(b"%d:%b:%b" % (len(name), name, key.encode(errors="surrogatepass")), digest_size=16).digest()


def _page_of(answer: list[Any], since: Position) -> HistoryPage:
    epoch, top, _, goes_on, has_more, _ = answer[:6]
    name = bytes(epoch).decode()
    offset, complete = since.offset, bool(goes_on)
    messages: list[Message] = []
    for number, data in zip(answer[6::2], answer[7::2], strict=True):
        complete = complete and number == offset + 1
        offset = number
        try:
            messages.append(decode_message(data, Position(number, name)))
        except UnreadableMessage as error:
            logger.warning("a kept message cannot be read: %s", error)
            complete = False
    is_all = bool(has_more) or offset == top
    return HistoryPage(tuple(messages), complete and is_all, Position(top, name), bool(has_more))


_NOT_RUNNING: Final = "the application does not run, or not yet: its groups reach nobody"
