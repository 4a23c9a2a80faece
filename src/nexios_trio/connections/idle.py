"""A connection with a synchronous consumer, while there is nothing to do for it but to wait: without a task.

    first task          on_connect, accept, and what has come meanwhile; then it ends
    in between          each message is called for in its turn (`message_calls`), and nothing of ours runs
    another task        for what cannot be done in a turn: more messages than a turn's share, an error, a task that
                        `start_soon` asks for, and the end, with on_disconnect

`Inbox.waiter` is an `Idle` in between, in place of the task that would wait there. docs/decisions/010
"""

from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from typing import Any, Protocol

from ..core.lifecycle import End
from ..groups.authorization import acting_session
from ..transports.receive_queue import Item
from ..transports.server_context import ConnectionHost

__all__ = ["Idle", "Life", "NewTask"]

Serve = Callable[[ConnectionHost, Any], Awaitable[bool]]
NewTask = tuple[Context, Callable[..., Awaitable[Any]], tuple[Any, ...]]


class Life(Protocol):
    """What a connection does in its tasks."""

    async def go_on(self) -> None:
        """Do what has to be done now, until the connection is over or has nothing more to do."""

    def end_at_once(self, end: End) -> bool:
        """Do what is done at the end in place of `go_on`, if nothing has to be waited for; whether it is done."""
        ...


class Idle:
    """Of a connection that may be without a task. Made by `serve`, used by its consumer.

    Args:
        serve: what another task runs, with host and session; True when the connection is over.
    """

    __slots__ = ("_context", "_host", "_item", "_new_tasks", "_serve", "_session", "is_idle", "life")

    def __init__(self, host: ConnectionHost, session: Any, serve: Serve) -> None:
        self._session = session
        self._serve = serve
        self._host = host
        self._context: Context | None = None
        self._item: Item | None = None
        self._new_tasks: list[NewTask] | None = None
        self.life: Life | None = None  # of the consumer that has claimed this
        self.is_idle = False  # from the end of a task to the beginning of the next one

    def begin(self) -> Context:
        """Be idle. Called by the connection's task, which then ends. Returns the context that it would go on in."""
        self.is_idle = True
        self._context = context = copy_context()
        self._session.transport.inbox.wait_without_task(self)
        self._host.idle(self)
        return context

    def hand_over(self, item: Item | None) -> None:
        """Start a task for a message, the end, or what there is besides. Called by the inbox, once."""
        self._item = item
        assert self._context is not None
        self._host.start_task(self._context, self._serve, self._host, self._session)

    def wake(self) -> None:
        """Start a task, unless one is started already: it is told of a cancellation, if there was one."""
        if self.is_idle:
            self._session.transport.inbox.wake()

    def start_soon(self, function: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> None:
        """Start a task of the connection, in the next of its own."""
        assert self._context is not None
        own = copy_context() if acting_session() is self._session else self._context.copy()
        self._new_tasks = [*(self._new_tasks or ()), (own, function, args)]
        self.wake()

    def end(self) -> list[NewTask]:
        """Be idle no more: the next task runs. Returns what was to be started meanwhile."""
        self.is_idle = False
        new_tasks, self._new_tasks = self._new_tasks, None
        return new_tasks or []

    def end_at_once(self) -> bool:
        """End without a nursery if this task was started for the end, and nobody is to wait for anything."""
        if self._new_tasks or self.life is None or not isinstance(self._item, End):
            return False
        is_done = self.life.end_at_once(self._item)
        self.is_idle = not is_done
        if is_done:
            self.take()
        return is_done

    def take(self) -> Item | None:
        """Return what the present task was started for."""
        item, self._item = self._item, None
        if self._context is not None:  # the first task was started for nothing, and has not waited
            self._session.transport.inbox.wait_with_task()
        return item

    def let_go(self) -> None:
        """Lead nowhere: the connection is over."""
        self.life = self._context = self._item = None
        del self._session, self._serve, self._host
