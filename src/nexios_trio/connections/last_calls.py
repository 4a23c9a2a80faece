"""The last calls of a connection, such as `on_disconnect`: shielded, and bounded together."""

import logging
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import attrs
import trio

from ..transports.server_context import current_server

__all__ = ["LastCall", "last_calls_scope", "make_last_calls"]

logger = logging.getLogger("nexios_trio.channel")


@attrs.frozen(eq=False)
class LastCall:
    """A function of the user's that is called once more, when all is over. It raises no Exception."""

    function: Callable[[], Awaitable[None]]
    name: str  # for the log
    fields: dict[str, Any]  # of the record (`extra=`)


@contextmanager
def last_calls_scope(timeout: float) -> Generator[trio.CancelScope]:
    """Shield the block for `timeout` seconds at most, and no longer than a server of ours still waits."""
    server = current_server.get()
    with trio.move_on_after(timeout, shield=True) as scope:
        if server is None:
            yield scope
        else:
            with server.cleanups.bounding(scope):
                yield scope


async def make_last_calls(calls: Sequence[LastCall], timeout: float) -> None:
    """Make all of them, one after the other, in `timeout` seconds together.

    One that takes longer than its share of the time goes on beside the next ones: it costs them nothing, and is
    cancelled at the end. Each is called in any case; where there is no time left, up to its first checkpoint.

    Cancellation: shielded.
    """
    if not calls:
        return
    unfinished = list(calls)
    with last_calls_scope(timeout) as scope:
        async with trio.open_nursery() as nursery:
            for index, call in enumerate(calls):
                is_done = trio.Event()
                nursery.start_soon(_make, call, unfinished, is_done)
                share = (scope.deadline - trio.current_time()) / (len(calls) - index)
                try:
                    with trio.move_on_after(max(share, 0.0)):
                        await is_done.wait()
                except trio.Cancelled:
                    for rest in calls[index + 1 :]:
                        nursery.start_soon(_make, rest, unfinished, is_done)
                    raise
    for call in unfinished:
        logger.error("%s took too long", call.name, extra=call.fields)


async def _make(call: LastCall, unfinished: list[LastCall], is_done: trio.Event) -> None:
    try:
        await call.function()
        unfinished.remove(call)
    finally:
        is_done.set()
