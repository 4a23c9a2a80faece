"""The contract between a box and what carries its messages: this process alone, or other processes too.

A node is a process with a box. An engine numbers the messages of each group, keeps those that it is told to keep, and
gives each of them to the nodes that watch the group, this one included. It knows nothing of members: the box watches a
group for as long as it has members of it. `nexios_trio.testing.check_engine` checks every sentence of this contract.

Life
    `run()` is the engine's life, a block in the lifespan of the application: what it starts, it starts in there, and
    leaving ends it. It may be entered again afterwards. While it is not entered, an engine of other processes is down.
    `state` and `health()` tell at any time. A problem that only people can solve (a refused password) is raised on
    entry; one that may go by is not: the state is DOWN, and the engine tries again.

Order
    For one group, the messages get offsets 1, 2, 3, ... within an epoch, and every watching node is given them in this
    order, each once. A message with `is_transient` has no offset; it keeps its place among those of its publisher.
    `deliver(group, message)` and `gap(group, after, upto)` are synchronous and never block.

Publishing
    `post` is synchronous and ordered: what one task posts to a group is numbered in that order. Its receipt is settled
    when the message has its position and, where this node watches the group, `deliver` was called with it here; so what
    the same task sends directly afterwards comes after it. The node that publishes delivers like every other one: what
    was numbered, in its turn. A receipt is settled within `deadline` seconds: with an error whose `maybe_published`
    says whether the message may be there. `post` is bounded: over its bound, or while there is no hope, it raises with
    `maybe_published=False`. Nothing is done twice: a publish with a `key` that the group had within
    `RECEIPT_SECONDS` gets the first one's position, and is not delivered again. Without a key there is no such memory,
    and the engine itself does not try again what may have happened.

Keeping
    With `keep`, a message can be read by the time its receipt is settled; the limits are those of the group from then
    on, and an age is that of each message by itself, on the engine's own clock. Kept messages outlive the last member.

Watching
    The receipt of `watch(group)` is settled when it holds: with the position after which everything will be given to
    this node. Watching what is watched is answered at once. `unwatch` posts, never waits and never raises; a `watch`
    after it holds again. What somebody watches keeps its numbering. A group that nobody watches may be forgotten: then
    it begins a new epoch.

Gaps
    A new epoch means that positions of the old one are void, unless the engine knows that it goes on from the old one:
    then it calls `followed(group, position)`, with what the last position is called now, and members notice nothing.
    Where it cannot give a watching node every message after the last it has given, it calls `gap` before it goes on:
    members have everything up to `after`, and the next message comes after `upto`; None for what nobody knows. A
    message that cannot be read, since a newer release sent it, is a gap too, and no crash. What can be mended without a
    gap is mended, by one repair of a group at a time.

Presence, for engines with `has_presence`
    `pubsub.presence` says what it means, and does it. `renew` is synchronous; its receipt fails with `LeaseLost` where
    the incarnation is over: nothing was done, and never will be in its name. A node has one renewal on its way at a
    time, and repeats what it says in one that failed. Leases and graces go by the engine's own clock, and every renewal
    and every read, of whatever node, ends those that are over. An engine whose memory may be lost calls `on_return`
    when this node should say again who is present. Every event is a message of `presence_group(group)`, without
    history, in the order in which it happened; its position is the version. A group in which nobody is and whose events
    nobody watches may be forgotten, as above.
"""

import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from enum import Enum
from typing import ClassVar, Final, Protocol

import attrs
from trio.lowlevel import cancel_shielded_checkpoint, checkpoint, checkpoint_if_cancelled

from ..core.message import Message, Position
from ..exceptions import EngineError, LifecycleError
from ..pubsub.history import HistoryLimits
from .presence import PresencePage, Renewal
from .receipt import Receipt

__all__ = [
    "MAX_KEY_LENGTH",
    "RECEIPT_SECONDS",
    "Answer",
    "Deliver",
    "Engine",
    "EngineState",
    "Followed",
    "Gap",
    "HistoryLimits",
    "HistoryPage",
    "KeptRule",
    "Owner",
    "Receipt",
    "check_key",
    "claim_engine",
    "no_answer",
    "no_gap",
    "not_followed",
]

RECEIPT_SECONDS: Final = 300.0  # for which the receipt of a publish with a key is remembered
MAX_KEY_LENGTH: Final = 200  # characters

# Gives a message to this node's members of a group. A box gives `groups.broadcast.Broadcaster.deliver` to `attach`.
Deliver = Callable[[str, Message], None]
# Tells this node's members of a group that they have missed what came after the first position, up to the second.
Gap = Callable[[str, Position | None, Position | None], None]
# Tells that this node's members have missed nothing, and what they have is a position of a new epoch from now on.
Followed = Callable[[str, Position], None]
# Answers what another node asks with `ask`. Both are opaque to the engine.
Answer = Callable[[bytes], bytes]
# What is kept of groups: a pattern in which * stands for any characters, and the limits of every message of those that
# match, where the first that does holds; with None, the limits of what is saved by `save_history` elsewhere.
KeptRule = tuple[str | None, HistoryLimits]


def check_key(key: object) -> str:
    """Return what a publish may be called. Raises: TypeError, ValueError."""
    if not isinstance(key, str):
        raise TypeError(f"key is a str, not {type(key).__name__}")
    if not 0 < len(key) <= MAX_KEY_LENGTH:
        raise ValueError(f"key has 1 to {MAX_KEY_LENGTH} characters, not {len(key)}")
    return key


