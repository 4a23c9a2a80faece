"""All that the kit knows of the inside of channels and boxes, in one place."""

from collections.abc import Callable
from typing import Any

import trio

from ..channels.channel import Channel
from ..core.message import Frame, Message
from ..engines.base import Deliver
from ..engines.memory import MemoryEngine
from ..groups.box import ChannelBox
from ..pubsub.index import Removed
from ..transports.send_queue import DeliveryCounts

__all__ = [
    "counts_of",
    "extensions_of",
    "forget_histories",
    "frame_for",
    "has_ended",
    "members_of",
    "overrides_send",
    "see_deliveries",
    "see_memberships",
]


See = Callable[[Channel, str], None]  # of a channel and a group


def box_of(app: Any) -> ChannelBox | None:
    """The box of one of our applications."""
    box = getattr(app, "box", None)
    return box if isinstance(box, ChannelBox) else None


def forget_histories(app: Any) -> None:
    """Take from one of our applications, where nobody is connected to it, what it has kept in memory."""
    box = box_of(app)
    if box is not None and isinstance(box.engine, MemoryEngine) and not box.channels():
        box.engine.flush_history_nowait()


def see_deliveries(box: ChannelBox, see: Deliver) -> None:
    """Call `see` with every message right before the members of its group are given it. The last call holds."""
    if box.engine.is_local:

        def deliver(group: str, message: Message) -> None:
            message.group = group
            see(group, message)
            box.broadcaster.deliver(group, message)

        box.engine.attach(deliver)
        return

    def deliver_from_elsewhere(group: str, message: Message) -> None:
        box.timers.fire_due(trio.current_time())
        message.group = group
        see(group, message)
        box._deliver_from_elsewhere(group, message)

    box.engine.attach(deliver_from_elsewhere, box._gap, box._answer)


def groups_of(box: ChannelBox) -> list[str]:
    return [group.name for group in box._index]


def members_of(box: ChannelBox, group: str) -> list[Channel]:
    """The members, in joining order."""
    found = box._index.groups.get(group)
    return list(found.members) if found is not None else []


def see_memberships(box: ChannelBox, joined: See, left: See) -> None:
    """Call these with each channel and group, right after it has joined, or left."""
    index = box._index
    add, remove = index.add, index.remove

    def see_add(member: Channel, name: str, *details: Any) -> bool:
        is_member = name in index.of.get(member, ())
        is_new = add(member, name, *details)
        if not is_member:
            joined(member, name)
        return is_new

    def see_remove(member: Channel, name: str) -> Removed:
        removed = remove(member, name)
        if removed in (Removed.MEMBER, Removed.GROUP):
            left(member, name)
        return removed

    replaced: Any = index
    replaced.add, replaced.remove = see_add, see_remove


def extensions_of(channel: Channel) -> dict[str, Any]:
    """`extensions` of the ASGI scope of the channel's connection."""
    extensions: dict[str, Any] = channel._session.transport.scope.get("extensions") or {}
    return extensions


def has_ended(channel: Channel) -> bool:
    """Either side has closed."""
    return channel._session.transport.end is not None


def counts_of(channel: Channel) -> DeliveryCounts:
    return channel._session.transport.counts


def frame_for(channel: Channel, message: Message) -> Frame:
    """A group message as it is written to this channel's peer."""
    return message.frame(channel.receiver()[1])


def overrides_send(channel: Channel) -> bool:
    """Group messages go through a method of the user's."""
    return channel.receiver()[0] is not channel._session.transport
