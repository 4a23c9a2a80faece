"""Which application's box is meant by a method of `ChannelBox` that is called on the class.

    a task of an application, a connection's, a request's     that application's: a context variable tells
    any other task, where one application runs in this trio run    that one's
    where several run                                         nobody can say: an error
    where none runs                                           one box for the whole process, as the documents have it
    a thread that is not trio's, while an application runs    an error, since nothing of a box may be used from there

An application runs while its lifespan or `app.running()` is entered, or a connection of it is open.
"""

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from types import MethodType
from typing import Any, Concatenate, Final, Generic, ParamSpec, TypeVar, cast

import trio

from ..engines.memory import MemoryEngine
from ..exceptions import LifecycleError

__all__ = [
    "OnCurrentBox",
    "announce_box",
    "check_thread",
    "find_box",
    "require_trio_run",
    "run_of",
    "use_box",
    "withdraw_box",
]

P = ParamSpec("P")
R = TypeVar("R")

_FOREIGN_THREAD: Final = (
    "this thread is not trio's, and boxes belong to the thread that their application runs in: call"
    " app.box.from_thread(app.box.group_send, ...), or, without the application, trio.from_thread.run("
    "ChannelBox.group_send, ..., trio_token=token), with token = trio.lowlevel.current_trio_token() of that thread"
)

_current: ContextVar[Any] = ContextVar("nexios_trio.current_box")
# The boxes of the applications that run in each trio run, and how many those are.
_running: dict[trio.lowlevel.TrioToken, dict[Any, int]] = {}
_of_the_process: list[Any] = []  # made when first needed


def find_box(kind: type) -> Any:
    """The box that is meant, a `kind`. Raises: LifecycleError when nobody can say."""
    box = _current.get(None)
    if box is not None:
        return box
    if not trio.lowlevel.in_trio_run():
        if _running:
            raise LifecycleError(_FOREIGN_THREAD)
    elif boxes := _running.get(trio.lowlevel.current_trio_token()):
        if len(boxes) > 1:
            raise LifecycleError(
                f"{len(boxes)} applications run here, and this task belongs to none of them: say whose groups are"
                " meant, as in app.box.group_send(...)"
            )
        return next(iter(boxes))
    if not _of_the_process:
        _of_the_process.append(kind(MemoryEngine()))
    return _of_the_process[0]


def require_trio_run() -> None:
    """Raise LifecycleError, with the next step, in a thread that is not trio's."""
    if not trio.lowlevel.in_trio_run():
        raise LifecycleError(_FOREIGN_THREAD) from None


def check_thread(box: object) -> None:
    """Raise LifecycleError, with the next step, in a thread that is not trio's, while the box's application runs."""
    if not trio.lowlevel.in_trio_run() and run_of(box) is not None:
        raise LifecycleError(_FOREIGN_THREAD)


def run_of(box: object) -> trio.lowlevel.TrioToken | None:
    """Return the trio run in which the box's application runs. Any thread may ask."""
    return next((token for token, boxes in list(_running.items()) if box in boxes), None)


def announce_box(box: object) -> trio.lowlevel.TrioToken:
    """An application runs whose box this is. `withdraw_box`, with what this returns, must follow."""
    token = trio.lowlevel.current_trio_token()
    boxes = _running.setdefault(token, {})
    boxes[box] = boxes.get(box, 0) + 1
    return token


def withdraw_box(box: object, token: trio.lowlevel.TrioToken) -> None:
    """It runs no longer."""
    boxes = _running[token]
    boxes[box] -= 1
    if not boxes[box]:
        del boxes[box]
    if not boxes:
        del _running[token]


class use_box:  # noqa: N801  # a block; every connection is in one, and a generator would be five times as large
    """Make `box` the current one, for this task and those it starts, for the length of the block."""

    __slots__ = ("_box", "_token")

    def __init__(self, box: object) -> None:
        self._box = box

    def __enter__(self) -> None:
        self._token = _current.set(self._box)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)


class OnCurrentBox(Generic[P, R]):
    """A method that may be called on the class, and then acts on the box that is meant.

    Which one that is, a task of an application knows at once. Else it is found out when the method runs: it may have
    been looked up in another thread, or before there was an application.
    """

    def __init__(self, function: "Callable[Concatenate[Any, P], R]") -> None:
        self._function = function
        self.__doc__ = function.__doc__
        self.__wrapped__ = function

        self._unbound: dict[type, Callable[P, R]] = {}  # by the class that the method was looked up on

    def __get__(self, box: Any, owner: type) -> Callable[P, R]:
        if box is None:
            box = _current.get(None)
        if box is not None:
            return MethodType(self._function, box)
        if owner not in self._unbound:
            self._unbound[owner] = _on_the_box_found(self._function, owner)
        return self._unbound[owner]


def _on_the_box_found(function: Callable[..., Any], kind: type) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def call_async(*args: Any, **kwargs: Any) -> Any:
            require_trio_run()
            return await function(find_box(kind), *args, **kwargs)

        return call_async

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(find_box(kind), *args, **kwargs)

    return cast(Callable[..., Any], call)
