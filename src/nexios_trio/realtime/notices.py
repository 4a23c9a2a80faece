"""What a client is told unasked, by synchronous code: never dropped, in order, and without waiting."""

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from ..connections.session import Session
from ..core.message import Frame, KeptFrame
from ..core.overflow import drop_latest

__all__ = ["Notices"]

_NOTHING: Final[deque[Frame]] = deque(maxlen=0)


class Notices:
    """Those that the outbox has no room for wait here for it, for as long as the connection lives.

    There are a few for each subscription at most, and the client has no more of those than it may.
    """

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: deque[Frame] = _NOTHING

    def tell(self, session: Session, frame: KeptFrame, start_soon: Callable[..., None]) -> None:
        """Queue it, or have a task of the connection do so when there is room. A no-op after the end."""
        if session.is_over:
            return
        transport = session.transport
        if self._waiting is _NOTHING or not self._waiting:
            counts = transport.counts
            counts.meant += 1
            transport.offer(frame, None, drop_latest)
            if not counts.has_refused:
                return
            counts.has_refused = False
            counts.dropped_latest -= 1
            counts.meant -= 1
            self._waiting = deque()
            start_soon(self._send_waiting, session)
        self._waiting.append(frame)

    async def _send_waiting(self, session: Any) -> None:
        while self._waiting:
            await session.send(self._waiting[0])
            self._waiting.popleft()
