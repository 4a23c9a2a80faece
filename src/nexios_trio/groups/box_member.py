"""What a box needs of a channel."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Protocol
from uuid import UUID

import trio

from ..core.json import JsonDefault
from ..core.lifecycle import End
from ..core.message import FrameIndex, Message, Position
from ..core.overflow import Policy
from ..engines.base import Receipt
from ..pubsub.group import Receiver

__all__ = ["BoxMember", "MemberBox"]


class MemberBox(Protocol):
    """A box, as its members know it."""

    def watch(self, channel: "BoxMember") -> None:
        """Follow the channel's `expires_at`, which may have moved."""

    def catch_up(self, channel: "BoxMember") -> None:
        """Give a channel the group messages that are on their way to it."""

    def renew_receiver(self, channel: "BoxMember") -> None:
        """Reach the channel another way from now on."""

    def leave_all(self, channel: "BoxMember") -> None:
        """Leave every group."""

    def unsettled_posts(self, channel: "BoxMember") -> list[Receipt]:
        """Return what the caller has posted to its groups, and has no receipt yet."""
        ...

    async def settle_posts(self, channel: "BoxMember") -> None:
        """Wait for what this task has posted to its groups."""

    def forget(self, channel: "BoxMember") -> None:
        """Leave every group and the registry: the connection is over."""


class BoxMember(ABC):
    """What a box needs of a channel."""

    overflow: Policy | None = None  # for what its peer has no room for; None: its connection's
    is_personal: ClassVar[bool] = False  # it stands for a connection in its user's group, and nobody has made it

    uuid: UUID
    close_on_expire: bool

    @property
    @abstractmethod
    def expires_at(self) -> float | None: ...

    @property
    @abstractmethod
    def expired(self) -> bool: ...

    @property
    @abstractmethod
    def is_over(self) -> bool: ...

    @property
    @abstractmethod
    def identity(self) -> object:
        """The one the channel acts for; something else, by `is`, from the moment on when it acts for somebody else."""

    @property
    @abstractmethod
    def user_key(self) -> str | None:
        """The user that is, as text: the same for other connections of the same user."""

    @abstractmethod
    def cancel_on_revoke(self, scope: trio.CancelScope) -> None:
        """Cancel `scope`, which waits on behalf of the present identity, when that ends; until `keep_on_revoke`."""

    @abstractmethod
    def keep_on_revoke(self, scope: trio.CancelScope) -> None:
        """No longer."""

    @abstractmethod
    def receiver(self) -> tuple[Receiver, FrameIndex]:
        """Return how it is reached, and which form of messages it gets. Asked for once, at joining."""

    @abstractmethod
    def check_joinable(self) -> None:
        """Raises WebSocketDisconnect when the channel can join nothing any more."""

    @abstractmethod
    def entered(self, box: MemberBox) -> None:
        """The box knows the channel from now on; the channel tells it when its connection is over."""

    @abstractmethod
    def expire(self) -> None:
        """The time to live is over, and the channel is out of its groups."""

    @abstractmethod
    def push(self, payload: Any, json_default: JsonDefault | None = None) -> None:
        """Queue a payload for this channel alone, under the overflow policy."""

    @abstractmethod
    def is_excluded(self, message: Message) -> bool:
        """Tell whether the message was sent to everybody else."""

    @abstractmethod
    async def send_group_message(self, message: Message) -> None:
        """Send what the group's history has, waiting for room. Checkpoint, cancellation, raises: as `send`."""

    @property
    @abstractmethod
    def has_nothing_queued(self) -> bool:
        """Tell whether what is pushed next goes to the peer at once, as far as the peer takes it."""

    @abstractmethod
    def push_group_message(self, message: Message) -> None:
        """Queue it, under the overflow policy."""

    @abstractmethod
    def missed(self, group: str, after: Position | None, upto: Position | None) -> bool:
        """Messages of the group will never come. Returns False where nobody was told, so the peer has to come back."""

    @abstractmethod
    def fail_join(self, end: End) -> None:
        """Close the connection: it cannot be given the messages of a group that it was to join."""

    @abstractmethod
    def come_back(self) -> None:
        """Close the connection with 1012: the peer is to connect anew, and to resume."""

    @abstractmethod
    async def shut(self, code: int, reason: str) -> None:
        """Close the connection, waiting `write_timeout` and `close_timeout` at most, raising nothing."""
