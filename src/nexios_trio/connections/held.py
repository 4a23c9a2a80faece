"""What may not be sent yet: messages behind posts that the engine has not numbered.

And behind group messages that an override of `send` has not sent. Who may wait does (`Session.settle_posts`, `settle`).
For who may not, the messages do, within the bounds of an outbox and under its overflow policy, until every post has
come back and its message was delivered here, or for the engine's deadline.
"""

from collections.abc import Callable, Hashable, Iterable

import trio

from ..core.lifecycle import End
from ..core.message import Frame
from ..core.overflow import Policy
from ..engines.base import Receipt
from ..transports.lazy_event import LazyEvent
from ..transports.send_queue import Outbox
from ..transports.timers import Timer, Timers, do_nothing
from .attached import SendingQueue

__all__ = ["HeldMessages"]


class HeldMessages:
    """One connection's. Made when there is something to hold, and over when it is let go.

    Args:
        outbox: of this size, for these alone.
        let_go: sends what is held, in order. Called once.
    """

    def __init__(self, outbox: Outbox, let_go: Callable[[], None], timers: Timers, deadline: float) -> None:
        self.outbox = outbox
        self.end: End | None = None  # behind all of it, the connection is closed with this
        self._let_go = let_go
        self._waiting_for: set[object] = set()  # receipts, and queues of overrides
        self._is_over = LazyEvent()
        self._timers = timers
        self._timer = Timer(self._release)
        timers.set(self._timer, trio.current_time() + deadline)

    def wait_for(self, those: Iterable[Receipt | SendingQueue]) -> None:
        """Hold what there is until these are settled, too."""
        for one in those:
            if one not in self._waiting_for:
                self._waiting_for.add(one)
                one.then(self._settled)

    def hold(self, frame: Frame, key: Hashable, policy: Policy | None) -> bool:
        """Hold a message, or do what the policy says; False to disconnect the peer."""
        return self.outbox.offer(frame, key, policy)

    async def wait(self) -> None:
        """Wait until all of it was sent, or given up. Checkpoint: always. Cancellation: nothing has changed."""
        await self._is_over.wait()

    def discard(self) -> None:
        """The connection is over: count what is held as lost."""
        self._stop()
        self.outbox.discard()
        self._is_over.set()

    def _settled(self, one: object) -> None:
        self._waiting_for.discard(one)
        if not self._waiting_for:
            self._release()

    def _release(self) -> None:
        let_go = self._let_go
        self._stop()
        let_go()
        self._is_over.set()

    def _stop(self) -> None:
        self._let_go = do_nothing
        self._waiting_for.clear()
        self._timers.retire(self._timer)
