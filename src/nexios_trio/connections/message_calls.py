"""A synchronous function that is called for each message of one connection.

    in the turn that the message comes in   `MessageCalls.put`, in place of `Inbox.put`: nothing waits before it, and
                                            the connection's task sleeps in `Inbox.get`
    in the connection's task                what came before, what is over a turn's share, and everything where the
                                            transport has no turns (plain ASGI)

Both run it in the context of the connection's task, one message after the other. Whatever it raises is raised in that
task, which ends the connection as it does for an async function. docs/decisions/010
"""

import inspect
from collections.abc import Callable
from math import inf
from time import perf_counter
from typing import Any, Final

import trio
from trio.lowlevel import current_task

from ..core.lifecycle import Cause, End
from ..transports.base import Transport

__all__ = ["Handle", "MessageCalls", "refuse_awaitable"]

Handle = Callable[[str | bytes], Any]  # gives nothing, and in particular nothing to be awaited

# The share of one connection, of a turn and of a slice of its task: the rest comes when others have had theirs.
MAX_CALLS: Final = 16
MAX_SECONDS: Final = 0.001


class MessageCalls:
    """The calls for one connection, which is accepted. Made and run by its task. A `MessageSink`.

    Args:
        transport: the innermost, which has the turns.
        handle: called for each message. What it raises ends `run`.
    """

    __slots__ = (
        "_called_at",
        "_error",
        "_handle",
        "_inbox",
        "_run_in_context",
        "_told_turn",
        "_transport",
        "_turn_at",
        "context",
        "turn_calls",
    )

    def __init__(self, transport: Transport, handle: Handle) -> None:
        self._transport = transport
        self._inbox = transport.inbox
        self._handle = handle
        self.context = current_task().context  # of the connection
        self._run_in_context = self.context.run
        self._error: BaseException | None = None  # what `handle` raised in a turn
        self._turn_at = -inf  # when the last turn began, in seconds of `perf_counter`
        self._told_turn = -inf  # the last one that `_called_at` knows of
        self._called_at = -inf  # when it was called, of trio's clock
        self.turn_calls = 0

    async def run(self) -> End:
        """Call it for each message until the connection is over.

        Checkpoint: always. Cancellation: it is not called again; what has come for it stays in the inbox.
        Raises: what it raised.
        """
        inbox, divert = self._inbox, self._transport.divert
        try:
            while True:
                if not len(inbox):
                    self.turn_calls = 0
                    divert(self)
                item = await inbox.get()
                divert(None)
                if self._error is not None:
                    self._raise()
                if isinstance(item, End):
                    return item
                self._call_share(item)
                if inbox.end is not None and inbox.end.cause is Cause.LOCAL_CLOSE:
                    await trio.lowlevel.checkpoint()
                    return inbox.end  # what came before that is of no interest any more
        finally:
            divert(None)

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
        if inbox.waiter is None:  # the connection is over, or its task is about to go on
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
            result = self._run_in_context(self._handle, item)
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
                raise error
        finally:
            del error  # its traceback has this frame

    def _call_share(self, item: str | bytes) -> None:
        """Call it for a message, and for those behind it, as many as the task's share are."""
        inbox, handle = self._inbox, self._handle
        self._called_at = trio.current_time()
        until = self._called_at + MAX_SECONDS
        following: str | bytes | None = item
        calls = 0
        while following is not None:
            refuse_awaitable(handle(following))
            calls += 1
            is_closed = inbox.end is not None and inbox.end.cause is Cause.LOCAL_CLOSE
            if is_closed or calls == MAX_CALLS or trio.current_time() > until:
                return
            following = inbox.get_nowait()


def refuse_awaitable(result: object) -> None:
    """Raise TypeError for what nobody will await. Any other result is of no interest."""
    if result is not None and inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()
        raise TypeError(
            "a synchronous function has returned something to be awaited: declare it with `async def`, or let it return"
            " nothing"
        )
