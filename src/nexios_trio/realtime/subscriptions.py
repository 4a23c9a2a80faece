"""What a client is subscribed to, and how far that is."""

from enum import Enum
from typing import Any, Final

import attrs

from ..core.message import Message
from ..pubsub.group import Membership
from ..transports.timers import Timer

__all__ = ["MAX_HELD_BYTES", "MAX_HELD_MESSAGES", "Subscription", "SubscriptionState"]

# Of a group that keeps nothing, while the client is told that it is subscribed: a moment, unless its outbox is full.
MAX_HELD_MESSAGES: Final = 64
MAX_HELD_BYTES: Final = 65536


class SubscriptionState(Enum):
    """How far a subscription is."""

    JOINING = "joining"  # its command is not answered
    LIVE = "live"
    ENDED = "ended"  # the client is told so, or will be


@attrs.define(eq=False)
class Subscription:
    """One group of one client.

    Args:
        is_kept: the group keeps its messages, so that the client can recover.
        is_held: live messages wait until the client has been told that it is subscribed.
    """

    group: str
    is_kept: bool
    is_held: bool = False
    state: SubscriptionState = SubscriptionState.JOINING
    has_missed: bool = False  # a message was not queued: what follows must not be
    notice: Timer | None = None  # will tell the client that it has ended
    membership: Membership[Any] | None = None  # while messages are held
    _held: list[Message] = attrs.field(factory=list, init=False)
    _held_bytes: int = attrs.field(default=0, init=False)

    def hold(self, message: Message) -> bool:
        """Hold a message, if there is room for it."""
        if len(self._held) >= MAX_HELD_MESSAGES or self._held_bytes + message.size > MAX_HELD_BYTES:
            return False
        self._held.append(message)
        self._held_bytes += message.size
        return True

    def let_go(self) -> list[Message]:
        """Hold nothing more. Returns what was held."""
        self.is_held = False
        self.membership = None
        held, self._held, self._held_bytes = self._held, [], 0
        return held
