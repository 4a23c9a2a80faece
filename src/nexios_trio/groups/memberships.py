"""Who is connected, and who is in which group of one box. Synchronous throughout: cleaning up cannot be cancelled."""

from collections.abc import Iterable
from types import MethodType
from typing import Any, cast
from uuid import UUID

from ..core.names import check_group_name
from ..core.overflow import Decide, Policy, resolve_policy
from ..engines.base import Engine, Receipt
from ..exceptions import LifecycleError
from ..pubsub.group import Group
from ..pubsub.index import GroupIndex, Removed
from ..transports.send_queue import DeliveryCounts
from ..transports.timers import Timer, Timers
from .box_member import BoxMember as BoxMember
from .broadcast import Broadcaster
from .current_box import OnCurrentBox
from .engine_client import EngineClient
from .member_presence import MemberPresence
from .pending_joins import PendingJoins
from .results import ChannelAddStatusEnum, ChannelRemoveStatusEnum
from .user_quotas import UserQuotas

NOBODY = UUID(int=0)
_ADDED = {True: ChannelAddStatusEnum.CHANNEL_ADDED, False: ChannelAddStatusEnum.CHANNEL_EXIST}
_REMOVED = {
    Removed.MEMBER: ChannelRemoveStatusEnum.CHANNEL_REMOVED,
    Removed.GROUP: ChannelRemoveStatusEnum.GROUP_REMOVED,
    Removed.NO_MEMBER: ChannelRemoveStatusEnum.CHANNEL_DOES_NOT_EXIST,
    Removed.NO_GROUP: ChannelRemoveStatusEnum.GROUP_DOES_NOT_EXIST,
}


