"""Who is connected, and who is in which group of one box. Synchronous throughout: cleaning up cannot be cancelled."""

from collections.abc import Iterable
from typing import Any, Protocol, cast
from uuid import UUID

from ..exceptions import LifecycleError
from ..pubsub.index import GroupIndex, Removed
from ..transports.send_queue import DeliveryCounts
from ..transports.timers import Timer, Timers
from .broadcast import Fanout, Member
from .results import ChannelAddStatusEnum, ChannelRemoveStatusEnum

_NOBODY = UUID(int=0)
_NONE_LEFT_OUT: frozenset[UUID] = frozenset()  # one for all messages
_ADDED = {True: ChannelAddStatusEnum.CHANNEL_ADDED, False: ChannelAddStatusEnum.CHANNEL_EXIST}
_REMOVED = {
    Removed.MEMBER: ChannelRemoveStatusEnum.CHANNEL_REMOVED,
    Removed.GROUP: ChannelRemoveStatusEnum.GROUP_REMOVED,
    Removed.NO_MEMBER: ChannelRemoveStatusEnum.CHANNEL_DOES_NOT_EXIST,
    Removed.NO_GROUP: ChannelRemoveStatusEnum.GROUP_DOES_NOT_EXIST,
}


class BoxMember(Member, Protocol):
    """What a box needs of a channel."""

    uuid: UUID
    close_on_expire: bool

    @property
    def expires_at(self) -> float | None: ...

    @property
    def expired(self) -> bool: ...

    @property
    def is_over(self) -> bool: ...

    def check_joinable(self) -> None:
        """Raises WebSocketDisconnect when the channel can join nothing any more."""

    def entered(self, roster: "Roster") -> None:
        """The roster knows the channel from now on; the channel tells it when its connection is over."""

    def expire(self) -> None:
        """The time to live is over, and the channel is out of its groups."""

    def push(self, payload: Any) -> None:
        """Queue a payload for this channel alone, under the overflow policy."""

    async def shut(self, code: int, reason: str) -> None:
        """Close the connection, in bounded time, raising nothing."""


class Counted(Protocol):
    """A connection that counts what its peer did not get."""

    @property
    def counts(self) -> DeliveryCounts: ...


