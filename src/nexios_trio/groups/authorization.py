"""Who may join which group, and who may send to it.

A box asks its `authorize` before each join and each group send that somebody's connection is behind. Which one that is
a context variable tells, so that a handler cannot forget to say so: the tasks of a connection inherit it. Tasks of the
application act for nobody, and are not asked about.
"""

import functools
import inspect
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context, ContextVar
from typing import Any, Literal, Protocol

import trio

from ..exceptions import NotAuthorized

__all__ = [
    "Action",
    "Authorize",
    "acting_channel",
    "acting_for",
    "acting_session",
    "check_authorize",
    "is_async",
    "require",
    "require_now",
    "require_sender",
    "session_in",
]

logger = logging.getLogger("nexios_trio.box")

Action = Literal["join", "send"]
# (channel, group, action) -> whether it may; the channel is None for a sender that has a connection and no channel
Authorize = Callable[[Any, str, Action], bool | Awaitable[bool]]


class Acting(Protocol):
    """A connection, as far as it matters here."""

    is_synchronous: bool  # a synchronous function is called for its messages, in other tasks than its own

    @property
    def channels(self) -> Sequence[Any]: ...

    @property
    def identity(self) -> object:
        """The connection's user; another one, by `is`, when it is somebody else's."""

    @property
    def user_key(self) -> str | None:
        """That user as text."""

    def log_fields(self) -> dict[str, Any]:
        """For the log."""
        ...


_acting: ContextVar[Acting | None] = ContextVar("nexios_trio.acting_session", default=None)


class acting_for:  # noqa: N801  # a block; every connection is in one, and a generator would be five times as large
    """What this task and those it starts do in the block, they do for this connection."""

    __slots__ = ("_session", "_token")

    def __init__(self, session: Acting | None) -> None:
        self._session = session

    def __enter__(self) -> None:
        self._token = _acting.set(self._session)

    def __exit__(self, *_: object) -> None:
        _acting.reset(self._token)


def acting_session() -> Acting | None:
    """Return the connection that this task acts for, if it acts for one."""
    return _acting.get()


def session_in(context: Context) -> Acting | None:
    """Return the connection that a task with this context acts for. Other threads may ask, too."""
    return context.get(_acting)


def acting_channel() -> tuple[bool, Any]:
    """Tell whether this task acts for a connection, and that connection's first channel, if it has any."""
    session = _acting.get()
    if session is None:
        return False, None
    return True, next((channel for channel in session.channels if not channel.is_personal), None)


def check_authorize(authorize: Any) -> Authorize | None:
    """Raises TypeError for what cannot be asked."""
    if authorize is None:
        return None
    try:
        inspect.signature(authorize).bind(None, "", "join")
    except (TypeError, ValueError):
        raise TypeError(f"authorize is a function (channel, group, action) -> bool, not {authorize!r}") from None
    function: Authorize = authorize
    return function


def is_async(authorize: Authorize) -> bool:
    """Tell whether its answer has to be awaited, as far as that is seen without asking."""
    function: Any = authorize
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


async def require_sender(authorize: Authorize, group: str) -> None:
    """Ask whether the connection that this task acts for, if any, may send. Checkpoint and errors: as `require`."""
    is_asked, channel = acting_channel()
    if is_asked:
        await require(authorize, channel, group, "send")


def require_sender_now(authorize: Authorize, group: str) -> None:
    """Ask synchronously. Raises: as `require`; TypeError when the answer has to be awaited."""
    is_asked, channel = acting_channel()
    if is_asked:
        require_now(authorize, channel, group, "send")


def require_now(authorize: Authorize, channel: Any, group: str, action: Action) -> None:
    """Ask synchronously. Raises: as `require`; TypeError when the answer has to be awaited."""
    answer: object = authorize(channel, group, action)
    if inspect.isawaitable(answer):
        if inspect.iscoroutine(answer):
            answer.close()
        call, instead = {"send": ("post", "group_send"), "join": ("join_nowait", "add_channel_to_group")}[action]
        raise TypeError(f"the box's authorize is asynchronous, so {call} cannot ask it: await {instead} instead")
    if answer is not True:
        raise _refused(action, group)


async def require(
    authorize: Authorize, channel: Any, group: str, action: Action, then: Awaitable[Any] | None = None
) -> None:
    """Ask. Anything but True is a no, and so is any answer about somebody whom the channel acts for no longer.

    Checkpoint: always. Raises: NotAuthorized; what `authorize` and `then` raise.
    Args:
        then: what else is to be waited for when the answer is yes, for the same somebody.
    """
    asker = channel if channel is not None else _acting.get()
    identity = None if asker is None else asker.identity
    answer: object = None
    with trio.CancelScope() as scope:
        if channel is not None:
            channel.cancel_on_revoke(scope)
        try:
            answer = authorize(channel, group, action)
            if inspect.isawaitable(answer):
                answer = await answer
            if then is not None and answer is True:
                await then
            await trio.lowlevel.checkpoint()
        finally:
            if channel is not None:
                channel.keep_on_revoke(scope)
    is_same = not scope.cancel_called and (asker is None or asker.identity is identity)
    if not is_same or answer is not True:
        raise _refused(action, group)


def _refused(action: Action, group: str) -> NotAuthorized:
    """Log it, too."""
    session = _acting.get()
    fields = {"connection": None} if session is None else session.log_fields()
    logger.warning("not allowed to %s %s", action, group, extra={**fields, "action": action, "group": group})
    return NotAuthorized(action, group)