class EngineState(Enum):
    """Whether an engine reaches the other processes."""

    STARTING = "starting"  # it has not reached them yet
    UP = "up"
    DOWN = "down"  # it tries again


@attrs.frozen
class HistoryPage:
    """Messages in order of position.

    Args:
        complete: False when some in between are gone for good, or `since` is of another epoch: a gap.
        top: the position of the group's latest message.
        has_more: there are kept messages after the last of these.
    """

    messages: tuple[Message, ...]
    complete: bool
    top: Position
    has_more: bool = False


def no_gap(group: str, after: Position | None, upto: Position | None) -> None:
    """For who has no members."""


def not_followed(group: str, position: Position) -> None:
    """For who has no members."""


def no_answer(request: bytes) -> bytes:
    """For who answers nothing."""
    return b""


class Engine(ABC):
    """Carries group messages between processes, and keeps their history. The module's text is the specification."""

    # There are no other nodes: a group without members here has none at all, and every receipt is settled at once.
    is_local: ClassVar[bool] = False
    has_presence: ClassVar[bool] = False  # it has `renew` and `presence`
    name: str = ""  # of the box, set before `run`: only boxes of one name share groups
    followed: Followed = staticmethod(not_followed)  # set by the box. Only engines that have epochs which go on call it
    deadline: float = 5.0  # seconds within which every receipt is settled, and every other call returns
    # The box's, for engines with `has_presence`: called when what this node has renewed may be forgotten. It renews.
    on_return: Callable[[], None] = staticmethod(lambda: None)
    # The box's: what is kept of which groups, for who publishes past it.
    kept_rules: Callable[[], Sequence[KeptRule]] = staticmethod(lambda: ())

    @property
    def state(self) -> EngineState:
        """Tell whether it works now, for `/readyz` and metrics. Asked at any time; what has no link is always up."""
        return EngineState.UP

    def health(self) -> str:
        """Return how it is, in words for people: "up", or what is wrong since when."""
        return self.state.value

    @abstractmethod
    def run(self) -> AbstractAsyncContextManager[None]:
        """Live for the length of the block. Raises: EngineError, on entry, for what only people can mend."""

    @abstractmethod
    def attach(self, deliver: Deliver, gap: Gap = no_gap, answer: Answer = no_answer) -> None:
        """Give this node's messages to `deliver`. Called before anything is published."""

    # Messages

    @abstractmethod
    def post(
        self, group: str, message: Message, *, keep: HistoryLimits | None = None, key: str | None = None
    ) -> Receipt:
        """Carry `message` to every node that watches the group.

        Args:
            keep: keep it, and so much of the group's history.
            key: what this publish is called, for a second one that may be the same.
        Raises: EngineError, with `maybe_published` False; MessageTooBig.
        """

    async def publish(
        self, group: str, message: Message, *, keep: HistoryLimits | None = None, key: str | None = None
    ) -> Position | None:
        """Post, and wait for the position.

        Checkpoint: always. Cancellation: an engine in this process has published nothing; another may have.
        Raises: EngineError, MessageTooBig.
        """
        await checkpoint_if_cancelled()
        receipt = self.post(group, message, keep=keep, key=key)
        if not receipt.is_settled:
            return await receipt
        await cancel_shielded_checkpoint()
        return receipt.position

    @abstractmethod
    def watch(self, group: str) -> Receipt:
        """Give this node the group's messages from now on. Its receipt has the position that "now" is."""

    @abstractmethod
    def unwatch(self, group: str) -> None:
        """Give this node the group's messages no longer. Never raises."""

    # History

    @abstractmethod
    async def history(
        self, group: str, since: Position | None = None, *, limit: int | None = None, max_bytes: int | None = None
    ) -> HistoryPage:
        """The group's kept messages, oldest first: those after `since`, or all.

        With `since`, the first `limit` messages, or so many as have `max_bytes` of payloads, at least one: who reads on
        from the last of each page gets all of them. Without, the newest.

        An engine with a server may have to ask it several times for what is long; each answer is due in `deadline`
        seconds.

        Checkpoint: always. Raises: EngineError.
        """

    @abstractmethod
    async def groups_with_history(self) -> list[str]:
        """The names of the groups that have kept messages. Checkpoint: always. Raises: EngineError."""

    @abstractmethod
    async def flush_history(self, group: str | None = None) -> None:
        """Forget one group's messages, or everybody's. Positions go on counting.

        Checkpoint: always. Raises: EngineError.
        """

    # Presence

    def renew(self, renewal: Renewal) -> Receipt:
        """Begin a node's lease anew, and do what it says. The receipt has no position. Raises: EngineError."""
        raise EngineError("this engine does not know who is present")

    async def presence(self, group: str) -> PresencePage:
        """Return who is present in a group. Checkpoint: always. Raises: EngineError."""
        await checkpoint()
        raise EngineError("this engine does not know who is present")

    # The other nodes

    @abstractmethod
    async def ask(self, request: bytes) -> list[bytes]:
        """Ask every other node's `answer`, and return what those said that did in time.

        Checkpoint: always. Raises: EngineError when nobody can be asked.
        """


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
