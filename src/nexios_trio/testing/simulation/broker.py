"""Several nodes and one engine, in one process: what a message broker is to several servers."""

import weakref
from collections.abc import Generator
from contextlib import contextmanager
from typing import ClassVar

from ...engines.base import Engine
from .broker_engine import BrokerEngine
from .broker_server import BrokerServer, Link

__all__ = ["Broker", "broker_of"]


class Broker:
    """Makes engines that share groups and history: each of them is a node, numbered from 0 as they are made.

    A message reaches every node that watches its group, in the same order. What may happen on the way is a block, or a
    call, at any time.

    Args:
        latency: seconds that anything takes between the first node and what all share; twice as many for the second
            node, three times for the third, then again as for the first.
    """

    _broker_type: ClassVar[type[BrokerServer]] = BrokerServer
    _engine_type: ClassVar[type[BrokerEngine]] = BrokerEngine

    def __init__(self, latency: float = 0.0) -> None:
        self._broker = self._broker_type(latency)
        self._numbers: dict[Engine, int] = {}

    def engine(self) -> Engine:
        """One node's engine, for its `ChannelBox(engine=...)`."""
        number = len(self._numbers)
        engine = self._engine_type(self._broker, number)
        self._numbers[engine] = number
        _brokers[engine] = self
        return engine

    # Faults

    @contextmanager
    def cut_off(self, engine: Engine) -> Generator[None]:
        """The node's link is lost, and it finds nobody until the end of the block."""
        self._broker.refused.add(self._numbers[engine])
        for link in self._links(engine):
            link.lose()
        try:
            yield
        finally:
            self._broker.refused.discard(self._numbers[engine])

    @contextmanager
    def stalled(self, engine: Engine) -> Generator[None]:
        """Nothing passes over the node's link until the end of the block, and nobody is told."""
        links = self._links(engine)
        for link in links:
            link.stall(True)
        try:
            yield
        finally:
            for link in links:
                link.stall(False)

    @contextmanager
    def losing_answers(self, engine: Engine) -> Generator[None]:
        """Do what the node asks for, and lose the answers; at the end of the block, the link too."""
        links = self._links(engine)
        for link in links:
            link.loses_answers = True
        try:
            yield
        finally:
            for link in links:
                link.lose()

    @contextmanager
    def deaf(self, engine: Engine) -> Generator[None]:
        """Messages to the node are lost, and nobody is told, until the end of the block."""
        links = self._links(engine)
        for link in links:
            link.is_deaf = True
        try:
            yield
        finally:
            for link in links:
                link.is_deaf = False

    def restart(self, *, loses: int = 0) -> None:
        """Break all links, and forget the last `loses` messages of each group, as one does that wrote them too late."""
        self._broker.restart(loses)

    def _links(self, engine: Engine) -> list[Link]:
        return [link for link in self._broker.links if link.node == self._numbers[engine]]


_brokers: "weakref.WeakKeyDictionary[Engine, Broker]" = weakref.WeakKeyDictionary()


def broker_of(engine: Engine) -> Broker | None:
    """Return the broker that has made the engine."""
    return _brokers.get(engine)
