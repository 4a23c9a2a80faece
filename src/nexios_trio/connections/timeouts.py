"""How long handlers have: to accept, and to return after the end."""

from collections.abc import Hashable
from typing import Final, Protocol

from ..config.settings import Settings
from ..transports.timers import Timeouts, Timers

__all__ = ["HandlerTimeouts"]

_NOT_ACCEPTED: Final = "the handler of %r did not accept within %g s"
_NOT_RETURNED: Final = "the handler of %r went on for %g s after the end"


class TimedSession(Hashable, Protocol):
    """A session, as its deadlines know it."""

    def time_out(self, what: str, seconds: float) -> None:
        """Cancel the handler, and log `what`, a text for its path and the seconds."""


class HandlerTimeouts:
    """Those of one application's connections.

    accept: `accept_timeout`, from the request on, to accept or refuse.
    grace: `disconnect_grace`, from the end on, to return.
    """

    def __init__(self, timers: Timers, settings: Settings) -> None:
        accept, grace = settings.accept_timeout, settings.disconnect_grace
        self.accept: Timeouts[TimedSession] = Timeouts(timers, accept, lambda s: s.time_out(_NOT_ACCEPTED, accept))
        self.grace: Timeouts[TimedSession] = Timeouts(timers, grace, lambda s: s.time_out(_NOT_RETURNED, grace))
