"""How much one user may have and do on this node, all of the user's connections together.

What is counted here is counted where it happens, one step for each connection, membership or publish; nobody looks
through the others.
"""

from collections import OrderedDict
from collections.abc import Collection
from typing import Any, Final

import attrs

from ..core.lifecycle import Cause, End
from ..core.token_bucket import TokenBucket
from ..exceptions import QuotaExceeded
from .box_member import BoxMember

__all__ = ["UserQuotas"]

TOO_MANY_CONNECTIONS: Final = End.of(Cause.RATE_LIMITED, "too many connections of this user", 4002)
BURST_SECONDS: Final = 2.0  # so much of the rate may be published at once; after so long of silence all of it again


@attrs.define(eq=False)
class UserQuotas:
    """Of one box. None: as many as a user likes.

    Args:
        connections: open at a time; one more ends the oldest.
        groups: that the user is in at a time, by whatever channels.
        publishes: a second.
    """

    connections: int | None = None
    groups: int | None = None
    publishes: int | None = None

    _open: dict[str, dict[Any, None]] = attrs.field(factory=dict, init=False)  # user -> members, the oldest first
    # user -> group -> channels of the user that are in it
    _joined: dict[str, dict[str, int]] = attrs.field(factory=dict, init=False)
    _joined_as: dict[tuple[BoxMember, str], str] = attrs.field(factory=dict, init=False)  # (channel, group) -> user
    # user -> what may still be published; who published last stands last
    _buckets: OrderedDict[str, TokenBucket] = attrs.field(factory=OrderedDict, init=False)

    @property
    def is_unlimited(self) -> bool:
        return self.connections is None and self.groups is None and self.publishes is None

    # Connections

    def enter(self, user: str, member: Any) -> Any:
        """Count a connection. Returns the member that has to go for it, if one has to."""
        if self.connections is None:
            return None
        members = self._open.setdefault(user, {})
        members[member] = None
        if len(members) <= self.connections:
            return None
        oldest = next(iter(members))
        del members[oldest]
        return oldest

    def leave(self, user: str, member: Any) -> None:
        """It is over. A no-op for one that is not counted."""
        members = self._open.get(user)
        if members is not None:
            members.pop(member, None)
            if not members:
                del self._open[user]

    # Groups

    def check_join(self, channel: BoxMember, group: str, pending: Collection[str] = ()) -> str | None:
        """Return the user who joins by a channel that is not in the group; None for nobody who is counted.

        Args:
            pending: groups that the channel is about to join.
        Raises: QuotaExceeded.
        """
        if self.groups is None or channel.is_personal:
            return None
        user = channel.user_key
        if user is not None:
            joined = self._joined.get(user, {})
            if group not in joined and len(joined) + len(set(pending) - joined.keys()) >= self.groups:
                raise QuotaExceeded("too many groups of this user", f"a user may be in {self.groups} groups at a time")
        return user

    def joined(self, user: str, channel: BoxMember, group: str) -> None:
        """Count a membership. `left` must follow."""
        groups = self._joined.setdefault(user, {})
        groups[group] = groups.get(group, 0) + 1
        self._joined_as[channel, group] = user

    def left(self, channel: BoxMember, group: str) -> None:
        """It is over. A no-op for one that is not counted."""
        user = self._joined_as.pop((channel, group), None)
        if user is None:
            return
        groups = self._joined[user]
        groups[group] -= 1
        if not groups[group]:
            del groups[group]
            if not groups:
                del self._joined[user]

    # Publishes

    def check_publish(self, user: str | None, now: float) -> None:
        """Count a publish by a connection of a user. Raises: QuotaExceeded."""
        rate = self.publishes
        if rate is None or user is None:
            return
        buckets = self._buckets
        bucket = buckets.get(user)
        if bucket is None:
            bucket = buckets[user] = TokenBucket(rate, rate * BURST_SECONDS, now)
        buckets.move_to_end(user)
        may = bucket.take(now)
        while now - buckets[oldest := next(iter(buckets))].updated > BURST_SECONDS:  # full again, as a new one is
            del buckets[oldest]
        if not may:
            raise QuotaExceeded("too many messages of this user", f"a user may publish {rate} messages a second")
