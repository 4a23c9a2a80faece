"""The part of a box that reaches users: all of a user's connections, on whatever node they are.

Each connection of a user is a member of the user's personal group, by a `UserMember` that its session has made. Where
there is but one node, it joins when something is sent to the user for the first time: who never does pays for an entry
in a dict alone. Where there are others, these have to be told that the group is watched here, so it joins at once.
"""

from abc import abstractmethod
from typing import Any, ClassVar, Final

import trio

from ..config.settings import Settings
from ..core.lifecycle import End
from ..core.message import Message, Position
from ..core.names import personal_group
from ..engines.base import Receipt
from ..pubsub.history import DEFAULT_MAX_BYTES, HistoryLimits
from ..transports.timers import Timer
from .box_member import BoxMember
from .current_box import OnCurrentBox, check_thread
from .publishing import MAX_KEPT_MESSAGES
from .questions import Question
from .results import ChannelRemoveStatusEnum, Oldest, Resumed
from .resuming import resume_watched
from .scoped import Scoped
from .user_quotas import TOO_MANY_CONNECTIONS, UserQuotas

__all__ = ["UserBox", "UserMember", "WithUsers"]

REJOIN_SECONDS: Final = 5.0  # after which a connection tries again to join, where the engine could not watch its group

_LEFT: Final = (ChannelRemoveStatusEnum.CHANNEL_REMOVED, ChannelRemoveStatusEnum.GROUP_REMOVED)


class UserMember(BoxMember):
    """One connection, as a member of its user's personal group."""

    is_personal: ClassVar[bool] = True
    is_resuming = False  # it joins when it has been sent what was missed
    rejoin: Timer | None = None  # while the engine could not watch its group

    @property
    @abstractmethod
    def key(self) -> str:
        """The user, as text."""

    @property
    @abstractmethod
    def siblings(self) -> list[BoxMember]:
        """The channels of the connection."""

    @abstractmethod
    def evict(self, end: End) -> None:
        """End the connection at once."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return `id`, `path` and `client`."""


class UserBox(Scoped):
    """A box, as its users' connections know it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._users: dict[str, dict[UserMember, None]] = {}  # those that are connected here
        self.user_limits: HistoryLimits | None = None  # of personal groups, where these keep their messages

    def limit_users(self, settings: Settings) -> None:
        """Limit what one user may have and do on this node, from now on."""
        quotas = UserQuotas(
            settings.max_connections_per_user, settings.max_groups_per_user, settings.max_publishes_per_user
        )
        if not quotas.is_unlimited:
            self.quotas = quotas
            self._index.on_leave = self._left

    def enter_user(self, member: UserMember) -> None:
        """Know a connection of a user. `leave_user` must follow."""
        self._users.setdefault(member.key, {})[member] = None
        if self.quotas is not None:
            surplus = self.quotas.enter(member.key, member)
            if surplus is not None:
                surplus.evict(TOO_MANY_CONNECTIONS)
        if not self.engine.is_local and not member.is_resuming:
            self._join_when_user_is_watched(member)

    async def resume_user(self, member: UserMember, since: Position | Oldest) -> Resumed:
        """Let a connection join that has been entered for this: `is_resuming`. As `ChannelBox.resume`."""
        try:
            return await resume_watched(self, member, personal_group(member.key), since)
        finally:
            member.is_resuming = False

    def leave_user(self, member: UserMember) -> None:
        """It is a connection of this user's no longer. A no-op for one that has left."""
        self.ended_user(member)
        connections = self._users.get(member.key, {})
        connections.pop(member, None)
        if not connections:
            self._users.pop(member.key, None)
        if member.rejoin is not None:
            self.timers.stop(member.rejoin)
            member.rejoin = None
        self.forget(member)

    def ended_user(self, member: UserMember) -> None:
        """Its connection is closed, though its handler may go on: it counts no more."""
        if self.quotas is not None:
            self.quotas.leave(member.key, member)

    def rejoin_user(self, member: UserMember) -> None:
        """Try later to join: the engine could not watch the group."""
        member.rejoin = Timer(lambda: self._join_when_user_is_watched(member))
        self.timers.set(member.rejoin, trio.current_time() + REJOIN_SECONDS)

    def _join_when_user_is_watched(self, member: UserMember) -> None:
        member.rejoin = None
        self._pending_joins.begin(self.engine_client, member, personal_group(member.key), self.join_watched)

    def connections_here(self, key: str) -> list[UserMember]:
        """Return the user's connections on this node that are not over."""
        return [member for member in self._users.get(key, ()) if not member.is_over]

    def join_here(self, key: str, group: str) -> None:
        """Let the user's connections join, where nobody else has to be told."""
        for member in self.connections_here(key):
            if not member.is_resuming and not self.is_member(member, group):
                self.join_watched(member, group)

    def post_to_user(
        self, key: str, group: str, message: Message, limits: HistoryLimits | None, name: str | None
    ) -> Receipt:
        """Give a message for a user to the engine. Raises: MessageTooBig, EngineError."""
        check_thread(self)
        if message.size > self._max_message_size:
            raise self._too_big(message)
        if self.quotas is not None:
            self._count_publish(self.quotas)
        if self._timers:
            self.timers.fire_due(trio.current_time())
        if self.engine.is_local:
            self.join_here(key, group)
            if limits is None and group not in self._index.groups:
                return Receipt(True, None, False)
        receipt = self._post(group, message, keep=limits, key=name)
        if not receipt.is_settled:
            self.engine_client.remember(group, receipt)
        self._published += 1
        return receipt

    async def wait_for_writers(self, group_name: str) -> None:
        """Let the members' writers catch up, as `group_send` does."""
        group = self._index.groups.get(group_name)
        if group is not None and group.backlogs:
            await self.broadcaster.wait_for_writers(group)

    # What other nodes ask

    def describe_user(self, asked: Question, _: bytes = b"") -> list[dict[str, Any]]:
        """Return what is known of each connection of a user here."""
        return [
            {
                **member.describe(),
                "groups": [name for channel in member.siblings for name in self._index.of.get(channel, ())],
            }
            for member in self.connections_here(asked["user"])
        ]

    def disconnect_for_another(self, asked: Question, _: bytes) -> int:
        """Close the connections of a user, in tasks of their own; how many."""
        members = self.connections_here(asked["user"])
        for member in members:
            self.engine_client.start_soon(member.shut, asked["code"], asked["reason"])
        return len(members)

    def unsubscribe_user(self, asked: Question, _: bytes = b"") -> int:
        """Let the channels of a user's connections leave a group; how many have."""
        channels = [channel for member in self.connections_here(asked["user"]) for channel in member.siblings]
        return sum(self.leave_group(channel, asked["group"]) in _LEFT for channel in channels)


class WithUsers(UserBox):
    """A box whose users can be reached."""

    answerers = {
        **Scoped.answerers,
        "connections of user": UserBox.describe_user,
        "disconnect user": UserBox.disconnect_for_another,
        "unsubscribe user": UserBox.unsubscribe_user,
    }

    @OnCurrentBox
    def keep_user_messages(
        self,
        *,
        max_messages: int | None = MAX_KEPT_MESSAGES,
        max_bytes: int = DEFAULT_MAX_BYTES,
        max_age: float | None = None,
    ) -> None:
        """Keep what is sent to users, for those of their devices that are away.

        Args:
            max_messages, max_bytes, max_age: for each user, as in `keep`.
        Raises: TypeError, ValueError.
        """
        self.user_limits = HistoryLimits(max_bytes, max_messages, max_age, overflow="trim")