class Roster:
    """The channels of one box, their memberships and their times to live.

    Invariant: a channel in a group is known, and whoever is known is forgotten when its connection ends.
    """

    def __init__(self, max_groups_per_channel: int) -> None:
        self.fanout = Fanout()
        self.timers = Timers()
        self._index: GroupIndex[Any] = GroupIndex()
        self._channels: dict[UUID, BoxMember] = {}
        self._alarms: dict[BoxMember, Timer] = {}
        self._max_groups_per_channel = max_groups_per_channel
        self._expired = 0
        self._connections: dict[Counted, None] = {}
        self._undelivered = 0  # by connections that have ended

    def leave_nowait(self, channel: BoxMember, group_name: str) -> ChannelRemoveStatusEnum:
        """`ChannelBox.remove_channel_from_group`, synchronously."""
        self.fanout.catch_up(self._index.memberships(channel))
        return _REMOVED[self._index.remove(channel, group_name)]

    def forget(self, channel: BoxMember) -> None:
        """Leave every group and the registry: the connection is over."""
        self.leave_all(channel)
        if self._channels.get(channel.uuid) is channel:
            del self._channels[channel.uuid]
        alarm = self._alarms.pop(channel, None)
        if alarm is not None:
            self.timers.stop(alarm)

    def track(self, channel: BoxMember) -> None:
        """Know a channel, so that `send_to` finds it and its time to live is watched."""
        if self._channels.setdefault(channel.uuid, channel) is not channel:
            raise ValueError(f"another channel has the id {channel.uuid}")
        channel.entered(self)
        self.watch(channel)

    def watch(self, channel: BoxMember) -> None:
        """Follow the channel's `expires_at`, which may have moved."""
        if channel.expires_at is None or channel.uuid not in self._channels:
            return
        alarm = self._alarms.get(channel)
        if alarm is None:
            alarm = self._alarms[channel] = Timer(lambda: self._expire(channel))
        self.timers.set(alarm, channel.expires_at)

    def join_nowait(self, channel: BoxMember, group_name: str) -> ChannelAddStatusEnum:
        """`ChannelBox.add_channel_to_group`, synchronously, for a name that has been checked."""
        channel.check_joinable()
        if self._channels.get(channel.uuid) is not channel:
            self.track(channel)
        if channel.expired:
            raise LifecycleError(f"channel {channel.uuid} has expired; touch() it to go on")
        joined = self._index.memberships(channel)
        if len(joined) >= self._max_groups_per_channel and group_name not in {m.group.name for m in joined}:
            raise ValueError(f"a channel may be in {self._max_groups_per_channel} groups at a time")
        return _ADDED[self._index.add(channel, group_name, *channel.receiver())]

    def rewire(self, channel: BoxMember) -> None:
        """The channel's receiver is another one from now on."""
        for membership in self._index.memberships(channel):
            membership.reach(*channel.receiver())

    def leave_all(self, channel: BoxMember) -> None:
        """Leave every group."""
        self.fanout.catch_up(self._index.memberships(channel))
        self._index.discard(channel)

    def _expire(self, channel: BoxMember) -> None:
        del self._alarms[channel]
        if not channel.expired:  # it was kept alive, which does not move the timer
            self.watch(channel)
            return
        self._expired += 1
        self.leave_all(channel)
        channel.expire()

    def catch_up(self, channel: BoxMember) -> None:
        """Give a channel the group messages that are on their way to it, before anything else is sent to it."""
        if self.fanout.dirty:
            self.fanout.catch_up(self._index.memberships(channel))

    def begin_counting(self, connection: Counted) -> None:
        """Include what `connection` counts in the statistics. `end_counting` must follow."""
        self._connections[connection] = None

    def end_counting(self, connection: Counted) -> None:
        del self._connections[connection]
        self._undelivered += connection.counts.undelivered

    def channels(self) -> list[Any]:
        """Every channel that is connected."""
        return list(self._channels.values())

    def size_of(self, group_name: str) -> int:
        """Count the channels in the group."""
        group = self._index.groups.get(group_name)
        return len(group.members) if group is not None else 0

    def _members_of(self, group_name: str) -> dict[Any, UUID]:
        return {channel: channel.uuid for channel in self._index.groups[group_name].members}

    def find(self, channel_id: UUID | str) -> "BoxMember | None":
        """The channel with this id, if its connection is not over."""
        channel = self._channels.get(as_uuid(channel_id))
        return None if channel is None or channel.is_over else channel

    @property
    def undelivered(self) -> int:
        """Messages that peers were meant to get and did not."""
        return self._undelivered + sum(one.counts.undelivered for one in self._connections)


def as_uuid(channel_id: UUID | str) -> UUID:
    """A UUID that is nobody's for what is none."""
    try:
        return channel_id if isinstance(channel_id, UUID) else UUID(channel_id)
    except (ValueError, AttributeError, TypeError):
        return _NOBODY


def excluded_ids(exclude: Any) -> frozenset[UUID]:
    """The ids of one channel, or of several, given as channels or ids. Raises: ValueError for anything else."""
    if exclude is None:
        return _NONE_LEFT_OUT
    is_one = isinstance(exclude, UUID | str) or hasattr(exclude, "uuid") or not isinstance(exclude, Iterable)
    return frozenset([_id(exclude)] if is_one else map(_id, cast(Iterable[Any], exclude)))


def _id(one: Any) -> UUID:
    uuid = as_uuid(getattr(one, "uuid", one))
    if uuid == _NOBODY:
        raise ValueError(f"exclude takes channels and their ids, one or a list of them, not {one!r}")
    return uuid
