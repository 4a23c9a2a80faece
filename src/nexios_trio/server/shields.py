"""Tasks that go on when the time for a stop is over: say where they stand, and cancel those that shield themselves."""

import logging
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

import trio

from ..logs.tracebacks import CALLERS
from .task_stacks import Stack, fields_of, stack_of_task, tasks_below, waits_for_thread

__all__ = ["end_shielded", "log_tasks", "log_with_stack"]

logger = logging.getLogger("nexios_trio.server")

STACKS_SHOWN: Final = 20
UNWINDING_PASSES: Final = 10  # in which tasks end that were cancelled just now


async def end_shielded(nursery: trio.Nursery, what: str) -> int:
    """Let a cancellation of `nursery` reach the tasks in it that have shielded themselves.

    Says where each of them stands, and each that waits for a thread; once where many stand at the same place.

    Trio has no way to do that in public. Where its insides are not what we know, they are waited for.

    Cancellation: shielded.
    Args:
        what: what they have not done, in words.
    Returns: how many of them stand in code of the user's.
    """
    for _ in range(UNWINDING_PASSES):
        await trio.lowlevel.cancel_shielded_checkpoint()
    outermost = getattr(nursery, "_cancel_status", None)
    found = [(why, task) for task in tuple(tasks_below(nursery)) if (why := _why_it_goes_on(task, outermost))]
    return log_tasks(logging.ERROR, [(f"{what}: {why}", task) for why, task in found])


def log_tasks(level: int, tasks: Iterable[tuple[str, trio.lowlevel.Task]]) -> int:
    """Log where tasks stand in the user's code, and what is said of each; where several stand at the same place, once.

    Returns: how many stand in the user's code; the others, which are our own, are bounded.
    """
    found: Counter[tuple[str, Stack]] = Counter()
    fields: dict[tuple[str, Stack], dict[str, Any]] = {}
    for text, task in tasks:
        stack = stack_of_task(task)
        if stack.spot is not None:
            found[text, stack] += 1
            name = None if task.name.partition(".")[0] in CALLERS else task.name
            fields.setdefault((text, stack), {"task": name, **fields_of(task)})
    for (text, stack), count in found.most_common(STACKS_SHOWN):
        who, more = ("a task", {}) if count == 1 else (f"{count} tasks", {"tasks": count})
        log_with_stack(level, f"{who} {text}", stack, {**fields[text, stack], **more})
    return found.total()


def _why_it_goes_on(task: trio.lowlevel.Task, outermost: Any) -> str:
    has_lifted = _lift_shields_of(task, outermost)
    if waits_for_thread(task):
        return "it waits for a thread, which nothing can stop; abandon_on_cancel=True lets go of one"
    return "it shields itself from cancellation, and is cancelled all the same" if has_lifted else ""


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


def log_with_stack(level: int, message: str, stack: Stack, fields: dict[str, Any]) -> None:
    """Log a record of which `stack` is the stack."""
    if logger.isEnabledFor(level):
        name, text = logger.name, stack.text or None
        logger.handle(logger.makeRecord(name, level, __file__, 0, message, (), None, None, fields, text))
