"""What the box answers, and what a history shows."""

from enum import Enum
from typing import Any, Final
from uuid import UUID, uuid4

import attrs

from ..core.message import Position


class ChannelAddStatusEnum(Enum):
    """What adding a channel to a group did to the group."""

    CHANNEL_ADDED = "channel_added"  # the group is new
    CHANNEL_EXIST = "channel_exist"  # the group existed
    CHANNEL_PENDING = "channel_pending"  # it joins once the engine watches the group: see `ChannelBox.join_nowait`


class ChannelRemoveStatusEnum(Enum):
    """What removing a channel from a group did."""

    CHANNEL_REMOVED = "channel_removed"
    GROUP_REMOVED = "group_removed"  # the channel was the last one
    CHANNEL_DOES_NOT_EXIST = "channel_does_not_exist"
    GROUP_DOES_NOT_EXIST = "group_does_not_exist"


class GroupSendStatusEnum(Enum):
    """Whether there was a group to send to."""

    GROUP_SEND = "group_send"
    NO_SUCH_GROUP = "no_such_group"


class Oldest(Enum):
    """The kind of `OLDEST`."""

    OLDEST = "oldest"


OLDEST: Final = Oldest.OLDEST  # as a position: before everything that a group has kept


@attrs.frozen
class Resumed:
    """How a channel has joined a group at a position.

    Args:
        recovered: everything after the position was sent; False: some of it is gone, so the peer has to load anew what
            it shows. What comes live comes in both cases.
        position: what comes live comes after it; None when the group could not be asked in time.
        sent: so many messages were sent.
    """

    status: ChannelAddStatusEnum
    recovered: bool
    position: Position | None
    sent: int


@attrs.frozen
class ChannelMessageDC:
    """One message of a history: the reader's own copy."""

    payload: Any
    uuid: UUID = attrs.field(factory=uuid4)
    created: float = 0.0  # wall-clock seconds
    position: Position | None = None


@attrs.frozen
class BoxStatistics:
    """Counts since the box was made, and sizes now."""

    channels: int
    groups: int
    published: int
    deliveries: int
    undelivered: int  # messages that peers were meant to get and did not
    policy_errors: int = 0  # messages for which an overflow policy, or its key, raised; they were queued without
