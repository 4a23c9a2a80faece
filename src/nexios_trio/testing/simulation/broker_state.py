"""What an engine over a link remembers: posts on their way, and groups that it watches."""

from collections import deque

import attrs

from ...core.message import Position
from ...engines.base import HistoryLimits, Receipt
from .broker_server import Delivery

__all__ = ["Post", "Watch"]


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
    waiting: list[Delivery] = attrs.Factory(list)  # that came during a repair
    answered: deque[Post] = attrs.Factory(deque)
