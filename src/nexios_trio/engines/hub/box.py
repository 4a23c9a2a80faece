"""What the boxes of one name share, one in each worker: the numbering of their groups, what they keep, who watches."""

from collections.abc import Callable
from itertools import count
from typing import Final, Protocol, cast

import attrs
import trio

from ...core.message import Message, Position
from ...core.message_codec import VERSION
from ...pubsub.history import HistoryLimits
from ..base import Receipt
from ..memory import MemoryEngine
from ..presence import Renewal
from .bodies import pack_answer, pack_position
from .frames import WATCHED, Kind, frame

__all__ = ["PassingMessage", "SharedBox", "Watcher"]

SILENCE_SECONDS: Final = 1.0  # without an answer, and a worker is not asked until it has answered


class Watcher(Protocol):
    """A worker, as far as a box gives it something."""

    @property
    def is_full(self) -> bool:
        """It has so much to take that it gets no more than it has to."""
        ...

    def put(self, frame: bytes) -> None:
        """Queue a frame."""
        ...

    def give(self, box: "SharedBox", group: str, position: Position | None, frame: bytes) -> None:
        """Queue a message that another one has published."""
        ...

    def give_back(self, box: "SharedBox", group: str, position: Position | None, number: int) -> None:
        """Tell it where the message stands that it has published itself, and that it is to deliver it now."""
        ...


@attrs.define(eq=False)
class PassingMessage:
    """A message, as far as somebody has to know it who only numbers and keeps it."""

    encoded: bytes
    is_transient: bool
    position: Position | None = None

    @property
    def can_be_kept(self) -> bool:
        """Tell whether a history can read its size. One of another version passes all the same."""
        return self.encoded[0] == VERSION


@attrs.define(eq=False)
class _Ask:
    """A question of a worker's, and who has not answered."""

    asker: Watcher
    number: int
    waiting: set[Watcher]

    def tell(self, answer: bytes | None) -> None:
        self.asker.put(frame(Kind.ANSWERED, self.number, 0, "", *pack_answer(len(self.waiting), answer)))


class SharedBox:
    """Owned by the hub.

    Args:
        number: what frames call it.
        on_due: called with the time at which a presence ends by itself, when that has changed: `trio.current_time()`.
    """

    def __init__(self, number: int, on_due: Callable[[float], None]) -> None:
        self.number = number
        self._on_due = on_due
        self.engine = MemoryEngine()
        self.engine.attach(self._deliver)
        self._nodes: dict[Watcher, set[str]] = {}  # and the groups that each of them watches
        self._watching: dict[str, dict[Watcher, None]] = {}
        self._sender: Watcher | None = None  # who publishes at this moment
        self._number = 0  # of that
        self._is_delivered = False  # to the sender
        self._asks: dict[int, _Ask] = {}
        self._ask_numbers = count(1)
        self._incarnations: dict[Watcher, str] = {}  # in whose name each of them says who is present by way of it
        self._asked_at: dict[Watcher, float] = {}  # who has not answered since: `trio.current_time()`

    def join(self, node: Watcher) -> None:
        """Have a worker take part, which has a box of this name."""
        self._nodes[node] = set()

    def leave(self, node: Watcher) -> None:
        """Forget a worker that has no box of this name any more, or is gone."""
        for group in list(self._nodes.get(node, ())):
            self.unwatch(node, group)
        self._nodes.pop(node, None)
        incarnation = self._incarnations.pop(node, None)
        if incarnation is not None:
            self._sender = None
            self.engine.present.end(incarnation, self.engine.clock())
            self._on_due(self.engine.present.due())
        self._asked_at.pop(node, None)
        for number, ask in list(self._asks.items()):
            if ask.asker is node:
                del self._asks[number]
            else:
                self._answered(node, number, None)

    # Messages

    def post(
        self,
        node: Watcher,
        number: int,
        group: str,
        message: PassingMessage,
        keep: HistoryLimits | None,
        key: str | None,
    ) -> None:
        """Number a message, keep it, give it to whoever watches the group, and answer the worker that publishes it."""
        self._sender, self._number, self._is_delivered = node, number, False
        if keep is not None and not message.can_be_kept:
            keep = None
        receipt = self.engine.post(group, cast(Message, message), keep=keep, key=key)
        if not self._is_delivered:
            flags = bytes((WATCHED if receipt.is_watched else 0,))
            node.put(frame(Kind.POSTED, number, self.number, group, flags, pack_position(receipt.position)))

    def _deliver(self, group: str, message: Message) -> None:
        passed: bytes | None = None
        for node in self._watching.get(group, ()):
            if node is self._sender:
                self._is_delivered = True
                node.give_back(self, group, message.position, self._number)
                continue
            if passed is None:
                encoded = cast(bytes, message.encoded)
                passed = frame(Kind.MESSAGE, 0, self.number, group, pack_position(message.position), encoded)
            node.give(self, group, message.position, passed)

    def watch(self, node: Watcher, group: str) -> Receipt:
        """Give a worker the group's messages from now on."""
        self._watching.setdefault(group, {})[node] = None
        self._nodes[node].add(group)
        return self.engine.watch(group)

    def unwatch(self, node: Watcher, group: str) -> None:
        """Give it to a worker no longer; a no-op for one that does not watch."""
        groups = self._nodes.get(node)
        if groups is None or group not in groups:
            return
        groups.remove(group)
        watching = self._watching[group]
        del watching[node]
        if not watching:
            del self._watching[group]
            self.engine.unwatch(group)

    # Presence

    def renew(self, node: Watcher, renewal: Renewal) -> bool:
        """Do what a worker says of those who are present by way of it. Returns False when its lease was over."""
        self._sender = None  # what is told of them is nobody's message
        self._incarnations[node] = renewal.node
        receipt = self.engine.renew(renewal)
        self._on_due(self.engine.present.due())
        return receipt.error is None

    def reap(self) -> float:
        """Tell who has left. Returns in how many seconds there is more to do."""
        self._sender = None
        now = self.engine.clock()
        self.engine.present.reap(now)
        return self.engine.present.due() - now

    # Questions

    def ask(self, node: Watcher, number: int, request: bytes) -> None:
        """Hand a question of one worker's to all others. Who does not answer does not count."""
        now = trio.current_time()
        since = [(other, self._asked_at.get(other, now)) for other in self._nodes if other is not node]
        others = {other for other, at in since if not other.is_full and now - at < SILENCE_SECONDS}
        ask = _Ask(node, number, others)
        if not others:
            ask.tell(None)
            return
        ask_number = next(self._ask_numbers) & 0xFFFF_FFFF
        self._asks[ask_number] = ask
        for other in others:
            self._asked_at.setdefault(other, now)
            other.put(frame(Kind.ASKED, ask_number, self.number, "", request))

    def answer(self, node: Watcher, number: int, answer: bytes) -> None:
        """Hand an answer to the worker that has asked."""
        self._asked_at.pop(node, None)
        self._answered(node, number, answer)

    def _answered(self, node: Watcher, number: int, answer: bytes | None) -> None:
        ask = self._asks.get(number)
        if ask is None or node not in ask.waiting:
            return
        ask.waiting.remove(node)
        if not ask.waiting:
            del self._asks[number]
        ask.tell(answer)
