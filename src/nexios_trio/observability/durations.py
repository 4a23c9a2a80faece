"""How long something took, as a histogram."""

from bisect import bisect_left
from collections.abc import Sequence

__all__ = ["Durations"]


class Durations:
    """Counts of durations, up to each of some bounds.

    Args:
        bounds: seconds, ascending.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)  # not cumulative; the last is of what is above all bounds
        self.seconds = 0.0  # of all together

    def add(self, seconds: float) -> None:
        """Count one. A clock may have been set back meanwhile: that counts as no time."""
        seconds = max(seconds, 0.0)
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.seconds += seconds
