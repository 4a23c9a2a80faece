"""Where tasks stand and how an exception came about, in the words of the source that they are in."""

import contextlib
import linecache
import traceback
import types
from collections.abc import Iterator
from pathlib import Path

import outcome
import trio

from ...logs.tracebacks import is_callers_file

__all__ = ["all_tasks", "is_users", "stack", "subtree", "trail", "where"]

# not where anybody would look for a mistake: trio, contextlib, the testing kit itself
_OURS = str(Path(__file__).parents[2])
_TESTING_KIT = Path(__file__).parents[1]
_LIBRARIES = tuple(
    map(str, (Path(trio.__file__).parent, Path(outcome.__file__).parent, contextlib.__file__, _TESTING_KIT))
)


def subtree(task: trio.lowlevel.Task) -> Iterator[trio.lowlevel.Task]:
    """The task and all that its nurseries hold."""
    yield task
    for nursery in task.child_nurseries:
        for child in sorted(nursery.child_tasks, key=lambda each: each.name):
            yield from subtree(child)


def all_tasks() -> set[trio.lowlevel.Task]:
    """Every task of this run."""
    root = trio.lowlevel.current_root_task()
    return set(subtree(root)) if root is not None else set()


def stack(task: trio.lowlevel.Task) -> list[tuple[types.FrameType, int]]:
    """The frames that a task that waits is in, outermost first, without those of libraries if there are others."""
    frames = list(task.iter_await_frames())
    return [(frame, line) for frame, line in frames if _is_interesting(frame.f_code)] or frames


def is_users(task: trio.lowlevel.Task) -> bool:
    """It waits in code that is not ours."""
    frames = stack(task)
    return bool(frames) and not frames[-1][0].f_code.co_filename.startswith(_OURS)


def where(task: trio.lowlevel.Task, limit: int = 6) -> str:
    """The innermost `limit` places in the user's code, one a line, and the line of source that each is at.

    A task that is nowhere in the user's code is about us: then, those in ours.
    """
    frames = stack(task)
    users = [(frame, line) for frame, line in frames if not is_callers_file(frame.f_code.co_filename)]
    lines = [_line(frame.f_code, line) for frame, line in (users or frames)[-limit:]]
    return "\n".join(lines) or f"  {task.name} (not started, or running)"


def trail(error: BaseException) -> str:
    """Show where cancellation was raised; and where again, while it was being handled."""
    chains = [chain for leaf in _leaves(error) if len(chain := list(_chain(leaf))) > 1]
    if not chains:
        return ""
    handled, again = chains[0][-1], chains[0][-2]
    return (
        "\nwhile one cancellation was being handled, there was another, so what follows that line was not done:"
        f"\n{_innermost(again)}\nthe first was raised at\n{_innermost(handled)}"
        "\nA `finally` or `except` that awaits needs a shield with a deadline, or synchronous calls instead."
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Cancellations, newest first, each of which was raised while the next one was being handled."""
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        if isinstance(each, trio.Cancelled):
            yield each
        each = each.__context__


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error


def _innermost(error: BaseException, limit: int = 3) -> str:
    frames = [(frame.f_code, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    frames = [(code, line) for code, line in frames if _is_interesting(code)]
    users = [(code, line) for code, line in frames if not code.co_filename.startswith(_OURS)]
    return "\n".join(_line(code, line) for code, line in (users or frames)[-limit:])


def _is_interesting(code: types.CodeType) -> bool:
    return not code.co_filename.startswith(_LIBRARIES)


def _line(code: types.CodeType, line: int) -> str:
    source = linecache.getline(code.co_filename, line).strip()
    return f"  {code.co_filename}:{line} in {code.co_qualname}: {source}"
