"""The channels of a connection, as far as their session knows them.

`channels.Channel` puts itself, and the queue of its overridden `send`, into the session's lists.
"""

from collections.abc import Callable
from typing import ClassVar, Protocol

from ..engines.base import Receipt
from .last_calls import LastCall

__all__ = ["AttachedChannel", "SendingQueue"]


class AttachedChannel(Protocol):
    """A channel, as its connection knows it."""

    is_personal: ClassVar[bool]
    is_released: bool  # it has left every group for good, and the connection may go on

    def catch_up(self) -> None:
        """Queue the group messages that are on their way, before anything else is sent."""

    def unsettled_posts(self) -> list[Receipt]:
        """Return what the caller has posted to the channel's groups, and has no receipt yet."""
        ...

    async def settle_posts(self) -> None:
        """Wait for what this task has posted to the channel's groups. A checkpoint if there is any."""

    async def accepted(self) -> None:
        """Tell `on_connect`. No checkpoint where nobody listens."""

    def disconnect_calls(self) -> list[LastCall]:
        """The connection is over; memberships still stand, unless we dropped the peer. Nothing the second time."""
        ...

    def leave_groups(self) -> None: ...

    def release(self) -> None:
        """Leave every group and registry, for good."""


class SendingQueue(Protocol):
    """A task that sends what groups gave it, through an override of `send`."""

    @property
    def is_busy(self) -> bool: ...

    @property
    def must_be_waited_for(self) -> bool:
        """It is busy, and who asks is none of those who send for it."""
        ...

    async def settle(self) -> None:
        """Wait until what it has was sent. A checkpoint where it has something."""

    def then(self, call: Callable[[object], None]) -> None:
        """Call it once, with this, when it is busy no more. It must not block."""

    def discard(self) -> None:
        """Count what was not sent as lost, and let go of it."""
