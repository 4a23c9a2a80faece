"""`ChannelBox`: the groups of one application, their messages and their history.

Membership is plain synchronous code, so leaving works in a cancelled `finally`. Publishing goes through the engine,
which gives each message its position and calls `_deliver`; from there to the members' outboxes nothing awaits.
"""

import logging
import os
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from math import inf
from typing import Any, NoReturn, TypeVar, overload
from uuid import UUID

import attrs
import trio
from trio.lowlevel import checkpoint

from ..core.lifecycle import check_close_code, check_reason
from ..core.message import Message
from ..core.names import check_group_name
from ..engines.base import Engine, HistoryLimits
from ..engines.memory import MemoryEngine
from ..exceptions import MessageTooBig, SettingsError
from ..pubsub.history import DEFAULT_MAX_BYTES, History
from .authorization import Authorize, acting_channel, check_authorize, require
from .current_box import OnCurrentBox, find_box
from .memberships import BoxMember, Roster, excluded_ids
from .results import ChannelAddStatusEnum, ChannelMessageDC, ChannelRemoveStatusEnum, GroupSendStatusEnum

logger = logging.getLogger("nexios_trio.box")

T = TypeVar("T")

MAX_HISTORY = 10_000  # messages of one group, unless said otherwise; each takes half a KiB besides its payload
HISTORY_SIZE_VARIABLE = "CHANNEL_BOX_HISTORY_SIZE"
_NO_PAYLOAD: Any = object()
_EVERY_GROUP: Any = object()


@attrs.frozen
class BoxStatistics:
    """Counts since the box was made, and sizes now."""

    channels: int
    groups: int
    published: int
    deliveries: int
    undelivered: int  # messages that peers were meant to get and did not


class GroupsView:
    """The groups at the time it is awaited: `await view` or `await view.get(name, default)`."""

    def __init__(self, box: "ChannelBox") -> None:
        self._box = box

    def __await__(self) -> "Generator[Any, Any, dict[str, dict[Any, UUID]]]":
        return self._all().__await__()

    async def _all(self) -> dict[str, dict[Any, UUID]]:
        await checkpoint()
        return {group.name: self._box._members_of(group.name) for group in self._box._index}

    @overload
    async def get(self, name: str) -> dict[Any, UUID] | None: ...
    @overload
    async def get(self, name: str, default: dict[Any, UUID]) -> dict[Any, UUID]: ...
    @overload
    async def get(self, name: str, default: T) -> dict[Any, UUID] | T: ...
    async def get(self, name: str, default: Any = None) -> Any:
        """One group's channels, or `default` if there is no such group."""
        await checkpoint()
        return self._box._members_of(name) if name in self._box._index else default

    def _not_awaited(self, *_: object) -> NoReturn:
        raise TypeError("show_groups() is awaited before it is looked into: (await show_groups())[name]")

    __getitem__ = __iter__ = __contains__ = __len__ = __bool__ = _not_awaited


class ChannelBox(Roster):
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
    Raises: ValueError.
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
    ) -> None:
        History[Message](overflow=history_overflow, ttl=history_ttl, limit=history_limit)  # raises ValueError
        if history_bytes is not None and history_bytes < 0:
            raise ValueError(f"history_bytes must be a number of bytes from 0, or None, not {history_bytes!r}")
        super().__init__(max_groups_per_channel)
        self.engine = engine if engine is not None else MemoryEngine()
        self._limits = (
            MAX_HISTORY if history_limit is None else history_limit,
            history_ttl,
            history_overflow,
            history_bytes,
        )
        self._authorize = check_authorize(authorize)
        self._max_message_size = inf  # of what is sent to groups
        self._published = 0
        self.engine.attach(self._deliver)

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
        if not hasattr(channel, "check_joinable"):
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
        writers catch up as long as they get on, for some scheduler passes: a loop of sends drops nobody who keeps up.

        Checkpoint: always. Cancellation: with the engine of one process, nothing was sent.
        Args:
            payload: anything that JSON can carry, or bytes; an empty object by default.
            save_history: keep it, for `show_history`; also when nobody is in the group yet.
            exclude: a channel, or several, that must not get it.
        Raises: ValueError when the payload cannot be encoded, or the name is bad; MessageTooBig when no outbox could
            ever take it; NotAuthorized. Nothing was sent to anybody.
        """
        check_group_name(group_name)
        message = Message({} if payload is _NO_PAYLOAD else payload, time.time(), excluded=excluded_ids(exclude))
        if message.size > self._max_message_size:
            await checkpoint()
            raise MessageTooBig(f"a group message of {message.size} bytes: outboxes hold {self._max_message_size:g}")
        if self._authorize is not None:
            is_asked, channel = acting_channel()
            if is_asked:
                await require(self._authorize, channel, group_name, "send")
        limits = self._history_limits() if save_history else None
        self.timers.fire_due(trio.current_time())
        exists = not self.engine.is_local or group_name in self._index
        if not exists and limits is None:
            await checkpoint()
            return GroupSendStatusEnum.NO_SUCH_GROUP
        await self.engine.publish(group_name, message, history=limits)
        self._published += 1
        group = self._index.groups.get(group_name)
        if group is not None and group.backlogs:
            await self.fanout.breathe(group)
        return GroupSendStatusEnum.GROUP_SEND if exists else GroupSendStatusEnum.NO_SUCH_GROUP

    def _deliver(self, group_name: str, message: Message) -> None:
        """The engine's way in."""
        if not self.engine.is_local:  # else `group_send` has swept
            self.timers.fire_due(trio.current_time())
        group = self._index.groups.get(group_name)
        if group is None:
            return
        excluded = [self._channels[uuid] for uuid in message.excluded if uuid in self._channels]
        group.publish(message, excluded)
        self.fanout.published(group)

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
        channel.push(payload)  # raises MessageTooBig before anything is queued
        return True

    # Looking

    @OnCurrentBox
    def show_groups(self) -> GroupsView:
        """The groups and their channels: `await show_groups()` for all, `await show_groups().get(name)` for one."""
        return GroupsView(self)

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
        """Close every channel's connection, all at once; each is given its write deadline.

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
            len(self._channels), len(self._index), self._published, self.fanout.deliveries, self.undelivered
        )

    def _history_limits(self) -> HistoryLimits:
        limit, ttl, overflow, size = self._limits
        return HistoryLimits(_history_size() if size is None else size, limit, ttl, overflow)


def _history_size() -> int:
    text = os.environ.get(HISTORY_SIZE_VARIABLE)
    if text is None:
        return DEFAULT_MAX_BYTES
    try:
        size = int(text)
    except ValueError:
        size = -1
    if size < 0:
        raise SettingsError(f"{HISTORY_SIZE_VARIABLE} must be a number of bytes, not {text!r}")
    return size


def current_box() -> ChannelBox:
    """The box of the application that this task belongs to, or of the only one that runs, or else of the process.

    Raises: LifecycleError when several applications run, or in a thread that is not trio's while one does.
    """
    box: ChannelBox = find_box(ChannelBox)
    return box
