"""What a member's connection gives its groups: how it can be written to at once, and how much is queued for it."""

from typing import Protocol

__all__ = ["Backlog", "WriteNow"]


class WriteNow(Protocol):
    """Writes the server frames of a batch, or their beginning, and returns how many bytes it took.

    A receiver gives it to a membership while nothing is queued for the member: on a socket of ours it is the socket's
    own `send`, and nothing of ours stands between. Raises OSError, upon which `offer_batch` finds out what to do.
    """

    def __call__(self, data: bytes, /) -> int: ...


class Backlog(Protocol):
    """What is queued for one member."""

    taken: int  # messages that its writer has taken, ever

    @property
    def is_high(self) -> bool:
        """More than half of what it may hold."""
        ...
