"""Who is told that a group's members were given what was pending: metrics, for one message in so many, and traces."""

import logging
from collections.abc import Callable
from typing import Any

import attrs

from ..core.message import Batch
from ..pubsub.group import Group

__all__ = ["FlushWatch", "OnFlushed"]

logger = logging.getLogger("nexios_trio.fanout")

OnFlushed = Callable[[Group[Any], Batch], None]


@attrs.define
class FlushWatch:
    """One of them. A broadcaster compares `due` with what it counts, and calls nobody before.

    Args:
        period: messages.
        due: how many messages groups with members had, ever, when it is told next.
    """

    period: int
    on_flushed: OnFlushed
    due: int

    def tell(self, group: Group[Any], batch: Batch, delivered: int) -> None:
        """Call it if it is due. Its errors are logged: what it looks at goes on."""
        if delivered < self.due or not batch.messages:
            return
        self.due = delivered + self.period
        try:
            self.on_flushed(group, batch)
        except Exception:
            logger.exception("what watches deliveries failed")
