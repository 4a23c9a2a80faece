"""What must not be there any more once its connection is over."""

import gc
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import trio

from ...channels.channel import Channel
from ...channels.registry import ChannelRegistry
from ..errors import Unmet
from ..internals import box_of, extensions_of, groups_of, members_of
from ..servers.table import Server
from ..simulation.node import Node
from .delivery import MARK
from .stacks import where

__all__ = ["LeakBaseline", "check_none", "leaks_of"]


class LeakBaseline:
    """Which objects have come into being since it began, and are alive.

    While it is taken the collector runs only when told to: finalizers at unpredictable moments would change the order
    of tasks. What was there before is frozen, so that looking around costs little.
    """

    def __init__(self) -> None:
        self._registries: list[ChannelRegistry] = []  # from before
        self._is_taken = False
        self._usual = 0

    @contextmanager
    def taken(self, *, counting: bool) -> Generator[None]:
        collects, freezes = gc.isenabled(), counting and not gc.get_freeze_count()
        gc.disable()
        self._is_taken = freezes
        try:
            if freezes:
                gc.collect()
                self._registries = [each for each in gc.get_objects() if isinstance(each, ChannelRegistry)]
                gc.freeze()
            yield
        finally:
            self._registries = []
            if freezes:
                gc.unfreeze()
            if collects:
                gc.enable()

    def begin(self) -> None:
        """Take what is there now for usual, until `end`."""
        self._usual = self._count()

    def end(self) -> None:
        """From now on nothing new may be there."""
        self._usual = 0

    def memory_channels(self) -> int:
        """Count the trio memory channels that are alive beyond the usual ones, the kit's own left out."""
        return max(0, self._count() - self._usual)

    def registries(self) -> list[ChannelRegistry]:
        new = [each for each in gc.get_objects() if type(each) is ChannelRegistry] if self._is_taken else []
        return self._registries + new

    def _count(self) -> int:
        if not self._is_taken:
            return 0
        gc.collect()
        kinds = [type(each) for each in gc.get_objects()]
        return kinds.count(trio.MemoryReceiveChannel) - sum(issubclass(kind, Server) for kind in kinds)


def check_none(expected: str, problems: list[str]) -> None:
    """Raises: Unmet, with the first ten problems."""
    if problems:
        shown = problems[:10] + [f"and {len(problems) - 10} more"] * (len(problems) > 10)
        raise Unmet(expected, "\n".join(shown))


def leaks_of(node: Node, baseline: LeakBaseline) -> Iterator[str]:
    """One text for each thing that a connection has left behind on this server."""
    for client, task in node.clients.items():
        if client.end is not None and task is not None:
            yield f"the connection of {client} is over, and its handler still runs, at\n{where(task)}"
    for task in node.extra_tasks():
        yield f"task {task.name} runs on {node.name}, outside of every connection, at\n{where(task)}"
    alive = {id(client.scope["extensions"].get(MARK)) for client in node.clients}
    for channel, where_it_is in _channels(node.app, baseline):
        record = extensions_of(channel).get(MARK)
        if record is not None and id(record) not in alive:
            yield f"{channel} of {record.name} is still {where_it_is}, and its connection is over"


def _channels(app: Any, baseline: LeakBaseline) -> Iterator[tuple[Channel, str]]:
    """Every channel that something of the application still holds, and what that is."""
    box = box_of(app)
    if box is not None:
        yield from ((channel, "known to the box") for channel in box.channels())
        for name in groups_of(box):
            yield from ((channel, f"a member of group {name!r}") for channel in members_of(box, name))
    for registry in baseline.registries():
        yield from ((channel, "in a ChannelRegistry") for channel in registry._channels.values())
