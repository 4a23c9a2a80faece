"""How a worker reads a long history: in pages, since one long answer would hold up what else the hub has for it."""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from ..core.message import Message, Position
from .base import HistoryPage

__all__ = ["bound_page", "newest_of", "read_in_pages"]

PAGE_MESSAGES: Final = 4096
PAGE_BYTES: Final = 4_194_304  # of payloads; a message that is larger is a page of its own

# Asks the hub for the messages after a position, so many, and of so many bytes.
Ask = Callable[[Position | None, int | None, int | None], Awaitable[HistoryPage]]


def bound_page(since: Position | None, limit: int | None, max_bytes: int | None) -> tuple[int | None, int | None]:
    """Return how many messages, and bytes of them, the hub answers with: after a position, those of one page."""
    if since is None:
        return limit, max_bytes
    return _least(limit, PAGE_MESSAGES), _least(max_bytes, PAGE_BYTES)


def _least(bound: int | None, most: int) -> int:
    return most if bound is None else min(bound, most)


async def read_in_pages(ask: Ask, since: Position | None, limit: int | None, max_bytes: int | None) -> HistoryPage:
    """Do what `Engine.history` does, with answers of one page at most.

    Checkpoint: always. Raises: EngineError.
    """
    if max_bytes is not None and (since is not None or max_bytes <= PAGE_BYTES):
        return await ask(since, limit, max_bytes)
    if since is not None:
        return await _read_on(ask, since, limit, deque())
    newest = (await ask(None, 0, None)).top
    page = await _read_on(ask, Position(0, newest.epoch), None, deque(maxlen=limit))
    return HistoryPage(newest_of(page.messages, max_bytes), True, page.top)


async def _read_on(ask: Ask, since: Position, limit: int | None, found: deque[Message]) -> HistoryPage:
    """Return the messages after a position, as far as they are wanted and `found` holds them: the last."""
    is_complete = True
    while True:
        page = await ask(since, None if limit is None else limit - len(found), None)
        if page.top.epoch != since.epoch and not page.complete:  # the group has begun anew
            found.clear()
        found.extend(page.messages)
        is_complete = is_complete and page.complete
        last = page.messages[-1].position if page.messages else None
        if not page.has_more or last is None or len(found) == limit:
            return HistoryPage(tuple(found), is_complete, page.top, page.has_more)
        since = last


def newest_of(messages: tuple[Message, ...], max_bytes: int | None) -> tuple[Message, ...]:
    """Return so many of the last as have so many bytes, one at least."""
    if max_bytes is None:
        return messages
    total = 0
    for index in range(len(messages) - 1, -1, -1):
        total += messages[index].size
        if total > max_bytes:
            return messages[min(index + 1, len(messages) - 1) :]
    return messages
