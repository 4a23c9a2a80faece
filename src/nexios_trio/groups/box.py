"""`ChannelBox`: the groups of one application, their messages and their history.

Membership is plain synchronous code, so leaving works in a cancelled `finally`. Publishing goes through the engine,
which gives each message its position and calls `Broadcaster.deliver`; the box is not entered again.
"""

import logging
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from math import inf
from typing import Any
from uuid import UUID

import attrs
import trio
from trio.lowlevel import checkpoint

from ..core.close_codes import check_close_code, check_reason
from ..core.json import JsonDefault
from ..core.message import Message
from ..core.names import check_group_name
from ..engines.base import Engine, claim_engine
from ..engines.memory import MemoryEngine
from ..exceptions import MessageTooBig
from ..pubsub.history import DEFAULT_MAX_BYTES, HistoryLimits
from .authorization import Authorize, acting_channel, check_authorize, require, require_sender
from .current_box import OnCurrentBox, find_box
from .history_size import history_size
from .memberships import NOBODY_EXCLUDED, BoxMember, Memberships, excluded_ids
from .results import (
    BoxStatistics,
    ChannelAddStatusEnum,
    ChannelMessageDC,
    ChannelRemoveStatusEnum,
    GroupSendStatusEnum,
)
from .views import GroupsView

logger = logging.getLogger("nexios_trio.box")

MAX_HISTORY_MESSAGES = 10_000  # of one group, unless said otherwise; each takes 300 bytes besides its payload
_NO_PAYLOAD: Any = object()
_EVERY_GROUP: Any = object()