class Memberships:
    """The channels of one box, their memberships and their times to live.

    Invariant: a channel in a group is known, and whoever is known is forgotten when its connection ends.
    """

    def __init__(self, engine: Engine, max_groups_per_channel: int) -> None:
        self.timers = Timers()
        self._presence: MemberPresence | None = None  # where a policy names groups whose presence is kept
        self.quotas: UserQuotas | None = None  # where settings limit what one user may have
        self._index: GroupIndex[Any] = GroupIndex()
        self._channels: dict[UUID, BoxMember] = {}
        self.broadcaster = Broadcaster(self._index, self._channels)
        self._take_engine(engine)
        self._timers: dict[BoxMember, Timer] = {}
        self._expire_member = self._expire  # one object, of which each channel's timer has a method
        self._max_groups_per_channel = max_groups_per_channel
        self._group_policies: dict[str, Policy] = {}
        self._expired = 0
        self._pending_joins = PendingJoins()
        self._counts: dict[DeliveryCounts, None] = {}  # of connections
        self._ended = DeliveryCounts()  # by connections that have ended

    def _take_engine(self, engine: Engine) -> None:
        self.engine = engine
        self.engine_client = EngineClient(engine, self, self._index.groups)
        self._index.on_empty = self.engine_client.left
        self.broadcaster.underway = self.engine_client.unsettled
        if self._presence is not None:
            self._presence.node.engine = engine

    def leave_group(self, channel: BoxMember, group_name: str) -> ChannelRemoveStatusEnum:
        """`ChannelBox.leave_nowait`, of this box."""
        if channel in self._pending_joins.groups and self._pending_joins.discard(channel, group_name):
            return ChannelRemoveStatusEnum.CHANNEL_REMOVED
        if self.broadcaster.dirty:
            self.catch_up(channel)
        return _REMOVED[self._index.remove(channel, group_name)]

    def forget(self, channel: BoxMember) -> None:
        """Leave every group and the registry: the connection is over."""
        if channel in self._pending_joins.groups:
            self._pending_joins.discard_all(channel)
        if channel in self._index.of:
            self.leave_all(channel)
        if self._channels.get(channel.uuid) is channel:
            del self._channels[channel.uuid]
        timer = self._timers.pop(channel, None)
        if timer is not None:
            self.timers.stop(timer)

    def track(self, channel: BoxMember) -> None:
        """Know a channel, so that `send_to` finds it and its time to live is watched."""
        if channel.is_personal:  # which is found by its user
            return
        if self._channels.setdefault(channel.uuid, channel) is not channel:
            raise ValueError(f"another channel has the id {channel.uuid}")
        channel.entered(self)
        self.watch(channel)

    def watch(self, channel: BoxMember) -> None:
        """Follow the channel's `expires_at`, which may have moved."""
        if channel.expires_at is None or channel.uuid not in self._channels:
            return
        timer = self._timers.get(channel)
        if timer is None:
            timer = self._timers[channel] = Timer(MethodType(self._expire_member, channel))
        self.timers.set(timer, channel.expires_at)

    def join_watched(self, channel: BoxMember, group_name: str) -> ChannelAddStatusEnum:
        """Join, for a name that has been checked, somebody who may.

        The caller sees to it that the engine watches the group, where that takes time: `EngineClient.joining`.
        """
        channel.check_joinable()
        if self._channels.get(channel.uuid) is not channel:
            self.track(channel)
        if channel.expired:
            raise LifecycleError(f"channel {channel.uuid} has expired; touch() it to go on")
        joined = self._index.of.get(channel, ())
        if len(joined) >= self._max_groups_per_channel and group_name not in joined:
            raise self._too_many_groups()
        presence, quotas = self._presence, self.quotas
        user = None if quotas is None or group_name in joined else quotas.check_join(channel, group_name)
        edit = None if presence is None or group_name in joined else presence.prepare(channel, group_name)
        added = self._index.add(channel, group_name, *channel.receiver())
        if presence is not None and edit is not None:
            presence.enter(edit)
        if quotas is not None and user is not None:
            quotas.joined(user, channel, group_name)
        if added:
            self.engine_client.joined(group_name)
        if channel.overflow is not None or self._group_policies:
            self._set_policies(channel, self._index.groups[group_name])
        return _ADDED[added]

    def _join_when_watched(self, channel: BoxMember, group_name: str) -> bool:
        """Join, or begin to wait for the engine; True where the channel is in the group already.

        Raises: as `join_watched`.
        """
        channel.check_joinable()
        if self._channels.get(channel.uuid) is not channel:
            self.track(channel)  # which tells us when it is over
        pending = self._pending_joins
        if group_name not in pending.of(channel):
            self.check_room(channel, group_name)
            pending.begin(self.engine_client, channel, group_name, self.join_watched)
        return self.is_member(channel, group_name)

    def check_room(self, channel: BoxMember, group_name: str) -> None:
        """See whether a channel that is not in the group may be in one more, with those that it is about to join.

        Raises: ValueError for too many groups of the channel; QuotaExceeded.
        """
        pending = self._pending_joins.of(channel)
        if len(self._index.of.get(channel, ())) + len(pending) >= self._max_groups_per_channel:
            raise self._too_many_groups()
        if self.quotas is not None:
            self.quotas.check_join(channel, group_name, pending)

    def _left(self, channel: BoxMember, group_name: str) -> None:
        if self._presence is not None:
            self._presence.left(channel, group_name)
        if self.quotas is not None:
            self.quotas.left(channel, group_name)

    def _too_many_groups(self) -> ValueError:
        return ValueError(f"a channel may be in {self._max_groups_per_channel} groups at a time")

    def _set_policies(self, channel: BoxMember, group: Group[Any]) -> None:
        if group.policy is None:
            group.set_policy(self._group_policies.get(group.name))
        group.members[channel].set_policy(channel.overflow)

    @OnCurrentBox
    def set_overflow(self, group_name: str, overflow: Policy | str | Decide | None) -> None:
        """Choose the overflow policy of one group's messages, for every member, before its own; None: its own again.

        Raises: ValueError, TypeError for what is no policy, or a bad group name.
        """
        check_group_name(group_name)
        if overflow is None:
            self._group_policies.pop(group_name, None)
        else:
            self._group_policies[group_name] = resolve_policy(overflow)
        group = self._index.groups.get(group_name)
        if group is not None:
            group.set_policy(self._group_policies.get(group_name))

    def renew_receiver(self, channel: BoxMember) -> None:
        """Reach the channel another way from now on: it has another transport."""
        for membership in self._index.memberships(channel):
            membership.set_receiver(*channel.receiver())

    def leave_all(self, channel: BoxMember) -> None:
        """Leave every group."""
        if channel in self._pending_joins.groups:
            self._pending_joins.discard_all(channel)
        self.catch_up(channel)
        self._index.discard(channel)

    def _expire(self, channel: BoxMember) -> None:
        del self._timers[channel]
        if not channel.expired:  # it was kept alive, which does not move the timer
            self.watch(channel)
            return
        self._expired += 1
        self.leave_all(channel)
        channel.expire()

    def catch_up(self, channel: BoxMember) -> None:
        """Give a channel the group messages that are on their way to it, before anything else is sent to it."""
        if self.broadcaster.dirty:
            self.broadcaster.catch_up(self._index.memberships(channel))

    def begin_counting(self, counts: DeliveryCounts) -> None:
        """Include what a connection counts in the statistics. `end_counting` must follow."""
        self._counts[counts] = None

    def end_counting(self, counts: DeliveryCounts) -> None:
        del self._counts[counts]
        self._ended.add(counts)

    def delivery_counts(self) -> list[DeliveryCounts]:
        """Return what each connection counts, and at the end what those have counted that are over."""
        ended = DeliveryCounts()
        ended.add(self._ended)
        return [*self._counts, ended]

    def users_of(self, channel_ids: Iterable[UUID]) -> frozenset[str]:
        """Return the users of those channels that are here, as far as they have any."""
        found = [self._channels[uuid].user_key for uuid in channel_ids if uuid in self._channels]
        return frozenset([user for user in found if user is not None])

    def presence_counts(self) -> tuple[dict[str, int], int]:
        """Return how many memberships are present here, by pattern, and how often the node was taken for dead."""
        presence = self._presence
        return ({}, 0) if presence is None else (dict(presence.counts), presence.node.lost_leases)

    def unsettled_posts(self, channel: BoxMember) -> list[Receipt]:
        """Return what the caller has posted to the channel's groups, and has no receipt yet."""
        return self.engine_client.unsettled_posts(self._index.of.get(channel, ()))

    async def settle_posts(self, channel: BoxMember) -> None:
        """Wait until the channel was given what this task has posted to its groups. A checkpoint if there is any."""
        await self.engine_client.settle(self._index.of.get(channel, ()))

    def channels(self) -> list[Any]:
        """Every channel that is connected."""
        return list(self._channels.values())

    def is_member(self, channel: BoxMember, group_name: str) -> bool:
        """Tell whether the channel is in the group."""
        return group_name in self._index.of.get(channel, ())

    def size_of(self, group_name: str) -> int:
        """Count the channels in the group."""
        group = self._index.groups.get(group_name)
        return len(group.members) if group is not None else 0

    def find(self, channel_id: UUID | str) -> "BoxMember | None":
        """Return the channel with this id, if its connection is not over."""
        channel = self._channels.get(as_uuid(channel_id))
        return None if channel is None or channel.is_over else channel

    @property
    def is_over(self) -> bool:
        """The application has run, and runs no longer."""
        return self.broadcaster.has_run and not self.broadcaster.flushers and not self._channels

    @property
    def undelivered(self) -> int:
        """Messages that peers were meant to get and did not."""
        return self._ended.undelivered + sum(counts.undelivered for counts in self._counts)

    @property
    def policy_errors(self) -> int:
        """Messages for which an overflow policy, or its key, raised."""
        return self._ended.policy_errors + sum(counts.policy_errors for counts in self._counts)


def as_uuid(channel_id: UUID | str) -> UUID:
    """A UUID that is nobody's for what is none."""
    try:
        return channel_id if isinstance(channel_id, UUID) else UUID(channel_id)
    except (ValueError, AttributeError, TypeError):
        return NOBODY


def excluded_ids(exclude: Any) -> frozenset[UUID]:
    """Return the ids of one channel, or of several, given as channels or ids. Raises: ValueError for anything else."""
    is_one = isinstance(exclude, UUID | str) or hasattr(exclude, "uuid") or not isinstance(exclude, Iterable)
    return frozenset([_id(exclude)] if is_one else map(_id, cast(Iterable[Any], exclude)))


def _id(one: Any) -> UUID:
    uuid = as_uuid(getattr(one, "uuid", one))
    if uuid == NOBODY:
        raise ValueError(f"exclude takes channels and their ids, one or a list of them, not {one!r}")
    return uuid
