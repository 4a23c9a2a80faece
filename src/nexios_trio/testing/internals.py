"""All that the kit knows of the inside of channels and boxes, in one place."""

from typing import Any

from ..channels.channel import Channel
from ..core.message import Frame, Message
from ..engines.base import Deliver
from ..groups.box import ChannelBox
from ..transports.send_queue import DeliveryCounts

__all__ = ["counts_of", "deliver_of", "extensions_of", "frame_for", "has_ended", "members_of", "overrides_send"]


def box_of(app: Any) -> ChannelBox | None:
    """The box of one of our applications."""
    box = getattr(app, "box", None)
    return box if isinstance(box, ChannelBox) else None


def deliver_of(box: ChannelBox) -> Deliver:
    """Return what the engine gives its messages to."""
    return box.broadcaster.deliver


def groups_of(box: ChannelBox) -> list[str]:
    return [group.name for group in box._index]


def members_of(box: ChannelBox, group: str) -> list[Channel]:
    """The members, in joining order."""
    found = box._index.groups.get(group)
    return list(found.members) if found is not None else []


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
    return message.frame(channel._frame_index)


def overrides_send(channel: Channel) -> bool:
    """Group messages go through a method of the user's."""
    return channel._has_override
