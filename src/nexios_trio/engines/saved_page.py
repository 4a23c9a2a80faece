"""A page of a history as it is kept."""

import attrs

from ..core.message import Position
from ..core.message_codec import SavedMessage

__all__ = ["SavedPage", "last_messages"]


@attrs.frozen
class SavedPage:
    """A `HistoryPage` of messages as they are kept."""

    messages: tuple[SavedMessage, ...]
    complete: bool
    top: Position
    has_more: bool = False


def last_messages(messages: list[SavedMessage], limit: int | None, max_bytes: int | None) -> list[SavedMessage]:
    """Return as many as the two allow; of those that `max_bytes` cuts, one at least."""
    page = messages if limit is None else messages[len(messages) - min(limit, len(messages)) :]
    if max_bytes is None:
        return page
    for place in range(len(page) - 1, -1, -1):
        max_bytes -= page[place].size
        if max_bytes < 0:
            return page[min(place + 1, len(page) - 1) :]
    return page
