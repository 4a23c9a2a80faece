"""Joining a group at a position: what was missed first, in order, then what comes, without a seam and without a double.

    watch the group, where the engine has other nodes
    read a page of history after the cursor, write it to this channel alone, at the pace of its peer; and again
    when a page up to the newest was written, or was empty: join, with no checkpoint since it was read

Live messages are not collected meanwhile: the history has them. Only between asking an engine elsewhere and its answer
some may be delivered here that the answer does not have; a `Tail` holds those, to be queued right before joining.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

import trio

from ..core.message import Message, Position
from ..engines.base import Engine, HistoryPage, Receipt
from ..exceptions import LifecycleError, NotAuthorized
from .engine_client import EngineClient, Tail
from .memberships import BoxMember
from .results import ChannelAddStatusEnum, Oldest, Resumed

__all__ = ["RESUME_SECONDS", "TURN_MESSAGES", "Resumption", "parse_since", "resume_watched"]

Authorized = Callable[[Receipt | None], Awaitable[object]]

RESUME_SECONDS: Final = 60.0  # a peer that has not caught up by then reads slower than the group speaks
PAGE_MESSAGES: Final = 256
PAGE_BYTES: Final = 65536
TURN_MESSAGES: Final = 32  # written before others have a turn
OLDEST_BYTES: Final = 1_048_576  # that a newcomer is sent of a history at most; it is one page


class Box(Protocol):
    """A box, as far as joining is concerned."""

    engine: Engine
    engine_client: EngineClient

    def is_member(self, channel: BoxMember, group_name: str) -> bool: ...

    def check_room(self, channel: BoxMember, group_name: str) -> object: ...

    def join_watched(self, channel: BoxMember, group_name: str) -> ChannelAddStatusEnum: ...


async def resume_watched(
    box: Box, channel: BoxMember, group: str, since: Position | Oldest, authorize: Authorized | None = None
) -> Resumed:
    """Let a channel join at a position, while the engine watches the group.

    Args:
        authorize: waits for the watch, and for what says that the channel may join.
    """
    if box.engine.is_local:
        if authorize is not None:
            await authorize(None)
        return await Resumption(box, channel, group, since, None).run()
    with box.engine_client.joining(group) as watch:
        await (watch if authorize is None else authorize(watch))
        tail = box.engine_client.tail(group)
        try:
            return await Resumption(box, channel, group, since, tail).run()
        finally:
            box.engine_client.unfollow(tail)


class Resumption:
    """One channel's way into one group.

    Args:
        since: the last position that the peer has seen.
        tail: of an engine with other nodes; None for one whose history answers are of this very moment.
    Raises: LifecycleError when the channel is in the group; as `Memberships.check_room`.
    """

    def __init__(self, box: Box, channel: BoxMember, group: str, since: Position | Oldest, tail: Tail | None) -> None:
        self._box = box
        self._channel = channel
        self._group = group
        self._is_newcomer = isinstance(since, Oldest)
        self._cursor = None if isinstance(since, Oldest) else since
        self._tail = tail
        self._recovered = True
        self._sent = 0
        self._top: Position | None = None  # the group's, when the last page was read
        self._identity = channel.identity
        self._check()
        box.check_room(channel, group)  # before anything of the history is sent

    async def run(self) -> Resumed:
        """Catch up and join.

        Checkpoint: always. Cancellation: the channel did not join; a part may have been sent.
        Raises: EngineError; NotAuthorized when the channel has become somebody else's; what sending raises.
        """
        scope, limit = trio.CancelScope(), trio.move_on_after(RESUME_SECONDS)
        with scope:
            self._channel.cancel_on_revoke(scope)
            try:
                with limit:
                    await self._catch_up()
            finally:
                self._channel.keep_on_revoke(scope)
        if scope.cancel_called:
            raise NotAuthorized("join", self._group)
        self._check()
        if limit.cancelled_caught:
            self._recovered = False
        status = self._box.join_watched(self._channel, self._group)
        return Resumed(status, self._recovered, self._top, self._sent)

    def _check(self) -> None:
        """See after each wait that nothing stands against the join."""
        if self._box.is_member(self._channel, self._group):
            raise LifecycleError(f"the channel is in {self._group!r} already: what it missed is before what it gets")
        if self._channel.identity is not self._identity:
            raise NotAuthorized("join", self._group)

    async def _catch_up(self) -> None:
        while True:
            if self._tail is not None:
                self._tail.clear()
            page = await self._page()
            self._top = page.top
            if not (page.complete or self._is_newcomer) or not self._recovered:
                # Nothing more is sent: who has joined can tell the peer before it has a position from here on.
                self._recovered, self._cursor = False, page.top
                if self._tail is None or await self._reaches(self._tail, page.top):
                    return
                continue
            has_waited = await self._write(page.messages)
            if self._is_newcomer:  # was sent all that there is up to the top; from here on nothing may be missing
                self._is_newcomer = False
                self._cursor = page.top
            elif (not page.messages or (self._cursor == page.top and not has_waited)) and (
                self._tail is None or await self._takes_tail(self._tail, page.top)
            ):
                return

    async def _page(self) -> HistoryPage:
        history = self._box.engine.history
        if self._cursor is None:
            return await history(self._group, max_bytes=OLDEST_BYTES)
        return await history(self._group, self._cursor, limit=PAGE_MESSAGES, max_bytes=PAGE_BYTES)

    async def _write(self, messages: Sequence[Message]) -> bool:
        """Write them, some in one turn as long as the peer takes them at once. Returns whether it has waited.

        So that a group that speaks once a turn is caught up with.
        """
        has_waited = False
        at_once = 0
        for message in messages:
            self._check()
            message.group = self._group
            self._cursor = message.position
            if self._channel.is_excluded(message):
                continue
            self._sent += 1
            if at_once < TURN_MESSAGES and self._channel.has_nothing_queued:
                at_once += 1
                self._channel.push_group_message(message)
            else:
                at_once = 0
                has_waited = True
                await self._channel.send_group_message(message)
        return has_waited

    async def _reaches(self, tail: Tail, top: Position) -> bool:
        """Wait until this node was given that: what comes before may be what the peer has. False: look again."""
        await tail.until(top)
        self._check()
        self._top = tail.delivered or top
        return not (tail.is_broken or tail.is_moved)

    async def _takes_tail(self, tail: Tail, top: Position) -> bool:
        """Queue what was delivered here since the page was asked for.

        False: read on, there was too much of it, or it does not go on from the page; the history knows what is missing.
        """
        await tail.until(top)
        self._check()
        if tail.is_broken or tail.is_full or tail.is_moved:
            return False
        for message in tail.messages:
            if message.position is not None and message.position > top:  # of one epoch: another one begins with a gap
                self._top = message.position
                if not self._channel.is_excluded(message):
                    self._channel.push_group_message(message)
                    self._sent += 1
        return True


def parse_since(since: Any) -> "Position | Oldest":
    """Raises: ValueError, TypeError for what is no position."""
    if isinstance(since, Position | Oldest):
        return since
    if isinstance(since, str):
        return Position.parse(since)
    raise TypeError(f"since is a Position, its text, or OLDEST, not {type(since).__name__}")
