"""Members that a burst must not overflow: a publisher lets their writers get on."""

from typing import Any

import trio
from trio.lowlevel import cancel_shielded_checkpoint

from ..pubsub.group import Group

__all__ = ["wait_for_writers"]

PASSES_PER_LOOK = 8  # in which a writer that can go on takes at least one message
MAX_LOOKS = 16
MAX_WAIT_SECONDS = 0.005  # of one publisher, for all slow members together


async def wait_for_writers(group: Group[Any]) -> None:
    """Let writers that have much queued get on, or a burst would overflow outboxes of peers that keep up.

    Waits for no peer: it is over when those writers stand still, when the caller is cancelled, and after
    `MAX_WAIT_SECONDS` in any case.

    Checkpoint: always, but not one of cancellation: what was published is published.
    """
    deadline = trio.current_time() + MAX_WAIT_SECONDS
    for _ in range(MAX_LOOKS):
        high = [(backlog, backlog.taken) for backlog in group.backlogs if backlog.is_high]
        if not high:
            group.backlogs.clear()
            return
        for _ in range(PASSES_PER_LOOK):
            await cancel_shielded_checkpoint()
            now = trio.current_time()
            if now >= deadline or trio.current_effective_deadline() <= now:
                return
        if all(backlog.taken == taken for backlog, taken in high):
            return
