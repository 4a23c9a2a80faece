"""What can go wrong in a virtual world with a server, and with what servers share."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

import trio

from ...engines.base import Engine
from ..internals import box_of
from .broker import Broker, broker_of
from .node import Node
from .timeline import Timeline

__all__ = ["Faults"]


class Faults:
    """The part of a `World` that breaks things."""

    nodes: list[Node]
    timeline: Timeline
    _start_soon: Callable[..., None]

    def cut(self, node: int = 0) -> None:
        """Unplug a server: nothing arrives at it and nothing leaves it, and nobody is told, until `heal`."""
        self.timeline.note(self.nodes[node].name, "is cut off")
        self.nodes[node].cut(True)

    def heal(self, node: int = 0) -> None:
        """End `cut`: what was sent meanwhile arrives, and clients that were cut off one by one are so no more."""
        self.timeline.note(self.nodes[node].name, "is connected again")
        self.nodes[node].cut(False)

    def cut_engine(self, node: int, seconds: float) -> None:
        """Cut a server's link to the engine that all share; clients stay connected to it.

        What it posts waits, and is published when the link is back; what waits for longer than the engine's `deadline`
        fails with an `EngineError`, and is not published. Joins of new groups, resumes and questions about the history
        wait likewise. What others post comes in order, without a gap if it was kept, when the link is back.

        Args:
            seconds: until the link is back.
        Raises: ValueError; TypeError when the server's engine is none of a `Broker`.
        """
        engine, broker = self._shared(node, seconds)
        self.timeline.note(self.nodes[node].name, "has no link to the engine", seconds)
        self._hold(broker.cut_off(engine), seconds)

    def stall_node(self, node: int, seconds: float) -> None:
        """Let nothing pass between a server and the engine that all share, and tell nobody; then all of it, in order.

        What the server posts meanwhile is published late; what waits for longer than the engine's `deadline` fails with
        an `EngineError` whose `maybe_published` is True, and is published all the same.

        Args:
            seconds: until it is given its backlog.
        Raises: ValueError; TypeError when the server's engine is none of a `Broker`.
        """
        engine, broker = self._shared(node, seconds)
        self.timeline.note(self.nodes[node].name, "hears late from the engine", seconds)
        self._hold(broker.stalled(engine), seconds)

    def lose_tail(self, count: int) -> None:
        """Let the engine that all share forget the last `count` messages of each group, and begin a new epoch.

        The links to it break, and are back in an instant. The servers that watch a group are told of a gap; positions
        from before are void, so that who resumes from one is told that it has not recovered. Older messages are still
        in the history.

        Args:
            count: of messages, at least 1.
        Raises: ValueError; TypeError when the servers' engine is none of a `Broker`.
        """
        _, broker = self._shared(0)
        if count < 1:
            raise ValueError(f"1 or more messages can be lost, not {count!r}")
        self.timeline.note("engine", "loses messages", count)
        broker.restart(loses=count)

    def _hold(self, fault: AbstractContextManager[None], seconds: float) -> None:
        """Begin it now, and end it later."""
        block = ExitStack()
        block.enter_context(fault)
        self._start_soon(_end, block, trio.current_time() + seconds)

    def _shared(self, node: int, seconds: float = 0.0) -> tuple[Engine, Broker]:
        if not seconds >= 0:
            raise ValueError(f"seconds are 0 or more, not {seconds!r}")
        box = box_of(self.nodes[node].app)
        broker = None if box is None else broker_of(box.engine)
        if box is None or broker is None:
            engine = "no box" if box is None else type(box.engine).__name__
            raise TypeError(
                f"{self.nodes[node].name} has {engine}, which shares nothing: let World(make=..., nodes=2) give its box"
                " an engine, or give it one yourself, ChannelBox(Broker().engine())"
            )
        return box.engine, broker


async def _end(block: ExitStack, when: float) -> None:
    with block:
        await trio.sleep_until(when)
