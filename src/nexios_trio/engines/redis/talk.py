"""A short talk with one server of several: a Sentinel, or somebody in a Cluster."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import trio

from ...exceptions import EngineError
from .address import RedisAddress
from .connect import open_stream
from .link import RedisLink

__all__ = ["ASK_SECONDS", "OnMessage", "Use", "ignore_message", "in_time", "talk_to"]

ASK_SECONDS: Final = 1.0  # for each of them: the next one may know

T = TypeVar("T")
Use = Callable[[RedisLink], Awaitable[T]]
OnMessage = Callable[[bytes, bytes], None]


def ignore_message(channel: bytes, payload: bytes) -> None:
    """For what nobody has asked for."""


async def talk_to(address: RedisAddress, use: Use[T], on_message: OnMessage = ignore_message) -> T:
    """Return what `use` returns for a link to that server. Checkpoint: always. Raises: EngineError."""
    link = RedisLink(await in_time(open_stream(address)), on_message)
    results: list[T] = []
    problem: EngineError | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.run, name="short link")
        try:
            results.append(await use(link))
        except EngineError as error:
            problem = error.with_traceback(None)
        nursery.cancel_scope.cancel(reason="all is said")
    if problem is not None:
        raise problem
    return results[0]


async def in_time(waiting: Awaitable[T]) -> T:
    """Raises: EngineError where the server is silent."""
    with trio.move_on_after(ASK_SECONDS):
        return await waiting
    raise EngineError("it is silent")
