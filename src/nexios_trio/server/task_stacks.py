"""Where tasks and threads stand, in the user's own code."""

import linecache
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any, Final

import attrs
import trio

from ..connections.message_calls import MessageCalls
from ..groups.authorization import session_in
from ..logs.tracebacks import is_callers_file, is_framework_file, is_own_file
from .request_fields import current_request

__all__ = [
    "Stack",
    "fields_of",
    "fields_of_thread",
    "stack_of_task",
    "stack_of_thread",
    "tasks_below",
    "waits_for_thread",
]

FRAMES_SHOWN: Final = 8
_LOOP: Final = trio.run.__code__.co_filename
_THREADS: Final = trio.to_thread.run_sync.__code__.co_filename

Place = tuple[FrameType, int]  # and the line


@attrs.frozen
class Stack:
    """Places in the source.

    Args:
        text: the innermost ones, outermost first, as in a traceback; empty where none is the user's.
        spot: file and line of the innermost one in the user's own code.
        files: of all of them.
        library_text: the text where none is the user's.
    """

    text: str = ""
    spot: tuple[str, int] | None = None
    files: frozenset[str] = frozenset()
    library_text: str = attrs.field(default="", eq=False)

    @classmethod
    def of(cls, places: list[Place]) -> "Stack":
        """From the first place that is the user's, or a library's that the user has called."""
        files = [frame.f_code.co_filename for frame, _ in places]
        first = next((index for index, file in enumerate(files) if not is_callers_file(file)), None)
        if first is None:
            text = "\n".join(_line(*place) for place in places[-FRAMES_SHOWN:])
            return cls(files=frozenset(files), library_text=text)
        own = [index for index, file in enumerate(files) if is_own_file(file)]
        innermost = own[-1] if own else first
        shown = [index for index in range(first, len(places)) if not is_framework_file(files[index])][-FRAMES_SHOWN:]
        if innermost not in shown:
            shown.insert(0, innermost)
        lines = [_line(*places[index]) for index in shown]
        return cls("\n".join(lines), (files[innermost], places[innermost][1]), frozenset(files[first:]))


def tasks_below(nursery: trio.Nursery) -> Iterator[trio.lowlevel.Task]:
    """Every task of a nursery, and of the nurseries of these."""
    for task in tuple(nursery.child_tasks):
        yield task
        for inner in tuple(task.child_nurseries):
            yield from tasks_below(inner)


def fields_of(task: trio.lowlevel.Task) -> dict[str, Any]:
    """Return the fields of the connection that a task acts for, or of the request that it answers."""
    session = session_in(task.context)
    return session.log_fields() if session is not None else task.context.get(current_request) or {}


def fields_of_thread(ident: int) -> dict[str, Any]:
    """Return the same of the task that a thread runs now, or of the connection whose synchronous handler it is in.

    Nothing where trio's insides are not what we know.
    """
    places = _places_of(ident)
    for frame, _ in reversed(places):
        if frame.f_code is MessageCalls.put.__code__:  # in a task of the server's
            session = session_in(frame.f_locals["self"].context)
            return {} if session is None else session.log_fields()
    tasks = [frame.f_locals.get("task") for frame, _ in places if _is_loop(frame)]
    return next((fields_of(task) for task in reversed(tasks) if isinstance(task, trio.lowlevel.Task)), {})


def stack_of_task(task: trio.lowlevel.Task) -> Stack:
    """Return where a task waits."""
    return Stack.of(list(task.iter_await_frames()))


def stack_of_thread(ident: int) -> Stack:
    """Return where a thread is, as of now: in the task that it runs, if it runs trio."""
    places = _places_of(ident)
    loops = [index for index, (frame, _) in enumerate(places) if _is_loop(frame)]
    return Stack.of(places[loops[-1] :] if loops else places)


def _places_of(ident: int) -> list[Place]:
    frame = sys._current_frames().get(ident)
    places: list[Place] = []
    while frame is not None:
        places.append((frame, frame.f_lineno))
        frame = frame.f_back
    return places[::-1]


def _is_loop(frame: FrameType) -> bool:
    return frame.f_code.co_name in ("run", "unrolled_run") and frame.f_code.co_filename == _LOOP


def waits_for_thread(task: trio.lowlevel.Task) -> bool:
    """Tell whether it waits in `trio.to_thread.run_sync`."""
    return any(frame.f_code.co_filename == _THREADS for frame, _ in task.iter_await_frames())


def _line(frame: FrameType, line: int) -> str:
    code = frame.f_code
    source = linecache.getline(code.co_filename, line).strip()
    return f'File "{code.co_filename}", line {line}, in {code.co_qualname}' + (f"\n  {source}" if source else "")
