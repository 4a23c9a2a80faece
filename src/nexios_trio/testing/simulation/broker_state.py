"""What an engine over a link remembers: posts on their way, and groups that it watches."""

from collections import deque

import attrs

from ...core.message import Position
from ...engines.base import HistoryLimits, Receipt
from .broker_server import Delivery

__all__ = ["Post", "Watch", "before_row", "is_ahead"]


@attrs.define(eq=False)
class Post:
    """A publish on its way."""

    group: str
    data: bytes
    keep: HistoryLimits | None
    key: str | None
    deadline: float
    receipt: Receipt = attrs.Factory(Receipt)
    is_sent: bool = False
    answer: tuple[Position | None, bool] | None = None  # whose message has not come back yet


@attrs.define(eq=False)
class Watch:
    """A group that this node watches."""

    group: str
    deadline: float
    receipt: Receipt = attrs.Factory(Receipt)
    position: Position | None = None  # of the last message that was delivered; None: the watch does not hold yet
    is_repairing: bool = False
    is_anew: bool = False  # a new epoch: looking for what was delivered of it, under its old number
    ids: deque[bytes] = attrs.Factory(lambda: deque(maxlen=1000))  # of messages that were delivered
    waiting: list[Delivery] = attrs.Factory(list)  # that came during a repair
    answered: deque[Post] = attrs.Factory(deque)


def before_row(rows: list[tuple[bytes, Position]], index: int, top: Position, has_more: bool) -> Position:
    """Return the position before that of the row; the top for no row at all."""
    if index == len(rows) and not has_more:
        return top
    return rows[index - 1][1] if index else Position(rows[0][1].offset - 1, rows[0][1].epoch)


def is_ahead(position: Position | None, seen: Position | None) -> bool:
    """Tell whether a position is one that has not been seen: of another epoch, too."""
    if position is None or seen is None:
        return False
    return position.epoch != seen.epoch or position.offset > seen.offset
