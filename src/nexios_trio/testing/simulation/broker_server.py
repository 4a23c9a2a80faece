"""The server that the engines of several nodes talk to, in virtual time, with what can happen to it and on the way.

A node has one link. What goes over it arrives in order, `latency` seconds later. A request has a number, and its answer
has the same one; between the answers come the messages of the groups that the link has subscribed to.
"""

from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any

import attrs
import trio

from ...core.message import Position
from ...core.message_codec import decode_message
from ...engines.memory import MemoryEngine
from ...engines.presence import PresencePage, Renewal
from ...pubsub.history import HistoryLimits

__all__ = ["Answer", "BrokerServer", "Delivery", "Event", "Link", "Question", "Reply", "Request"]


@attrs.frozen
class Request:
    """What a node asks: a method of `BrokerServer` whose name begins with `do_`."""

    number: int
    name: str
    args: tuple[Any, ...]


@attrs.frozen
class Answer:
    """To one request."""

    number: int
    value: Any


@attrs.frozen
class Delivery:
    """A message of a group that the link has subscribed to."""

    group: str
    data: bytes
    position: Position | None


@attrs.frozen
class Question:
    """Another node's `ask`; the request `reply` says what it is answered."""

    node: int
    number: int
    data: bytes


@attrs.frozen
class Reply:
    """To this node's `ask`."""

    number: int
    data: bytes


Event = Answer | Delivery | Question | Reply


class Link:
    """One node's connection to the broker. It never comes back: when it is lost, another one is opened."""

    def __init__(self, broker: "BrokerServer", node: int) -> None:
        self.node = node
        self.subscribed: set[str] = set()
        self.is_lost = False
        self.is_stalled = False  # nothing passes, and nobody is told
        self.loses_answers = False
        self.is_deaf = False  # deliveries are lost, and nobody is told
        self._broker = broker
        self._out: deque[tuple[float, Request]] = deque()  # with the time of arrival
        self._in: deque[tuple[float, Event]] = deque()
        self._news = trio.Event()

    def send(self, request: Request) -> None:
        """Let the broker have this, later."""
        self._out.append((trio.current_time() + self._broker.latency_of(self.node), request))
        self._news.set()

    def push(self, event: Event) -> None:
        """Let the node have this, later."""
        lost = (self.loses_answers and isinstance(event, Answer)) or (self.is_deaf and isinstance(event, Delivery))
        if not lost:
            self._in.append((trio.current_time() + self._broker.latency_of(self.node), event))
            self._news.set()

    def lose(self) -> None:
        """Break it; what is under way is gone."""
        self.is_lost = True
        self._out.clear()
        self._in.clear()
        self._broker.forget(self)
        self._news.set()

    def stall(self, is_stalled: bool) -> None:
        self.is_stalled = is_stalled
        self._news.set()

    async def run(self, receive: Callable[[Event], None]) -> None:
        """Let things arrive, until it is lost. Cancellation: it is lost."""
        try:
            while not self.is_lost:
                self._news = trio.Event()
                due = inf
                if not self.is_stalled:
                    self._arrive(receive)
                    due = min([queue[0][0] for queue in (self._out, self._in) if queue], default=inf)
                with trio.move_on_at(due):
                    await self._news.wait()
        finally:
            self.is_lost = True
            self._broker.forget(self)

    def _arrive(self, receive: Callable[[Event], None]) -> None:
        now = trio.current_time()
        while self._out and self._out[0][0] <= now:  # both are emptied when the link is lost
            self._broker.handle(self, self._out.popleft()[1])
        while self._in and self._in[0][0] <= now:
            receive(self._in.popleft()[1])


class BrokerServer:
    """Numbers, keeps and delivers.

    Args:
        latency: seconds that anything takes to it, or from it; twice as many for the second node, three times for the
            third, then again as for the first: what must not depend on who is quicker shows.
    """

    def __init__(self, latency: float = 0.0) -> None:
        self.latency = latency
        self.links: dict[Link, None] = {}
        self.refused: set[int] = set()  # nodes that find nobody
        self._store = self._make_store()

    def _make_store(self) -> MemoryEngine:
        store = MemoryEngine()
        store.attach(self._deliver)
        return store

    def latency_of(self, node: int) -> float:
        return self.latency * (1 + node % 3)

    def connect(self, node: int) -> Link | None:
        """Open a link; None when there is nobody."""
        if node in self.refused:
            return None
        link = Link(self, node)
        self.links[link] = None
        return link

    def forget(self, link: Link) -> None:
        self.links.pop(link, None)
        for group in link.subscribed:
            self._drop_if_unwatched(group)

    def restart(self, loses: int = 0) -> None:
        """Break every link, and forget the last `loses` messages of each group, and all receipts with them."""
        if loses:
            before, self._store = self._store, self._make_store()
            for group in list(before._logs):
                self._restore(group, before, loses)
        for link in list(self.links):
            link.lose()

    def _restore(self, group: str, before: MemoryEngine, loses: int) -> None:
        limits = HistoryLimits(max_bytes=2**30, overflow="trim")
        for message in before.history_nowait(group).messages[:-loses]:
            assert message.encoded is not None
            self._store.post(group, decode_message(message.encoded), keep=limits)

    # Requests

    def handle(self, link: Link, request: Request) -> None:
        value = getattr(self, f"do_{request.name}")(link, *request.args)
        link.push(Answer(request.number, value))

    def do_post(
        self, link: Link, group: str, data: bytes, keep: HistoryLimits | None, key: str | None
    ) -> tuple[Position | None, bool]:
        receipt = self._store.post(group, decode_message(data), keep=keep, key=key)
        return receipt.position, any(group in each.subscribed for each in self.links)

    def _deliver(self, group: str, message: Any) -> None:
        for link in list(self.links):
            if group in link.subscribed:
                link.push(Delivery(group, message.encoded, message.position))

    def do_watch(self, link: Link, group: str) -> Position | None:
        link.subscribed.add(group)
        return self._store.watch(group).position

    def do_unwatch(self, link: Link, group: str) -> None:
        link.subscribed.discard(group)
        self._drop_if_unwatched(group)

    def _drop_if_unwatched(self, group: str) -> None:
        if not any(group in link.subscribed for link in self.links):
            self._store.unwatch(group)

    def do_history(
        self, link: Link, group: str, since: Position | None, limit: int | None, max_bytes: int | None
    ) -> Any:
        page = self._store.history_nowait(group, since, limit=limit, max_bytes=max_bytes)
        rows = [(message.encoded, message.position) for message in page.messages]
        return rows, page.complete, page.top, page.has_more

    def do_tops(self, link: Link, groups: list[str]) -> dict[str, Position]:
        return {group: self._store.history_nowait(group, limit=0).top for group in groups}

    def do_groups_with_history(self, link: Link) -> list[str]:
        return self._store.groups_with_history_nowait()

    def do_flush_history(self, link: Link, group: str | None) -> None:
        self._store.flush_history_nowait(group)

    def do_renew(self, link: Link, renewal: Renewal) -> bool:
        return self._store.renew(renewal).error is None

    def do_presence(self, link: Link, group: str) -> PresencePage:
        return self._store.presence_nowait(group)

    def do_ask(self, link: Link, number: int, data: bytes) -> int:
        """Ask the others, whose replies go to whoever asked; how many they are."""
        others = [each for each in self.links if each is not link]
        for other in others:
            other.push(Question(link.node, number, data))
        return len(others)

    def do_reply(self, link: Link, node: int, question: int, data: bytes) -> None:
        for each in self.links:
            if each.node == node:
                each.push(Reply(question, data))
