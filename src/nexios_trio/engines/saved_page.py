"""A page of a history as it is kept."""

import attrs

from ..core.message import Position
from ..core.message_codec import SavedMessage

__all__ = ["SavedPage", "first_messages"]


@attrs.frozen
class SavedPage:
    """A `HistoryPage` of messages as they are kept."""

    messages: tuple[SavedMessage, ...]
    complete: bool
    top: Position
    has_more: bool = False


def first_messages(messages: list[SavedMessage], limit: int | None, max_bytes: int | None) -> list[SavedMessage]:
    """Return as many as the two allow; of those that `max_bytes` cuts, one at least."""
    page = messages[:] if limit is None else messages[:limit]
    if max_bytes is None:
        return page
    total = 0
    for number, message in enumerate(page):
        total += message.size
        if total > max_bytes:
            return page[: max(number, 1)]
    return page
