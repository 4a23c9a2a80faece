"""Cancel tasks that shield themselves, when the time for that is over."""

import logging
from typing import Any

import trio

__all__ = ["lift_shields"]

logger = logging.getLogger("nexios_trio.server")


def lift_shields(nursery: trio.Nursery) -> None:
    """Let a cancellation of `nursery` reach the tasks in it that have shielded themselves, and say which they were.

    Trio has no way to do that in public. Where its insides are not what we know, they are waited for.
    """
    for task in nursery.child_tasks:
        if _lift_shields_of(task, getattr(nursery, "_cancel_status", None)):
            logger.error("%s shielded itself from being cancelled, longer than drain_timeout allows", task.name)
        for inner in task.child_nurseries:
            lift_shields(inner)


def _lift_shields_of(task: trio.lowlevel.Task, outermost: Any) -> bool:
    status: Any = getattr(task, "_cancel_status", None)
    has_lifted = False
    while status is not None and status is not outermost:
        scope = getattr(status, "_scope", None)
        if isinstance(scope, trio.CancelScope) and scope.shield:
            scope.shield = False
            has_lifted = True
        status = getattr(status, "_parent", None)
    return has_lifted
