"""The contract between a box and what carries its messages: this process alone, or other processes too.

An engine keeps each group's history and gives every message its `Position`. It carries a message to every node that
listens, this one included, by calling `deliver(group, message)`, a synchronous function that never blocks: the box
hands it to its own members. Subscribing is therefore local, and an engine knows nothing of members.

- `publish` returns when the message has a position. For one group, every node is delivered the same messages in
  ascending order of offset. With `history=True` the message is kept, and can be read by the time `publish` returns.
- Cancelling `publish`: an engine in this process has published nothing; a remote one may or may not have.
- History outlives the last member, within its limits. A new `epoch` means that positions of the old one are void.
"""

import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import Enum
from typing import ClassVar, Protocol

import attrs

from ..core.message import Message, Position
from ..exceptions import LifecycleError
from ..pubsub.history import HistoryLimits

__all__ = ["Deliver", "Engine", "EngineState", "HistoryLimits", "HistoryPage", "claim_engine"]

# Gives a message to this node's members of a group. A box gives `groups.broadcast.Broadcaster.deliver` to `attach`.
Deliver = Callable[[str, Message], None]


@attrs.frozen
class HistoryPage:
    """Messages in order of position; `complete` is False when some in between are gone for good: a gap."""

    messages: tuple[Message, ...]
    complete: bool
    top: Position


class EngineState(Enum):
    """Whether an engine reaches the other processes."""

    STARTING = "starting"  # it has not reached them yet
    UP = "up"
    DOWN = "down"


class Engine(ABC):
    """Carries group messages and keeps their history."""

    # There are no other nodes: a group without members here has none at all.
    is_local: ClassVar[bool] = False

    @property
    def state(self) -> EngineState:
        """Tell whether it works now, for `/readyz` and metrics. Asked at any time; what has no link is always up."""
        return EngineState.UP

    @abstractmethod
    def attach(self, deliver: Deliver) -> None:
        """Give this node's messages to `deliver`. Called once, before anything is published."""

    @abstractmethod
    async def publish(self, group: str, message: Message, *, history: HistoryLimits | None) -> Position:
        """Carry `message` to every node; keep it when `history` says how much to keep."""

    @abstractmethod
    async def history(self, group: str, since: Position | None = None, limit: int | None = None) -> HistoryPage:
        """The group's kept messages, oldest first: all, or those after `since`; the newest `limit` of them."""

    @abstractmethod
    async def groups_with_history(self) -> list[str]:
        """The names of the groups that have kept messages."""

    @abstractmethod
    async def flush_history(self, group: str | None = None) -> None:
        """Forget one group's messages, or everybody's. Positions go on counting."""

    @abstractmethod
    async def aclose(self) -> None:
        """Let go of every resource. Idempotent."""


class Owner(Protocol):
    """A box, as the owner of an engine."""

    @property
    def is_over(self) -> bool:
        """Its application has run, and runs no longer."""
        ...


_owners: "weakref.WeakKeyDictionary[Engine, weakref.ref[Owner]]" = weakref.WeakKeyDictionary()


def claim_engine(engine: Engine, box: Owner) -> None:
    """Give an engine to one box: a second one would take the messages of the first, whose members hear no more.

    A box whose application is over may be followed by another: the history goes on.

    Raises: LifecycleError when another box has it.
    """
    claim = _owners.get(engine)
    owner = None if claim is None else claim()
    if owner is not None and not owner.is_over:
        raise LifecycleError(
            "this engine carries the messages of another ChannelBox: give each box an engine of its own, or share the"
            " box, as in NexiosApp(box=box)"
        )
    _owners[engine] = weakref.ref(box)
