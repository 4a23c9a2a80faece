"""What must not be there any more once its connection is over."""

import gc
from collections.abc import Iterable, Iterator
from typing import Any

import trio

from ..websockets.channel import Channel
from ..websockets.registry import ChannelRegistry
from .inside import box_of, extensions_of, groups_of, members_of
from .node import Node
from .servers import Server
from .stacks import where
from .witness import MARK

__all__ = ["count_memory_channels", "leaks_of"]


def leaks_of(node: Node) -> Iterator[str]:
    """One text for each thing that a connection has left behind on this server."""
    for client, task in node.clients.items():
        if client.end is not None and task is not None:
            yield f"the connection of {client} is over, and its handler still runs, at\n{where(task)}"
    for task in node.extra_tasks():
        yield f"task {task.name} runs on {node.name}, outside of every connection, at\n{where(task)}"
    alive = {id(client.scope["extensions"].get(MARK)) for client in node.clients}
    for channel, where_it_is in _channels(node.app):
        record = extensions_of(channel).get(MARK)
        if record is not None and id(record) not in alive:
            yield f"{channel} of {record.name} is still {where_it_is}, and its connection is over"


def _channels(app: Any) -> Iterator[tuple[Channel, str]]:
    """Every channel that something of the application still holds, and what that is."""
    box = box_of(app)
    if box is not None:
        yield from ((channel, "known to the box") for channel in box.channels())
        for name in groups_of(box):
            yield from ((channel, f"a member of group {name!r}") for channel in members_of(box, name))
    for registry in _instances(ChannelRegistry):
        yield from ((channel, "in a ChannelRegistry") for channel in registry._channels.values())


def _instances(kind: type) -> Iterable[Any]:
    return [each for each in gc.get_objects() if type(each) is kind]


def count_memory_channels() -> int:
    """Receiving ends of trio memory channels that are alive and not the kit's own."""
    gc.collect()
    kinds = [type(each) for each in gc.get_objects()]
    servers = set(_subclasses(Server))
    return kinds.count(trio.MemoryReceiveChannel) - sum(kind in servers for kind in kinds)


def _subclasses(kind: type) -> Iterator[type]:
    yield kind
    each: type
    for each in kind.__subclasses__():
        yield from _subclasses(each)
