"""One connection of the protocol, as its groups see it.

It is a member like a channel, and its own receiver: messages are written to it by its transport, which it
stands in front of, for what a transport cannot know. Whoever is told that it is subscribed is told so before the first
publication; whoever has missed one is told that, too, and gets none behind it.
"""

from functools import partial
from random import random
from typing import Any, Final

import trio

from ..channels.connection_binding import ConnectionBinding
from ..connections.websocket import WebSocket
from ..core.json import JsonDefault, encode_json
from ..core.lifecycle import Cause, End
from ..core.message import Batch, Frame, FrameIndex, KeptFrame, Message, Position
from ..core.names import is_reserved
from ..core.overflow import Policy
from ..core.payloads import PayloadTypeEnum
from ..pubsub.group import Membership, Receiver
from ..pubsub.writing import Backlog, WriteNow
from ..transports.timers import Timer
from .encodings import frame_index, message_index
from .notices import Notices
from .protocol import replies
from .protocol.codecs import Codec
from .protocol.codes import UnsubscribeCode
from .protocol.data import Data
from .protocol.server_protocol import ServerProtocol
from .subscriptions import Subscription, SubscriptionState

__all__ = ["RealtimeMember"]

RETURN_SECONDS: Final = 2.0  # over which those who have missed messages of a group subscribe again


