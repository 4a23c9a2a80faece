"""A synchronous function that is called for each message of one connection.

    in the turn that the message comes in   `MessageCalls.put`, in place of `Inbox.put`: nothing waits before it, and
                                            the connection's task sleeps in `Inbox.get`
    in a task of the connection             what came before, what is over a turn's share, and everything where the
                                            transport has no turns (plain ASGI). Where there may be none in between,
                                            it ends once there is nothing to do (`idle`)

Both run it in the context of the connection's task, one message after the other. Whatever it raises is raised in that
task, which ends the connection as it does for an async function. docs/decisions/010
"""

import inspect
from collections.abc import Callable, Sequence
from contextvars import Context
from math import inf
from time import perf_counter
from typing import Any, Final

import trio
from trio.lowlevel import current_task

from ..core.lifecycle import Cause, End
from ..transports.base import Transport
from ..transports.receive_queue import Item

__all__ = ["Admit", "BecomeIdle", "Handle", "MessageCalls", "refuse_awaitable"]

Handle = Callable[[str | bytes], Any]  # gives nothing, and in particular nothing to be awaited
Admit = Callable[[str | bytes], bool]
BecomeIdle = Callable[[], Context | None]

# The share of one connection, of a turn and of a slice of its task: the rest comes when others have had theirs.
MAX_CALLS: Final = 16
MAX_SECONDS: Final = 0.001
# Clearing the frame of one that is suspended, such as the poller's, would end it.
_SUSPENDABLE: Final = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


class MessageCalls:
    """The calls for one connection, which is accepted. Made and run by its tasks. A `MessageSink`.

    Args:
        transport: the innermost, which has the turns.
        handle: called for each message. What it raises ends `run`.
        admits: asked before, one after the other; a message that one of them does not admit is not handled.
    """

    __slots__ = (
        "_admits",
        "_admitted",
        "_called_at",
        "_error",
        "_handle",
        "_inbox",
        "_is_over",
        "_told_turn",
        "_transport",
        "_turn_at",
        "context",
        "turn_calls",
    )

    def __init__(self, transport: Transport, handle: Handle, admits: Sequence[Admit] = ()) -> None:
        self._transport = transport
        self._inbox = transport.inbox
        self._admits = admits
        self._admitted = handle
        self._handle = self._handle_admitted if admits else handle
        self.context = current_task().context  # of the connection
        self._error: BaseException | None = None  # what `handle` raised in a turn
        self._turn_at = -inf  # when the last turn began, in seconds of `perf_counter`
        self._told_turn = -inf  # the last one that `_called_at` knows of
        self._called_at = -inf  # when it was called, of trio's clock
        self._is_over = False
        self.turn_calls = 0

    async def run(self, become_idle: BecomeIdle, item: Item | None = None) -> bool:
        """Call it for each message until the connection is over, or idle. Returns whether it is idle.

        Checkpoint: always, unless it is idle. Cancellation: it is not called again; what has come for it stays in the
            inbox.
        Args:
            become_idle: asked when there is nothing to do; gives a context in which it is called in turns from then on.
            item: what the task was started for.
        Raises: what it raised.
        """
        # An error that somebody keeps leads to this frame, which must not lead on to a socket: no names for its parts.
        context = None
        try:
            self.context = current_task().context
            self._transport.divert(None)
            while True:
                if self._error is not None:
                    self._raise()
                if isinstance(item, End):
                    return False
                if item is not None:
                    self._call_share(item)
                    if self._is_closed_here:
                        await trio.lowlevel.checkpoint()
                        return False  # what came before that is of no interest any more
                if not len(self._inbox):
                    self.turn_calls = 0
                    self._transport.divert(self)
                    context = become_idle()
                    if context is not None:
                        self.context = context
                        return True
                item = await self._inbox.get()
                self._transport.divert(None)
        finally:
            if context is None:
                self.end()

    @property
    def has_failed(self) -> bool:
        """There is an error to be raised by `run`."""
        return self._error is not None

    @property
    def called_at(self) -> float:
        """Return when it was called last, on trio's clock, or a moment before that; -inf for never."""
        if self._told_turn != self._turn_at:  # of two clocks that go on alike
            self._told_turn = self._turn_at
            self._called_at = max(self._called_at, trio.current_time() - (perf_counter() - self._turn_at))
        return self._called_at

    def put(self, item: str | bytes) -> None:
        """Call it for a message, in the turn of the transport's owner, unless it is the task's."""
        inbox = self._inbox
        calls = self.turn_calls
        if inbox.waiter is None:  # the connection is over, or a task of it is about to go on
            inbox.put(item)
            return
        if not calls:
            self._turn_at = perf_counter()
        elif calls >= MAX_CALLS or perf_counter() - self._turn_at > MAX_SECONDS:
            self._transport.divert(None)
            inbox.put(item)  # which wakes the task
            return
        self.turn_calls = calls + 1
        inbox.received += 1
        try:
            result = self.context.run(self._handle, item)
            if result is not None:
                refuse_awaitable(result)
        except BaseException as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """Have the task raise it. Nobody else's turn is disturbed."""
        traceback = error.__traceback__
        self._error = error.with_traceback(traceback and traceback.tb_next)  # from `handle` on
        self._transport.divert(None)
        self._inbox.wake()

    def _raise(self) -> None:
        error, self._error = self._error, None
        try:
            if error is not None:
                _clear_turn(error)
                raise error
        finally:
            del error  # its traceback has this frame

    def _call_share(self, item: str | bytes) -> None:
        """Call it for a message, and for those behind it, as many as the task's share are."""
        handle = self._handle
        self._called_at = trio.current_time()
        until = self._called_at + MAX_SECONDS
        following: str | bytes | None = item
        calls = 0
        while following is not None:
            refuse_awaitable(handle(following))
            calls += 1
            if self._is_closed_here or calls == MAX_CALLS or trio.current_time() > until:
                return
            following = self._inbox.get_nowait()

    @property
    def _is_closed_here(self) -> bool:
        end = self._inbox.end
        return end is not None and end.cause is Cause.LOCAL_CLOSE

    def end(self) -> None:
        """Lead nowhere: it is not called any more. A no-op the second time."""
        if not self._is_over:
            self._is_over = True
            self._transport.divert(None)
            del self._transport, self._inbox, self._handle, self._admits

    # What middleware says to a message

    def _handle_admitted(self, item: str | bytes) -> Any:
        return self._admitted(item) if self._is_admitted(item) else None

    def _is_admitted(self, item: str | bytes) -> bool:
        return all(admit(item) for admit in self._admits)


def _clear_turn(error: BaseException) -> None:
    """Let the frames of the turn that an error was raised in, which is over, hold nothing: they would hold the socket.

    Whoever keeps the error keeps its frames, and these refer to those that have called them.
    """
    frame = error.__traceback__ and error.__traceback__.tb_frame.f_back
    while frame is not None and not frame.f_code.co_flags & _SUSPENDABLE:
        try:
            frame.clear()
        except RuntimeError:  # it goes on
            return
        frame = frame.f_back


def refuse_awaitable(result: object) -> None:
    """Raise TypeError for what nobody will await. Any other result is of no interest."""
    if result is not None and inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()
        raise TypeError(
            "a synchronous function has returned something to be awaited: declare it with `async def`, or let it return"
            " nothing"
        )
