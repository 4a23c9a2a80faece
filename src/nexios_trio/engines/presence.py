"""Who is present in groups, as a box and its engine speak of it.

What changes in a group is a message of another one, whose name no group of users can have: so its numbering, what is
done about holes, and how it reaches the nodes that watch it is as for every message. Nobody keeps it: who has a hole
reads all, and compares.
"""

from typing import Any, Final

import attrs

from ..core.message import Message, Position
from ..core.message_codec import encode_message
from ..exceptions import EngineError
from ..pubsub.presence import PresenceEdit, PresenceEvent, PresentClient, Renewal

__all__ = [
    "LeaseLost",
    "PresenceEdit",
    "PresenceEvent",
    "PresencePage",
    "PresentClient",
    "Renewal",
    "event_message",
    "group_of_events",
    "presence_group",
    "read_event",
]

PREFIX: Final = "$presence:"
KINDS: Final = ("joined", "left", "updated")


class LeaseLost(EngineError):
    """The lease of a node's incarnation is over: what it held has left, and it has to begin as a new one."""


@attrs.frozen
class PresencePage:
    """Who is present in a group.

    Args:
        version: the position of the last event that this includes.
    """

    version: Position
    clients: tuple[PresentClient, ...]


def presence_group(group: str) -> str:
    """Return the name of the group whose messages are the events of `group`."""
    return PREFIX + group


def group_of_events(name: str) -> str | None:
    """Return the group whose events are the messages of this one; None for a group of another kind."""
    return name.removeprefix(PREFIX) if name.startswith(PREFIX) else None


def event_message(event: PresenceEvent, created: float) -> Message:
    """Return an event as a message, encoded."""
    message = Message([event.kind, event.user, event.client, event.info], created)
    encode_message(message)
    return message


def read_event(message: Message) -> PresenceEvent:
    """Return the event that a message is. Raises: ValueError for what a newer release says."""
    payload: Any = message.payload
    if not isinstance(payload, list) or len(payload) < 4 or payload[0] not in KINDS:
        raise ValueError(f"no event of a group: {payload!r:.100}")
    kind, user, client, info = payload[:4]
    return PresenceEvent(kind, user, client, info)
