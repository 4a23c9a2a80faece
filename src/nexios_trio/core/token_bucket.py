"""How often something may happen."""

__all__ = ["TokenBucket"]


class TokenBucket:
    """`rate` tokens a second flow in, up to `burst`; who takes one may go on. Time is an argument, in seconds."""

    __slots__ = ("_burst", "_rate", "_tokens", "updated")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = float(burst)
        self.updated = now

    def take(self, now: float) -> bool:
        """Take a token, if there is one."""
        self._tokens = min(self._burst, self._tokens + (now - self.updated) * self._rate)
        self.updated = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
