"""Sees what each member of a group is owed, and whether its client got that, in order and without a gap.

It stands between a box and its engine, where every group message of a node passes exactly once, and notes the message
for each member of that moment. On the client's side each message that arrives is struck off. What must hold: a client
is given the messages that it is owed in their order. The end of its connection may cut off the last ones; nothing
may be missing in between.

Not watched: members whose class overrides `send`, since only they know what they write; and members that lost messages
to a dropping policy, which the user chose.
"""

from collections import deque

import attrs
import trio

from ...channels.channel import Channel
from ...core.message import Message
from ...groups.box import ChannelBox
from ...transports.send_queue import DeliveryCounts
from ..internals import counts_of, extensions_of, frame_for, has_ended, members_of, overrides_send, see_deliveries

__all__ = ["MARK", "DeliveryObserver", "Record"]

MARK = "nexios_trio.testing"  # in `scope["extensions"]`: the record of the connection


@attrs.define
class Record:
    """One connection: what it is owed and has not yet got."""

    name: str
    owed: deque[tuple[str, int, bool, bytes]] = attrs.Factory(deque)  # group, offset, is it text, payload
    owed_since: deque[float] = attrs.Factory(deque)  # of each of these, seconds of trio's clock
    ahead: tuple[str, int] | None = None  # what came although something before it had not
    is_excused: bool = False
    counts: DeliveryCounts | None = None

    def got(self, data: str | bytes) -> None:
        """The client was given a message: a group's, or another."""
        if not self.owed:
            return
        is_text = isinstance(data, str)
        payload = data.encode() if isinstance(data, str) else data
        if self.owed[0][2:] == (is_text, payload):
            self.owed.popleft()
            self.owed_since.popleft()
            self.ahead = None
        elif self.ahead is None:
            self.ahead = next(((g, n) for g, n, text, p in self.owed if (text, p) == (is_text, payload)), None)

    def problem(self, due: float) -> str | None:
        """Return what the client missed, if it missed anything.

        Args:
            due: what it is owed since then, or for longer, must be there; -inf for a connection that is over.
        """
        if not self.owed or self.is_excused or self._has_dropped():
            return None
        group, offset, _, payload = self.owed[0]
        missed = f"{self.name} was not given message {offset} of group {group!r}, {payload[:80]!r}"
        if self.ahead is not None:
            return f"{missed}, but it was given message {self.ahead[1]} of group {self.ahead[0]!r}"
        if self.owed_since[0] <= due:
            return f"{missed} ({len(self.owed)} in all are missing), and its connection is open"
        return None

    def _has_dropped(self) -> bool:
        counts = self.counts
        return counts is not None and bool(counts.dropped_oldest or counts.dropped_latest or counts.replaced)


class DeliveryObserver:
    """Watches the boxes of some nodes."""

    def __init__(self) -> None:
        self.deliveries = 0

    def watch(self, box: ChannelBox) -> None:
        """See every message from now on that the box's engine delivers to it."""

        def see(group: str, message: Message) -> None:
            for channel in members_of(box, group):
                self._note(channel, group, message)

        see_deliveries(box, see)

    def _note(self, channel: Channel, group: str, message: Message) -> None:
        record: Record | None = extensions_of(channel).get(MARK)
        if record is None or has_ended(channel) or channel.uuid in message.excluded:
            return
        frame = frame_for(channel, message)
        position = message.position.offset if message.position is not None else 0
        record.is_excused = record.is_excused or overrides_send(channel)
        record.counts = counts_of(channel)
        record.owed.append((group, position, frame.text, frame.payload))
        record.owed_since.append(trio.current_time())
        self.deliveries += 1
