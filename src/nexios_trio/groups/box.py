"""`ChannelBox`: the groups of one application, their messages and their history.

Membership is plain synchronous code, so leaving works in a cancelled `finally`. What is sent goes through `publishing`.
"""

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio
from trio.lowlevel import checkpoint

from ..core.json import JsonDefault
from ..core.message import Position
from ..core.names import check_box_name, check_group_name, is_reserved
from ..engines.base import Engine, Receipt
from ..engines.default import make_engine
from ..engines.memory import MemoryEngine
from ..pubsub.history import DEFAULT_MAX_BYTES, HistoryLimits
from .authorization import Authorize, acting_channel, check_authorize, require, require_now
from .current_box import OnCurrentBox, check_thread, find_box
from .from_thread import FromThread
from .memberships import BoxMember
from .present import WithPresence
from .publishing import MAX_KEPT_MESSAGES
from .results import (
    BoxStatistics,
    ChannelAddStatusEnum,
    ChannelMessageDC,
    ChannelRemoveStatusEnum,
    Oldest,
    Resumed,
)
from .resuming import parse_since, resume_watched
from .users import WithUsers

logger = logging.getLogger("nexios_trio.box")

_EVERY_GROUP: Any = object()


class ChannelBox(WithPresence, WithUsers, FromThread):
    """Groups of channels, group messages and their history.

    Every method may be called on an instance, or on the class: then it acts on the box of the application that the
    calling task belongs to; elsewhere on the box of the one application that runs, or on one for the whole process
    where none does. Where several run, or in a thread that is not trio's, that raises LifecycleError: there,
    `from_thread` calls a method in the right one.

    Args:
        engine: carries messages to other processes, and keeps them; or the URL of a Redis or Valkey server. By default
            that is `NEXIOS_ENGINE` of the environment for the boxes that applications have; without it the workers of
            `nexios-trio run` share the groups of those, and elsewhere there is only this process.
        name: of the box, in all processes that share its groups; boxes of other names have groups of their own. By
            default it is the import path of the application, such as "chat.main:app".
        history_overflow: what a history does when it is over its size: "clear" (keep the newest only) or "trim".
        history_ttl: seconds that a message is kept; None for ever.
        history_limit: messages kept per group; None for 10,000, whose memory the size does not tell when they are tiny.
        history_bytes: the size, in bytes of serialized messages per group. None reads the environment variable
            `CHANNEL_BOX_HISTORY_SIZE` whenever a message is saved, 1 MiB where it is not set.
        max_groups_per_channel: more are refused with `ValueError`.
        authorize: a function, async or not, (channel, group, action) -> bool, asked before every join and every group
            send of a connection; action is "join" or "send". Anything but True raises `NotAuthorized`. Tasks of the
            application, and HTTP handlers, act for no connection and are not asked about.
        json_default: makes something of payloads, or parts of them, that JSON does not know, such as Decimal; None for
            the application's setting of this name.
    Raises: ValueError; LifecycleError when another box has the engine.
    """

    def __init__(
        self,
        engine: Engine | str | None = None,
        *,
        name: str | None = None,
        history_overflow: str = "clear",
        history_ttl: float | None = None,
        history_limit: int | None = None,
        history_bytes: int | None = None,
        max_groups_per_channel: int = 128,
        authorize: Authorize | None = None,
        json_default: JsonDefault | None = None,
    ) -> None:
        self.name = None if name is None else check_box_name(name)
        self.has_default_engine = engine is None
        super().__init__(
            _engine_of(engine),
            # With `history_bytes` of None, the bytes of each saved message's time take the place of the ones here.
            HistoryLimits(
                max_bytes=DEFAULT_MAX_BYTES if history_bytes is None else history_bytes,
                max_messages=MAX_KEPT_MESSAGES if history_limit is None else history_limit,
                max_age=history_ttl,
                overflow=history_overflow,
            ),
            reads_history_size=history_bytes is None,
            max_groups_per_channel=max_groups_per_channel,
            authorize=check_authorize(authorize),
            json_default=json_default,
        )

    def share(self, engine: Engine) -> None:
        """Have another engine in place of the default one, before anybody has joined or published."""
        self.has_default_engine = False
        self._take_engine(engine)
        self._attach_to(engine)

    def settle_name(self, default: Callable[[], str]) -> None:
        """Give the engine the name of this box, if it reaches others: by default, what `default` finds."""
        if not self.engine.is_local:
            self.name = self.name or default()
            self.engine.name = self.name

    # Membership

    @OnCurrentBox
    async def add_channel_to_group(self, channel: BoxMember, group_name: str = "default") -> ChannelAddStatusEnum:
        """Join. Joining twice is joining once.

        Checkpoint: always. Cancellation: the channel did not join.
        Returns: CHANNEL_ADDED when the group is new, CHANNEL_EXIST when it existed.
        Raises: TypeError for what is no channel; ValueError for a bad group name, or too many groups; NotAuthorized;
            WebSocketDisconnect when the connection is over.
        """
        check_group_name(group_name)
        if not isinstance(channel, BoxMember):
            raise _no_channel(channel)
        if self.engine.is_local:
            if self._authorize is None:
                await checkpoint()
            else:
                await self._authorize_join(channel, group_name, None)
            return self.join_watched(channel, group_name)
        with self.engine_client.joining(group_name) as watch:
            await self._authorize_join(channel, group_name, watch)
            return self.join_watched(channel, group_name)

    @OnCurrentBox
    def join_nowait(self, channel: BoxMember, group_name: str = "default") -> ChannelAddStatusEnum:
        """Join without waiting: at once, or, where the engine has to ask, as soon as it watches the group.

        Then the answer is CHANNEL_PENDING, and messages come from when it does. Where it cannot, within its deadline,
        the channel's connection is closed with 1013. Leaving, or joining again meanwhile, is as for a member.

        Returns: as `add_channel_to_group`, or CHANNEL_PENDING.
        Raises: as that; TypeError when the box's `authorize` is asynchronous.
        """
        check_thread(self)
        check_group_name(group_name)
        if not isinstance(channel, BoxMember):
            raise _no_channel(channel)
        if self._authorize is not None and acting_channel()[0]:
            require_now(self._authorize, channel, group_name, "join")
        if self.engine.is_local or self.is_member(channel, group_name):
            return self.join_watched(channel, group_name)
        is_new = not self.size_of(group_name)
        if not self._join_when_watched(channel, group_name):
            return ChannelAddStatusEnum.CHANNEL_PENDING
        return ChannelAddStatusEnum.CHANNEL_ADDED if is_new else ChannelAddStatusEnum.CHANNEL_EXIST

    async def _authorize_join(self, channel: BoxMember, group_name: str, watch: Receipt | None) -> None:
        """Wait for the answer of `authorize`, where it is asked, and for the engine to watch the group."""
        if self._authorize is not None and acting_channel()[0]:
            await require(self._authorize, channel, group_name, "join", watch)
        elif watch is not None:
            await watch
        else:
            await checkpoint()

    @OnCurrentBox
    async def remove_channel_from_group(self, channel: BoxMember, group_name: str) -> ChannelRemoveStatusEnum:
        """Leave. Happens even when the call is cancelled, so it may stand in a `finally`.

        Checkpoint: always, after leaving.
        """
        status = self.leave_group(channel, group_name)
        await checkpoint()
        return status

    @OnCurrentBox
    def leave_nowait(self, channel: BoxMember, group_name: str) -> ChannelRemoveStatusEnum:
        """Do what `remove_channel_from_group` does. A join that is pending does not happen."""
        check_thread(self)
        return self.leave_group(channel, group_name)

    @OnCurrentBox
    @asynccontextmanager
    async def member(
        self, channel: BoxMember, group_name: str = "default", *, since: Position | Oldest | str | None = None
    ) -> AsyncGenerator[Any]:
        """Be a member for the length of the block: leaving is guaranteed, whatever ends it.

        The block is given what `add_channel_to_group` answers; with `since`, what `resume` does.
        """
        if since is None:
            status: Any = await self.add_channel_to_group(channel, group_name)
        else:
            status = await self.resume(channel, group_name, since)
        try:
            yield status
        finally:
            self.leave_group(channel, group_name)

    @OnCurrentBox
    async def resume(self, channel: BoxMember, group_name: str, since: Position | Oldest | str) -> Resumed:
        """Join at a position: the channel is sent what the group has kept after it, then what comes, each once.

        What was missed goes out at the pace of the peer, for a minute at most, while the group goes on; the join is at
        the moment when nothing is missing. Where something is gone for good, or the minute is over, the channel joins
        all the same, and the answer's `recovered` is False.

        Checkpoint: always. Cancellation: the channel did not join; it may have been sent a part.
        Args:
            since: the position of the last message that the peer has; its text, as the peer sent it; or `OLDEST`: all
                that is kept, of more than 1 MiB the newest.
        Raises: as `add_channel_to_group` and `Channel.send`; ValueError for text that is no position; LifecycleError
            when the channel is in the group; EngineError.
        """
        position = parse_since(since)
        check_group_name(group_name)
        if not isinstance(channel, BoxMember):
            raise _no_channel(channel)
        authorize = partial(self._authorize_join, channel, group_name)
        return await resume_watched(self, channel, group_name, position, authorize)

    # Looking

    @OnCurrentBox
    async def show_history(self, group_name: str = _EVERY_GROUP) -> Any:
        """Return what was sent to a group with `save_history=True`, oldest first; without an argument, a dict of all.

        Checkpoint: always. Returns: copies (`ChannelMessageDC`); changing them changes nothing.
        Raises: ValueError for a bad group name, such as "" and None, which a peer may have given.
        """
        if group_name is not _EVERY_GROUP:
            return await self._history_of(check_group_name(group_name))
        names = [name for name in await self.engine.groups_with_history() if not is_reserved(name)]
        histories = {name: await self._history_of(name) for name in names}
        return {name: messages for name, messages in histories.items() if messages}

    async def _history_of(self, group_name: str) -> list[ChannelMessageDC]:
        page = await self.engine.history(group_name)
        return [ChannelMessageDC(m.payload, m.uuid, m.created, m.position) for m in page.messages if m.is_shown]

    @OnCurrentBox
    async def flush_history(self, group_name: str | None = None) -> None:
        """Forget what was sent to one group, or to all. Checkpoint: always. Raises: ValueError for a bad name."""
        if group_name is not None:
            check_group_name(group_name)
        await self.engine.flush_history(group_name)

    @OnCurrentBox
    async def _clean_expired(self) -> int:
        """Remove every channel whose time to live is over; how many. It also happens by itself."""
        await checkpoint()
        before = self._expired
        self.timers.fire_due(trio.current_time())
        return self._expired - before

    @OnCurrentBox
    def statistics(self) -> BoxStatistics:
        """Sizes and counts."""
        return BoxStatistics(
            channels=len(self._channels),
            groups=len(self._index),
            published=self._published,
            deliveries=self.broadcaster.deliveries,
            undelivered=self.undelivered,
            policy_errors=self.policy_errors,
        )


def _engine_of(engine: Engine | str | None) -> Engine:
    match engine:
        case None:
            return MemoryEngine()
        case str():
            return make_engine(engine)
        case Engine():
            return engine
        case _:
            raise TypeError(f"engine is an Engine, or a URL such as redis://host, not {type(engine).__name__}")


def _no_channel(what: object) -> TypeError:
    return TypeError(f"only a Channel joins a group, as in Channel(websocket), not {type(what).__name__}")


def current_box() -> ChannelBox:
    """The box of the application that this task belongs to, or of the only one that runs, or else of the process.

    Raises: LifecycleError when several applications run, or in a thread that is not trio's while one does.
    """
    box: ChannelBox = find_box(ChannelBox)
    return box
