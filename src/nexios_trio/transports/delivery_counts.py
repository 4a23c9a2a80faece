"""What one peer was meant to get, and what it did not."""

import attrs

__all__ = ["DeliveryCounts"]


@attrs.define(eq=False)
class DeliveryCounts:
    """Messages that one peer was meant to get, and those of them that it did not, by what took them. Never reset.

    A connection has one for all its life, whatever transports it has.
    """

    meant: int = 0  # a group's when its membership ends
    dropped_oldest: int = 0
    dropped_latest: int = 0
    replaced: int = 0
    lost: int = 0  # queued, or offered, when the connection ended
    policy_errors: int = 0  # messages that were queued without the overflow policy, or its key, which raised
    policy_error: Exception | None = None  # the last of them, until it is logged
    has_refused: bool = False  # the frame that was offered last, and may not be missing; until somebody has seen to it

    def lose(self, messages: int) -> None:
        """Count messages that have not got as far as a transport."""
        self.meant += messages
        self.lost += messages

    def note_policy_error(self, error: Exception) -> None:
        self.policy_errors += 1
        self.policy_error = error

    def add(self, other: "DeliveryCounts") -> None:
        """Count what another one has counted, too."""
        self.dropped_oldest += other.dropped_oldest
        self.dropped_latest += other.dropped_latest
        self.replaced += other.replaced
        self.lost += other.lost
        self.policy_errors += other.policy_errors

    @property
    def undelivered(self) -> int:
        return self.dropped_oldest + self.dropped_latest + self.replaced + self.lost

    @property
    def delivered(self) -> int:
        """Handed to the kernel, or to the server, once every group was left."""
        return max(self.meant - self.undelivered, 0)
