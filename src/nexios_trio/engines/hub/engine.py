"""The engine of a worker: what its box posts goes to the hub, and comes back in the order in which the hub numbered it.

A message of this worker's own comes back as its number alone.
"""

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from trio.lowlevel import checkpoint

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
from ..history_pages import read_in_pages
from ..presence import PresencePage, Renewal
from .bodies import (
    UNREADABLE,
    pack_keep,
    pack_query,
    pack_renewal,
    pack_text,
    unpack_answer,
    unpack_page,
    unpack_position,
    unpack_presence,
    unpack_texts,
)
from .frames import HAS_KEEP, HAS_KEY, IS_TRANSIENT, Frame, Kind
from .link import Call, HubLink
from .requests import GroupWatch, PostRequest, RenewRequest, WatchRequest

__all__ = ["HubEngine"]

logger = logging.getLogger("nexios_trio.box")

T = TypeVar("T")

MAX_MESSAGE_BYTES: Final = 16_777_216


class HubEngine(Engine):
    """Carries the messages of one box to the boxes of the same name in the other workers.

    Concurrency: any task of the run of trio that the link is in. Cancellation: a publish may have happened.
    """

    has_presence = True

    def __init__(self, link: HubLink) -> None:
        self._link = link
        self._box = 0  # the hub's number for it; 0 while it takes no part
        self._has_run = False
        self._deliver: Deliver | None = None
        self._gap: Gap = no_gap
        self._answer: Answer = no_answer
        self._watches: dict[str, GroupWatch] = {}

    @property
    def state(self) -> EngineState:
        if self._box and not self._link.is_over:
            return EngineState.DOWN if self._link.is_silent else EngineState.UP
        return EngineState.DOWN if self._has_run else EngineState.STARTING

    def health(self) -> str:
        return "the parent process does not answer" if self._link.is_silent else self.state.value

    @asynccontextmanager
    async def run(self) -> AsyncGenerator[None]:
        """Take part for the length of the block. Raises: EngineError; LifecycleError for a name that is taken."""
        name = self.name
        self._box = await self._link.open(name, self)
        self._has_run = True
        try:
            await self._watch_again()
            yield
        finally:
            self._box = 0
            for watch in self._watches.values():
                watch.holds = False
            self._link.close(name)

    async def _watch_again(self) -> None:
        """Watch what was watched when the engine ran last, for a box that has members already."""
        for group, watch in self._watches.items():
            self._link.request(WatchRequest(self, self._box, group, watch), Kind.WATCH, group)
        if self._watches:
            await self.groups_with_history()  # whose answer comes behind those

    def attach(self, deliver: Deliver, gap: Gap = no_gap, answer: Answer = no_answer) -> None:
        self._deliver, self._gap, self._answer = deliver, gap, answer

    # Messages

    def post(
        self, group: str, message: Message, *, keep: HistoryLimits | None = None, key: str | None = None
    ) -> Receipt:
        if not self._box:
            raise EngineError(_NOT_RUNNING)
        encoded = encode_message(message)
        if len(encoded) > MAX_MESSAGE_BYTES:
            raise MessageTooBig(f"a group message of {len(encoded)} bytes; at most {MAX_MESSAGE_BYTES} are carried")
        if not self._link.has_room:
            raise EngineError("too many messages are on their way to the parent process")
        flags = IS_TRANSIENT if message.is_transient else 0
        limits = named = b""
        if keep is not None:
            flags |= HAS_KEEP
            limits = pack_keep(keep)
        if key is not None:
            flags |= HAS_KEY
            named = pack_text(check_key(key))
        receipt = Receipt()
        request = PostRequest(self, self._box, group, message, receipt)
        self._link.request(request, Kind.POST, group, bytes((flags,)), limits, named, encoded)
        return receipt

    def watch(self, group: str) -> Receipt:
        watch = self._watches.get(group)
        if watch is None or watch.receipt.error is not None:
            watch = self._watches[group] = GroupWatch()
            if self._box:
                self._link.request(WatchRequest(self, self._box, group, watch), Kind.WATCH, group)
            else:
                watch.receipt.fail(EngineError(_NOT_RUNNING))
        return watch.receipt

    def unwatch(self, group: str) -> None:
        if self._watches.pop(group, None) is not None and self._box:
            self._link.tell(Kind.UNWATCH, 0, self._box, group)

    # What the line brings

    def receive(self, said: Frame) -> None:
        """Take a message, a gap or a question."""
        match said.kind:
            case Kind.MESSAGE:
                position, at = unpack_position(said.body)
                try:
                    message = decode_message(said.body[at:], position)
                except UnreadableMessage as error:
                    logger.warning("a message to group %s cannot be read: %s", said.group, error)
                    self._miss(said.group, position)
                else:
                    self.give(said.group, message)
            case Kind.GAP:
                _, at = unpack_position(said.body)
                upto, _ = unpack_position(said.body, at)
                self._miss(said.group, upto)
            case Kind.ASKED:
                try:
                    answer = self._answer(said.body)
                except Exception:
                    logger.exception("a question of another worker's could not be answered")
                    answer = b""
                self._link.tell(Kind.ANSWER, said.number, said.box, "", answer)
            case _:  # of a newer hub
                pass

    def give(self, group: str, message: Message) -> None:
        """Deliver a message, where the group is watched."""
        watch = self._watches.get(group)
        if watch is None or not watch.holds or self._deliver is None:
            return
        if message.position is not None:
            watch.given = message.position
        self._deliver(group, message)

    def _miss(self, group: str, upto: Position | None) -> None:
        watch = self._watches.get(group)
        if watch is None or not watch.holds:
            return
        after = watch.given
        if upto is not None:  # a message without a position misses nobody
            watch.given = upto
            self._gap(group, after, upto)

    def confirm(self, group: str, watch: GroupWatch, position: Position | None) -> None:
        """Note that a watch holds."""
        after, watch.given = watch.given, position
        watch.holds = True
        watch.receipt.settle(position)
        if after is not None and after != position:  # the engine did not run for a while
            self._gap(group, after, position)

    # History

    async def history(
        self, group: str, since: Position | None = None, *, limit: int | None = None, max_bytes: int | None = None
    ) -> HistoryPage:
        async def ask(*query: Any) -> HistoryPage:
            (page,) = await self._call(Kind.HISTORY, Kind.PAGE, unpack_page, group, pack_query(*query))
            return page

        return await read_in_pages(ask, since, limit, max_bytes)

    async def groups_with_history(self) -> list[str]:
        (names,) = await self._call(Kind.GROUPS, Kind.NAMES, unpack_texts)
        return names

    async def flush_history(self, group: str | None = None) -> None:
        await self._call(Kind.FLUSH, Kind.FLUSHED, bytes, group or "")

    # Presence

    def renew(self, renewal: Renewal) -> Receipt:
        if not self._box:
            raise EngineError(_NOT_RUNNING)
        if not self._link.has_room:
            raise EngineError("too much is on its way to the parent process")
        receipt = Receipt()
        self._link.request(RenewRequest(self._box, receipt), Kind.RENEW, "", pack_renewal(renewal))
        return receipt

    async def presence(self, group: str) -> PresencePage:
        (page,) = await self._call(Kind.PRESENCE, Kind.PRESENT, unpack_presence, group)
        return page

    # The other nodes

    async def ask(self, request: bytes) -> list[bytes]:
        answers = await self._call(Kind.ASK, Kind.ANSWERED, unpack_answer, "", request, is_partial=True)
        return [answer for _, answer in answers if answer is not None]

    async def _call(
        self,
        kind: Kind,
        answered_by: Kind,
        read: Callable[[bytes], T],
        group: str = "",
        *body: bytes,
        is_partial: bool = False,
    ) -> list[T]:
        """Ask the hub, and read its answers. Checkpoint: always. Raises: EngineError."""
        if not self._box:
            await checkpoint()
            raise EngineError(_NOT_RUNNING)
        said = await self._link.call(Call(answered_by, self._box, is_partial=is_partial), kind, group, *body)
        try:
            return [read(one.body) for one in said]
        except UNREADABLE as error:
            raise EngineError(f"the answer of the parent process cannot be read: {error}") from error


_NOT_RUNNING: Final = "the application does not run, or not yet: its groups reach nobody"
