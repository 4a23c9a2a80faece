"""A connection as a member of its user's personal group: what is sent to the user reaches it once.

What it is given it hands to the connection's first channel, so that it is written as what groups send, through an
override of `send` if there is one; a connection without a channel gets JSON.
"""

import logging
from typing import Any, Final
from uuid import UUID, uuid4

import trio

from ..core.json import JsonDefault
from ..core.lifecycle import DROPPED, Cause, End
from ..core.message import FrameIndex, Message, Position
from ..core.payloads import FRAME_INDEXES, PayloadTypeEnum, encode
from ..engines.base import Receipt
from ..exceptions import WebSocketDisconnect
from ..groups.box_member import BoxMember, MemberBox
from ..groups.users import UserBox, UserMember
from ..logs.fields import client_name
from ..pubsub.group import Receiver
from .last_calls import LastCall

__all__ = ["PersonalMember"]

logger = logging.getLogger("nexios_trio.connection")

JSON: Final = FRAME_INDEXES[PayloadTypeEnum.JSON]


class PersonalMember(UserMember):
    """Owned by a session, among whose channels it is.

    Args:
        key: the user.
        box: knows it until `release`.
    """

    close_on_expire = False

    def __init__(self, session: Any, key: str, box: UserBox) -> None:
        self.uuid: UUID = uuid4()
        self._session = session
        self._key = key
        self._box = box
        self._scopes: set[trio.CancelScope] = set()  # what is done for the user, and waits
        self.is_released = False

    @property
    def key(self) -> str:
        return self._key

    @property
    def siblings(self) -> list[BoxMember]:
        return [channel for channel in self._session.channels if channel is not self]

    def describe(self) -> dict[str, Any]:
        scope = self._session.scope
        return {"id": self._session.id, "path": scope.get("path", ""), "client": client_name(scope.get("client"))}

    @property
    def _first(self) -> BoxMember | None:
        return next((one for one in self._session.channels if one is not self and not one.is_released), None)

    # Of its box

    @property
    def expires_at(self) -> float | None:
        return None

    @property
    def expired(self) -> bool:
        return False

    @property
    def is_over(self) -> bool:
        return self.is_released or self._session.transport.end is not None

    @property
    def identity(self) -> object:
        return self  # the session makes another one for another user

    @property
    def user_key(self) -> str:
        return self._key

    def cancel_on_revoke(self, scope: trio.CancelScope) -> None:
        self._scopes.add(scope)

    def keep_on_revoke(self, scope: trio.CancelScope) -> None:
        self._scopes.discard(scope)

    def receiver(self) -> tuple[Receiver, FrameIndex]:
        first = self._first
        return (self._session.transport, JSON) if first is None else first.receiver()

    def renew(self) -> None:
        """Reach the connection as it is now: it has another transport, or another first channel."""
        self._box.renew_receiver(self)

    def check_joinable(self) -> None:
        end = self._session.transport.lifecycle.end
        if self.is_released or (end is not None and end.cause in DROPPED):
            raise WebSocketDisconnect(1000) if end is None else WebSocketDisconnect(end.code, end.reason)

    def entered(self, box: MemberBox) -> None: ...

    def expire(self) -> None: ...

    def push(self, payload: Any, json_default: JsonDefault | None = None) -> None:
        first = self._first
        if first is not None:
            first.push(payload, json_default)
        else:
            frame = encode(payload, PayloadTypeEnum.JSON, json_default)
            self._session.transport.offer_alone(frame, payload, self.uuid, None)

    def is_excluded(self, message: Message) -> bool:
        return any(channel.is_excluded(message) for channel in self.siblings)

    async def send_group_message(self, message: Message) -> None:
        first = self._first
        if first is not None:
            await first.send_group_message(message)
        else:
            await self._session.send(message.frame(JSON))

    @property
    def has_nothing_queued(self) -> bool:
        first = self._first
        return (
            first.has_nothing_queued if first is not None else not self._session.transport.statistics().queued_messages
        )

    def push_group_message(self, message: Message) -> None:
        first = self._first
        if first is not None:
            first.push_group_message(message)
        else:
            self._session.transport.offer_alone(message.frame(JSON), message.payload, self.uuid, None)

    def missed(self, group: str, after: Position | None, upto: Position | None) -> bool:
        first = self._first
        if first is not None and first.missed(group, after, upto):
            return True
        return self._box.user_limits is None  # nobody has promised that nothing is missed

    def fail_join(self, end: End) -> None:
        self._box.rejoin_user(self)

    def evict(self, end: End) -> None:
        self._session.transport.evict(end)

    def come_back(self) -> None:
        self._session.transport.evict(End.of(Cause.GAP, "messages were missed"))

    async def shut(self, code: int, reason: str) -> None:
        first = self._first
        if first is not None:
            await first.shut(code, reason)
            return
        end = End(code, reason, Cause.LOCAL_CLOSE)
        settings = self._session.runtime.settings
        with trio.move_on_after(settings.write_timeout + settings.close_timeout) as scope:
            try:
                await self._session.close(end)
            except Exception:
                logger.exception("close of a connection failed", extra=self._session.log_fields())
        if scope.cancelled_caught and self._session.transport.end is None:
            self._session.transport.kill(end)

    # Of its session

    def catch_up(self) -> None:
        self._box.catch_up(self)

    def unsettled_posts(self) -> list[Receipt]:
        return self._box.unsettled_posts(self)

    async def settle_posts(self) -> None:
        await self._box.settle_posts(self)

    async def accepted(self) -> None:
        self.renew()

    def disconnect_calls(self) -> list[LastCall]:
        return []

    def leave_groups(self) -> None:
        self._box.leave_all(self)

    def release(self) -> None:
        self.is_released = True
        self._box.leave_user(self)
        for scope in self._scopes:
            scope.cancel(reason="the connection is another user's, or nobody's")