class RealtimeMember(ConnectionBinding, Receiver):
    """The side of a client that its groups and its conversation see. Users see `RealtimeClient`.

    Args:
        protocol: its conversation.
    """

    def __init__(self, websocket: WebSocket, protocol: ServerProtocol) -> None:
        super().__init__(websocket._session, PayloadTypeEnum.JSON, overrides_send=False, close_on_expire=False)
        self._protocol = protocol
        self._subscriptions: dict[str, Subscription] = {}
        self._notices = Notices()
        self._session.runtime.box.track(self)

    @property
    def codec(self) -> Codec:
        """Return how the client reads and writes."""
        return self._protocol.codec

    def data_of(self, payload: Any) -> Data:
        """Return what the application answers with, for an answer. Raises: PayloadError."""
        if isinstance(payload, bytes | bytearray | memoryview):
            return Data(raw=bytes(payload))
        return Data(payload, raw=encode_json(payload, self._session.runtime.settings.json_default))

    # Subscriptions. Its conversation begins them, and the box ends them.

    def subscription(self, group: str) -> Subscription | None:
        """Return what there is of a subscription to the group, ended ones left out."""
        found = self._subscriptions.get(group)
        return None if found is None or found.state is SubscriptionState.ENDED else found

    @property
    def is_full(self) -> bool:
        """It has as many subscriptions as a connection may have."""
        return len(self._subscriptions) >= self._session.runtime.settings.max_groups_per_channel

    def begin_subscription(self, group: str, *, is_kept: bool) -> Subscription:
        """Note that the client is about to join. `subscribed` or `forget_subscription` must follow."""
        self.forget_subscription(group)
        made = self._subscriptions[group] = Subscription(group, is_kept, is_held=not is_kept)
        return made

    def subscribed(self, subscription: Subscription) -> None:
        """Give the client what comes live: it has been told that it is subscribed."""
        if subscription.state is not SubscriptionState.JOINING:
            return
        subscription.state = SubscriptionState.LIVE
        if subscription.is_held:
            membership = subscription.membership
            for message in subscription.let_go():
                self.push_group_message(message)
            if membership is not None:
                membership.set_write_now(self._session.transport.attach(membership))
        if subscription.has_missed:
            self._end_subscription(subscription.group, UnsubscribeCode.INSUFFICIENT, "messages are missing")

    def forget_subscription(self, group: str) -> None:
        """Know nothing of it any more, and say nothing of it."""
        found = self._subscriptions.pop(group, None)
        if found is not None:
            found.state = SubscriptionState.ENDED
            if found.notice is not None:
                self._box.timers.stop(found.notice)

    def leave(self, group: str) -> None:
        """Leave the group, as the client wants it. A no-op where it is not subscribed."""
        self.forget_subscription(group)
        self._box.leave_group(self, group)

    def _end_subscription(self, group: str, code: UnsubscribeCode, reason: str, delay: float = 0.0) -> bool:
        found = self.subscription(group)
        if found is None:
            return False
        found.state = SubscriptionState.ENDED
        self._box.leave_group(self, group)
        frame = self._frame(replies.Push(group, replies.Unsubscribe(code, reason)))
        if delay:
            found.notice = Timer(partial(self._tell_end, group, frame))
            self._box.timers.set(found.notice, trio.current_time() + delay)
        else:
            self._tell_end(group, frame)
        return True

    def _tell_end(self, group: str, frame: KeptFrame) -> None:
        self._subscriptions.pop(group, None)
        self.tell(frame)

    def tell(self, frame: KeptFrame) -> None:
        """Say something unasked. Synchronous; it is never dropped."""
        self._notices.tell(self._session, frame, self._session.start_soon)

    def _frame(self, push: replies.Push) -> KeptFrame:
        return KeptFrame(self._protocol.push(push), self._protocol.codec.is_text)

    # A member of groups

    @property
    def expires_at(self) -> float | None:
        return None

    @property
    def expired(self) -> bool:
        return False

    def receiver(self) -> tuple[Receiver, FrameIndex]:
        return self, self._frame_index

    def _index_for(self, group: str) -> FrameIndex:
        if is_reserved(group):
            return message_index(self._protocol.codec)
        found = self._subscriptions.get(group)
        return frame_index(self._protocol.codec, is_kept=found is not None and found.is_kept)

    def _encode(self, payload: Any, json_default: JsonDefault | None) -> Frame:
        return self._frame(replies.Push("", replies.Message(self.data_of(payload))))

    async def send_group_message(self, message: Message) -> None:
        await self._session.send(message.frame(self._index_for(message.group)))

    def push_group_message(self, message: Message) -> None:
        transport = self._session.transport
        transport.counts.has_refused = False
        transport.offer_alone(message.frame(self._index_for(message.group)), message.payload, self.uuid, self.overflow)
        if transport.counts.has_refused:
            transport.counts.has_refused = False
            found = self._subscriptions.get(message.group)
            if found is not None:
                found.has_missed = True

    def missed(self, group: str, after: Position | None, upto: Position | None) -> bool:
        found = self.subscription(group)
        if found is None or self._session.is_over:
            return False
        if found.is_kept:
            # Not all at the same time: each asks the history.
            delay = random() * RETURN_SECONDS
            self._end_subscription(group, UnsubscribeCode.INSUFFICIENT, "messages are missing", delay)
        return True

    # Its own receiver

    def attach(self, membership: Membership[Any]) -> WriteNow | None:
        group = membership.group.name
        found = self.subscription(group)
        if found is None and not is_reserved(group):
            found = self._subscribed_by_server(group)
        membership.frame_index = self._index_for(group)
        if found is not None and found.is_held:
            found.membership = membership
            return None
        return self._session.transport.attach(membership)

    def _subscribed_by_server(self, group: str) -> Subscription:
        """Tell the client: somebody has made it a member, past its conversation."""
        made = self._subscriptions[group] = Subscription(group, is_kept=False, state=SubscriptionState.LIVE)
        self.tell(self._frame(replies.Push(group, replies.Subscribe())))
        return made

    def detach(self, membership: Membership[Any]) -> None:
        group = membership.group.name
        found = self.subscription(group)
        if found is None or not found.is_held:
            self._session.transport.detach(membership)
        if found is not None and found.state is SubscriptionState.LIVE and not self.is_released:
            self._subscriptions.pop(group)
            found.state = SubscriptionState.ENDED
            frame = self._frame(replies.Push(group, replies.Unsubscribe(UnsubscribeCode.SERVER, "unsubscribed")))
            self.tell(frame)

    def heed_policy(self, policy: Policy) -> None:
        self._session.transport.heed_policy(policy)

    def offer_batch(self, membership: Membership[Any], batch: Batch, written: int = 0) -> Backlog | None:
        group = membership.group.name
        found = self.subscription(group)
        if found is None and not is_reserved(group):
            self._session.counts.dropped_latest += len(batch.messages)
            return None
        if found is not None and found.is_held:
            for message in batch.messages:
                if not found.hold(message):
                    self._session.counts.lose(1)
            return None
        return self._session.transport.offer_batch(membership, batch, written)

    def interrupt(self, membership: Membership[Any]) -> None:
        self._end_subscription(membership.group.name, UnsubscribeCode.INSUFFICIENT, "too slow")

    # Its connection

    def release(self) -> None:
        for group in tuple(self._subscriptions):
            self.forget_subscription(group)
        super().release()

    def fail_join(self, end: End) -> None:
        self._session.transport.evict(End.of(Cause.GAP, end.reason))

    @property
    def _box(self) -> Any:
        return self._session.runtime.box
