"""The tasks of a session: in the nursery of its handler, or of the next task of its own where it is idle."""

from collections.abc import Awaitable, Callable
from contextvars import Context
from math import inf
from typing import Any

import trio

from ..core.lifecycle import End
from ..exceptions import LifecycleError
from ..groups.authorization import acting_session
from ..transports.base import Transport
from .handler_errors import DISCONNECTS
from .idle import Idle, Life
from .message_calls import MessageCalls
from .runtime import Runtime

__all__ = ["SessionTasks"]


class SessionTasks:
    """What a session has to do with tasks."""

    __slots__ = ("_nursery", "idle")

    transport: Transport
    runtime: Runtime
    calls: MessageCalls | None
    expires_at: float | None

    def __init__(self) -> None:
        self._nursery: trio.Nursery | None = None  # the handler's
        self.idle: Idle | None = None  # of a connection that may be without a task

    def expire_at(self, when: float | None, end: End | None = None) -> None:
        """End the connection at that time; None for not at all."""
        raise NotImplementedError

    def time_out(self, what: str, seconds: float) -> None:
        """Cancel the handler, whose time is over."""
        raise NotImplementedError

    @property
    def is_over(self) -> bool:
        """Nothing can be started any more, or either side has closed."""
        return (self._nursery is None and not self.is_idle) or self.transport.end is not None

    @property
    def is_idle(self) -> bool:
        """No task of the connection runs, and it goes on all the same."""
        return self.idle is not None and self.idle.is_idle

    # Tasks. The handler's nursery is reachable between the first two calls only.

    def open_tasks(self, nursery: trio.Nursery) -> None:
        """Start tasks in the handler's nursery from now on. Called by the task that acts for this connection."""
        self._nursery = nursery
        if self.idle is not None:
            for own, function, args in self.idle.end():
                self._start(own, nursery, function, args)

    def claim_idle(self, life: Life) -> Idle | None:
        """Let `life` go on between the connection's tasks, if that may be, and nobody else is to do so."""
        if self.idle is None or self.idle.life is not None:
            return None
        self.idle.life = life
        return self.idle

    def become_idle(self) -> Context | None:
        """Let the connection's task end, and the connection go on, if there is nothing to do.

        Returns the context that it goes on in; None where the task has to stay.
        """
        nursery = self._nursery
        if (
            self.idle is None
            or nursery is None
            or nursery.child_tasks
            or self.transport.inbox.end is not None
            or self.transport.inbox.has_reader  # a task that is none of the connection's: the next `get` says so
            or trio.current_effective_deadline() == -inf  # cancelled
        ):
            return None
        self._nursery = None
        return self.idle.begin()

    def close_tasks(self) -> None:
        """Start no more tasks; stop every timer."""
        self._nursery = None
        timeouts = self.runtime.timeouts
        timeouts.accept.end(self)
        timeouts.grace.end(self)
        if self.expires_at is not None:
            self.expire_at(None)

    def start_soon(self, function: Callable[..., Awaitable[Any]], *args: Any) -> None:
        """Start a task of this connection: it acts for it, in its box, whoever calls.

        A caller that acts for it already hands on its context variables, as everywhere in trio. A stranger (another
        connection that publishes, a timer, the application) does not, or the task would act for the stranger, and keep
        it alive.

        Raises: LifecycleError when the handler has ended.
        """
        nursery = self._nursery
        acting: object = acting_session()
        if nursery is None:
            if self.idle is None or not self.idle.is_idle:
                raise LifecycleError("the connection is over: nothing can be started in it any more")
            self.idle.start_soon(function, args)
        elif acting is self:
            nursery.start_soon(self._run, function, args, name=function)
        else:
            self._start(nursery.parent_task.context.copy(), nursery, function, args)

    def _start(
        self, own: Context, nursery: trio.Nursery, function: Callable[..., Awaitable[Any]], args: tuple[Any, ...]
    ) -> None:
        own.run(lambda: nursery.start_soon(self._run, function, args, name=function))

    async def _run(self, function: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> None:
        """Run one task. One that stops because the peer has left does so alone: the handler may go on for a while."""
        try:
            await function(*args)
        except* DISCONNECTS:
            if self.transport.end is None:
                raise
        finally:
            if self.idle is not None and self.calls is not None and self._is_last_task:
                self.transport.inbox.wake()  # whose task has waited for this one

    @property
    def _is_last_task(self) -> bool:
        return self._nursery is not None and len(self._nursery.child_tasks) == 1

    def _cancel_handler(self) -> None:
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel(reason="the connection has ended")
