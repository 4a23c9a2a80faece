"""Tracebacks that begin with the user's own code."""

import importlib
import logging
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final

from ..exceptions import NexiosError

__all__ = [
    "format_traceback",
    "is_callers_file",
    "is_framework_file",
    "is_own_file",
    "traceback_of",
    "trim_traceback",
]

# What calls the user's code. Frames of these say nothing before the first one of the user's.
CALLERS: Final = frozenset(
    {"anyio", "click", "fastapi", "hypercorn", "litestar", "nexios_trio", "outcome", "quart", "starlette", "trio"}
)
_STANDARD_LIBRARY: Final = Path(sysconfig.get_path("stdlib"))
_PACKAGE: Final = Path(__file__).parents[1]
_IMPORTLIB: Final = Path(next(iter(importlib.__path__)))
_CONTEXTLIB: Final = _STANDARD_LIBRARY / "contextlib.py"


def traceback_of(record: logging.LogRecord) -> str:
    """Return the traceback of a record's error, "" for none: the whole one where the logger shows details, DEBUG."""
    error = record.exc_info[1] if record.exc_info else None
    if error is None:
        return ""
    return format_traceback(error, is_whole=logging.getLogger(record.name).isEnabledFor(logging.DEBUG))


def format_traceback(error: BaseException, *, is_whole: bool = False) -> str:
    """Return a traceback as text, without the frames before the user's first one; the error keeps them.

    So too in what the error was caused by and in the errors of a group; notes stay. A traceback that holds no frame of
    the user's stays whole: then it is about us. That of a group whose errors have such frames needs none.
    """
    shown = traceback.TracebackException.from_exception(error, compact=True)
    if not is_whole:
        _begin_with_user(shown)
    return "".join(shown.format())


def _begin_with_user(shown: traceback.TracebackException) -> None:
    everything = [shown]
    for one in everything:  # and what is appended meanwhile
        everything += [more for more in (one.__cause__, one.__context__, *(one.exceptions or ())) if more is not None]
    with_user: set[int] = set()
    for one in reversed(everything):  # a group's errors before the group
        files = (frame.filename for frame in one.stack)
        first = next((index for index, file in enumerate(files) if not is_callers_file(file)), None)
        if first is not None:
            del one.stack[:first]
        elif any(id(inner) in with_user for inner in one.exceptions or ()):
            one.stack.clear()
        else:
            continue
        with_user.add(id(one))


def trim_traceback(error: BaseException) -> None:
    """Take off the frames before the user's first one, and those of this package and of the import system behind it.

    So too in what the error was caused by and in the errors of a group. A traceback that holds no frame of the user's
    stays whole: then it is about us. That of an error of syntax, or of a missing module, needs none, nor does one of
    ours that says it all.
    """
    for one in _all_of(error):
        one.__traceback__ = _trimmed(one)


def _trimmed(error: BaseException) -> TracebackType | None:
    frames = list(_frames(error.__traceback__))
    first = next((index for index, frame in enumerate(frames) if not _is_caller(frame)), None)
    if first is None:
        return None if isinstance(error, SyntaxError | NexiosError) else error.__traceback__
    kept = [frame for frame in frames[first:] if not _is_plumbing(frame)]
    trimmed: TracebackType | None = None
    for frame in reversed(kept):
        trimmed = TracebackType(trimmed, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
    return trimmed


def _frames(traceback: TracebackType | None) -> Iterator[TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


def _is_caller(frame: TracebackType) -> bool:
    return is_callers_file(frame.tb_frame.f_code.co_filename)


def is_callers_file(name: str) -> bool:
    """Tell whether a file is of what calls the user's code: a framework, the standard library, this package."""
    return is_framework_file(name) or is_standard_file(name)


def is_framework_file(name: str) -> bool:
    """Tell whether a file is of a framework that calls the user's code, this package among them."""
    installed = _installed_as(name)
    return installed in CALLERS if installed is not None else Path(name).is_relative_to(_PACKAGE)


def is_standard_file(name: str) -> bool:
    """Tell whether a file is of the standard library."""
    return name.startswith("<frozen ") or (_installed_as(name) is None and Path(name).is_relative_to(_STANDARD_LIBRARY))


def _installed_as(name: str) -> str | None:
    """Return the name of the installed package that a file is of."""
    parts = Path(name).parts
    for folder in ("site-packages", "dist-packages"):
        if folder in parts:
            return Path(parts[parts.index(folder) + 1]).stem
    return None


def is_own_file(name: str) -> bool:
    """Tell whether a file is of the user's program: neither of the standard library nor of anything installed."""
    return _installed_as(name) is None and not is_callers_file(name)


def _is_plumbing(frame: TracebackType) -> bool:
    name = frame.tb_frame.f_code.co_filename
    path = Path(name)
    is_ours = path.is_relative_to(_PACKAGE) or path.is_relative_to(_IMPORTLIB) or path == _CONTEXTLIB
    return is_ours or name.startswith("<frozen importlib")


def _all_of(error: BaseException) -> list[BaseException]:
    """Return the error, what it was caused by, and the errors of a group, each once."""
    found: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None or any(one is other for other in found):
            continue
        found.append(one)
        waiting += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions
    return found
