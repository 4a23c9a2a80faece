"""The half of a session that sends, and closes, without waiting: for synchronous functions."""

from collections.abc import Hashable, Sequence
from typing import Any

from ..core.lifecycle import Cause, End, Phase
from ..core.message import Frame
from ..core.overflow import Policy
from ..engines.base import Receipt
from ..exceptions import LifecycleError, MessageTooBig, WebSocketDisconnect
from ..transports.send_queue import Outbox
from .attached import AttachedChannel, SendingQueue
from .held import HeldMessages
from .message_calls import MessageCalls
from .session_tasks import SessionTasks

__all__ = ["SendingNowait"]


class SendingNowait(SessionTasks):
    """What a synchronous function of a connection does to its peer. The order is that of `Session.send`."""

    __slots__ = ("calls", "held", "is_synchronous")

    channels: list[AttachedChannel]
    override_queues: Sequence[SendingQueue]

    def __init__(self) -> None:
        super().__init__()
        self.held: HeldMessages | None = None  # while there is something that may not be sent yet
        # A synchronous function is called for its messages: what it posts is the connection's, and not that of the task
        # in whose turn it is called.
        self.is_synchronous = False
        self.calls: MessageCalls | None = None  # of that function, while it is called

    @property
    def end(self) -> End | None:
        """The end of the connection, also when it is closed as soon as what is held is sent."""
        return self.transport.end or (None if self.held is None else self.held.end)

    def send_nowait(self, frame: Frame, payload: Any, channel: Hashable = None, policy: Policy | None = None) -> None:
        """Send after the group messages on their way, or do what the overflow policy says.

        Args:
            channel: whose message it is, for a policy that looks at keys.
            policy: in place of the connection's.
        Raises: LifecycleError before `accept`; WebSocketDisconnect when the connection has ended; MessageTooBig.
        """
        runtime = self.runtime
        if self.transport.lifecycle.phase is not Phase.OPEN:
            self.check_open()
        if frame.size > runtime.settings.outbox_bytes:
            limit = runtime.settings.outbox_bytes
            raise MessageTooBig(f"a message of {frame.size} bytes; accepted: up to outbox_bytes={limit}")
        box = runtime.box
        may_wait = self.held is not None or box.engine_client.unsettled or self.override_queues
        if may_wait and self._hold(frame, payload, channel, policy):
            return
        if box.broadcaster.dirty:
            self.catch_up()
        self.transport.offer_alone(frame, payload, channel, policy)

    def close_nowait(self, end: End) -> None:
        """Close after what was sent before. A no-op once either side has closed; before accept, refuse."""
        phase = self.transport.lifecycle.phase
        if phase is Phase.CONNECTING:
            self.transport.evict(end)
        elif phase is Phase.OPEN and self.end is None:
            self.catch_up()
            before = self._before()
            if self.held is None and not before:
                self.transport.close_nowait(end)
                return
            held = self._holding(before)
            held.end = end
            self.transport.inbox.finish(end)

    def catch_up(self) -> None:
        """Queue the group messages that are on their way, before anything else is sent."""
        for channel in self.channels:
            channel.catch_up()

    async def settle_posts(self) -> None:
        """Wait for what this task has posted to this connection's groups, at most the engine's deadline."""
        for channel in self.channels:
            await channel.settle_posts()
        if self.held is not None:
            await self.held.wait()

    def check_open(self) -> None:
        """Raises: LifecycleError before `accept`; WebSocketDisconnect when the connection has ended."""
        if self.transport.lifecycle.phase is Phase.CONNECTING:
            raise LifecycleError("call accept() before sending")
        end = self.end
        if end is not None:
            raise WebSocketDisconnect(end.code, end.reason)

    # What is held

    def _before(self) -> list[Receipt | SendingQueue]:
        """Return what has to be settled before the caller sends: its posts to groups here, and overrides at work."""
        before: list[Receipt | SendingQueue] = [queue for queue in self.override_queues if queue.must_be_waited_for]
        if self.runtime.box.engine_client.unsettled:
            before += [receipt for channel in self.channels for receipt in channel.unsettled_posts()]
        return before

    def _hold(self, frame: Frame, payload: Any, channel: Hashable, policy: Policy | None) -> bool:
        """Hold a message, if it has to wait for something."""
        self.check_open()
        before = self._before()
        if self.held is None and not before:
            return False
        held = self._holding(before)
        self.transport.counts.meant += 1
        key = self.transport.key_alone(payload, channel, policy)
        if not held.hold(frame, key, policy):
            self.transport.evict(End.of(Cause.OVERFLOW, "too slow"))
        return True

    def _holding(self, before: Sequence[Receipt | SendingQueue]) -> HeldMessages:
        if self.held is None:
            runtime = self.runtime
            settings = runtime.settings
            policy, counts = self.transport.policy, self.transport.counts
            outbox = Outbox(settings.outbox_messages, settings.outbox_bytes, policy, counts)
            deadline = max(runtime.box.engine.deadline, settings.write_timeout if self.override_queues else 0.0)
            self.held = HeldMessages(outbox, self._let_go, runtime.timers, deadline)
        self.held.wait_for(before)
        return self.held

    def _let_go(self) -> None:
        """Every post has come back: send what waited for it."""
        held, self.held = self.held, None
        if held is None:
            return
        self.catch_up()
        while held.outbox.messages:
            self.transport.offer(held.outbox.take_nowait())
        if held.end is not None and self.transport.lifecycle.phase is Phase.OPEN:
            self.transport.close_nowait(held.end)

    def _release_held(self) -> None:
        held, self.held = self.held, None
        if held is not None:
            held.discard()