class ChannelBox(Memberships):
    """Groups of channels, group messages and their history.

    Every method may be called on an instance, or on the class: then it acts on the box of the application that the
    calling task belongs to; elsewhere on the box of the one application that runs, or on one for the whole process
    where none does. Where several run, or in a thread that is not trio's, that raises LifecycleError.

    Args:
        engine: carries messages to other processes; by default there is only this one.
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
        engine: Engine | None = None,
        *,
        history_overflow: str = "clear",
        history_ttl: float | None = None,
        history_limit: int | None = None,
        history_bytes: int | None = None,
        max_groups_per_channel: int = 128,
        authorize: Authorize | None = None,
        json_default: JsonDefault | None = None,
    ) -> None:
        super().__init__(max_groups_per_channel)
        self.engine = engine if engine is not None else MemoryEngine()
        claim_engine(self.engine, self)
        # With `history_bytes` of None, the bytes of each saved message's time take the place of the ones here.
        self._history_limits = HistoryLimits(
            max_bytes=DEFAULT_MAX_BYTES if history_bytes is None else history_bytes,
            max_messages=MAX_HISTORY_MESSAGES if history_limit is None else history_limit,
            max_age=history_ttl,
            overflow=history_overflow,
        )
        self._reads_history_size = history_bytes is None
        self._authorize = check_authorize(authorize)
        self.json_default = json_default
        self._max_message_size = inf  # of what is sent to groups
        self._published = 0
        # From here on the engine gives each message to the broadcaster itself. One that serves other processes too does
        # so at any time, so memberships that have expired must go first; else `group_send` sees to that.
        self.engine.attach(self.broadcaster.deliver if self.engine.is_local else self._deliver_from_elsewhere)

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
            raise TypeError(f"only a Channel joins a group, as in Channel(websocket), not {type(channel).__name__}")
        if self._authorize is not None and acting_channel()[0]:
            await require(self._authorize, channel, group_name, "join")
        else:
            await checkpoint()
        return self.join_nowait(channel, group_name)

    @OnCurrentBox
    async def remove_channel_from_group(self, channel: BoxMember, group_name: str) -> ChannelRemoveStatusEnum:
        """Leave. Happens even when the call is cancelled, so it may stand in a `finally`.

        Checkpoint: always, after leaving.
        """
        status = self.leave_nowait(channel, group_name)
        await checkpoint()
        return status

    @OnCurrentBox
    @asynccontextmanager
    async def member(self, channel: BoxMember, group_name: str = "default") -> AsyncGenerator[ChannelAddStatusEnum]:
        """Be a member for the length of the block: leaving is guaranteed, whatever ends it."""
        status = await self.add_channel_to_group(channel, group_name)
        try:
            yield status
        finally:
            self.leave_nowait(channel, group_name)

    # Sending

    def bound_messages(self, size: int) -> None:
        """Refuse group messages of more than `size` bytes; of several bounds, the lowest holds."""
        self._max_message_size = min(self._max_message_size, size)

    @OnCurrentBox
    async def group_send(
        self,
        group_name: str = "default",
        payload: Any = _NO_PAYLOAD,
        save_history: bool = False,
        exclude: Any = None,
    ) -> GroupSendStatusEnum:
        """Send to every member of the group, in order, waiting for none of them.

        Each member's overflow policy decides what happens when its outbox is full. After a burst this lets the members'
        writers catch up as long as they get on, for 5 ms at most: a loop of sends drops nobody who keeps up.

        Checkpoint: always. Cancellation: with the engine of one process, nothing was sent. Once it was, a caller that
            is cancelled stops waiting and gets the status; Cancelled comes from the next checkpoint.
        Args:
            payload: anything that JSON can carry, or bytes; an empty object by default.
            save_history: keep it, for `show_history`; also when nobody is in the group yet.
            exclude: a channel, or several, that must not get it.
        Raises: ValueError when the payload cannot be encoded, or the name is bad; MessageTooBig when no outbox could
            ever take it; NotAuthorized. Nothing was sent to anybody.
        """
        check_group_name(group_name)
        excluded = NOBODY_EXCLUDED if exclude is None else excluded_ids(exclude)
        content = {} if payload is _NO_PAYLOAD else payload
        message = Message(content, time.time(), excluded=excluded, json_default=self.json_default)
        if message.size > self._max_message_size:
            await checkpoint()
            raise MessageTooBig(f"a group message of {message.size} bytes: outboxes hold {self._max_message_size:g}")
        if self._authorize is not None:
            await require_sender(self._authorize, group_name)
        limits = self._limits_now() if save_history else None
        if self._timers:
            self.timers.fire_due(trio.current_time())
        groups = self._index.groups
        exists = group_name in groups or not self.engine.is_local
        if not exists and limits is None:
            await checkpoint()
            return GroupSendStatusEnum.NO_SUCH_GROUP
        # The engine gives it to `Broadcaster.deliver`, here and on every other node, before this returns or later.
        await self.engine.publish(group_name, message, history=limits)
        self._published += 1
        group = groups.get(group_name)
        if group is not None and group.backlogs:
            await self.broadcaster.wait_for_writers(group)
        return GroupSendStatusEnum.GROUP_SEND if exists else GroupSendStatusEnum.NO_SUCH_GROUP

    def _deliver_from_elsewhere(self, group_name: str, message: Message) -> None:
        self.timers.fire_due(trio.current_time())
        self.broadcaster.deliver(group_name, message)

    @OnCurrentBox
    async def send_to(self, channel_id: UUID | str, payload: Any) -> bool:
        """Send to one channel, in a group or not; False when there is no such channel.

        Checkpoint: always. Raises: ValueError when the payload cannot be encoded; MessageTooBig.
        """
        await checkpoint()
        channel = self.find(channel_id)
        if channel is None:
            logger.info("send_to: there is no channel %r", str(channel_id)[:64])
            return False
        self.catch_up(channel)
        channel.push(payload, self.json_default)  # raises MessageTooBig before anything is queued
        return True

    # Looking

    @OnCurrentBox
    def show_groups(self) -> GroupsView:
        """The groups and their channels: `await show_groups()` for all, `await show_groups().get(name)` for one."""
        return GroupsView(self._index.groups)

    @OnCurrentBox
    async def show_history(self, group_name: str = _EVERY_GROUP) -> Any:
        """Return what was sent to a group with `save_history=True`, oldest first; without an argument, a dict of all.

        Checkpoint: always. Returns: copies (`ChannelMessageDC`); changing them changes nothing.
        Raises: ValueError for a bad group name, such as "" and None, which a peer may have given.
        """
        if group_name is not _EVERY_GROUP:
            return await self._history_of(check_group_name(group_name))
        return {name: await self._history_of(name) for name in await self.engine.groups_with_history()}

    async def _history_of(self, group_name: str) -> list[ChannelMessageDC]:
        page = await self.engine.history(group_name)
        return [ChannelMessageDC(m.payload, m.uuid, m.created, m.position) for m in page.messages]

    @OnCurrentBox
    async def flush_history(self, group_name: str | None = None) -> None:
        """Forget what was sent to one group, or to all. Checkpoint: always."""
        await self.engine.flush_history(group_name)

    @OnCurrentBox
    async def flush_groups(self) -> None:
        """Empty every group; the channels stay connected. Checkpoint: always."""
        for channel in list(self._channels.values()):
            self.leave_all(channel)
        await checkpoint()

    @OnCurrentBox
    async def close_all_connections(self, code: int = 1001, reason: str = "") -> None:
        """Close every channel's connection, all at once, waiting `write_timeout` and `close_timeout` for each at most.

        Checkpoint: always. Raises: ValueError for a code that may not be sent.
        """
        check_close_code(code)
        check_reason(reason)
        await checkpoint()
        async with trio.open_nursery() as nursery:
            for channel in list(self._channels.values()):
                nursery.start_soon(channel.shut, code, reason)

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

    def _limits_now(self) -> HistoryLimits:
        if not self._reads_history_size:
            return self._history_limits
        return attrs.evolve(self._history_limits, max_bytes=history_size())


def current_box() -> ChannelBox:
    """The box of the application that this task belongs to, or of the only one that runs, or else of the process.

    Raises: LifecycleError when several applications run, or in a thread that is not trio's while one does.
    """
    box: ChannelBox = find_box(ChannelBox)
    return box
