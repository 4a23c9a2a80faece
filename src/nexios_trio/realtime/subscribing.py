"""A subscription from its command on: who may, what was missed, the answer, and then what comes live.

    with Joining(...) as joining:
        result = await joining.prepare()        the first part of what was missed, or where the client stands
        ...                                     the client is told that it is subscribed
        await joining.complete()                the rest, at the pace of the client, up to the moment of joining

In a group that keeps its messages, what comes live meanwhile is read from its history, as for every channel that
resumes. In one that does not, the client joins first, and what comes is held until it has been told.
"""

import logging
from contextlib import ExitStack
from typing import Any, Final

from ..core.message import Message, Position
from ..core.names import check_group_name
from ..engines.base import HistoryPage, Receipt
from ..exceptions import InvalidName, WebSocketDisconnect
from ..groups.resuming import Resumption
from .encodings import publication_data
from .errors import refuse
from .protocol.codecs import Codec
from .protocol.codes import ErrorCode, SubscribeFlag
from .protocol.data import Data
from .protocol.parts import Publication
from .protocol.replies import SubscribeResult
from .protocol.requests import SubscribeRequest
from .rules import Rules
from .subscriptions import Subscription, SubscriptionState

__all__ = ["Joining", "check_group", "position_of", "publication_of"]

logger = logging.getLogger("nexios_trio.realtime")

PAGE_MESSAGES: Final = 256  # in one answer; the rest follows
PAGE_BYTES: Final = 65536  # of payloads


def check_group(name: str) -> str:
    """Return the name of a group that clients may speak of. Raises: CommandRefused."""
    try:
        return check_group_name(name)
    except InvalidName:
        raise refuse(ErrorCode.UNKNOWN_CHANNEL) from None


def position_of(offset: int, epoch: str) -> Position | None:
    """Return the position that a client has sent, if it can be one."""
    try:
        return Position.parse(f"{epoch}:{offset}")
    except ValueError:
        return None


def publication_of(message: Message, codec: Codec) -> Publication:
    """Return a kept message as a part of an answer."""
    offset = 0 if message.position is None else message.position.offset
    return Publication(Data(raw=publication_data(message, codec), is_json=codec.is_text), offset=offset)


class _Recovery(Resumption):
    """A client's way into a group that keeps its messages: what was missed first goes into the answer."""

    async def first(self, request: SubscribeRequest, codec: Codec) -> SubscribeResult:
        """Read where the client stands. Checkpoint: always. Raises: CommandRefused; EngineError."""
        if self._tail is not None:
            self._tail.clear()
        page: HistoryPage | None = None
        since = position_of(request.offset, request.epoch) if request.recover else None
        if since is None:
            page = await self._box.engine.history(self._group, limit=0)
            if request.recover and not request.epoch:
                since = Position(request.offset, page.top.epoch)
        if since is not None:
            limits: dict[str, Any] = {"limit": PAGE_MESSAGES, "max_bytes": PAGE_BYTES}
            page = await self._box.engine.history(self._group, since, **limits)
        assert page is not None
        self._check()
        is_of_now = since is not None and (since.epoch != page.top.epoch or since.offset <= page.top.offset)
        result = SubscribeResult(recoverable=True, positioned=True, epoch=page.top.epoch)
        result.was_recovering = request.recover
        result.recovered = since is not None and page.complete and is_of_now
        if request.recover and not result.recovered and request.flag & SubscribeFlag.REJECT_UNRECOVERED:
            raise refuse(ErrorCode.UNRECOVERABLE_POSITION)
        if not result.recovered:
            self._cursor = page.top
            result.offset = page.top.offset
            return result
        for message in page.messages:
            message.group = self._group
            if not self._channel.is_excluded(message):
                result.publications.append(publication_of(message, codec))
        self._cursor = page.messages[-1].position if page.messages else page.top
        result.offset = request.offset
        return result


class Joining:
    """One client on its way into one group.

    Args:
        box: its groups.
        client: a `RealtimeClient`.
        rules: who may, where the client asks for it; then the box is asked, too.
        request: what the client has sent; for a subscription that the server begins, where the client stood.
    """

    def __init__(self, box: Any, client: Any, rules: Rules | None, request: SubscribeRequest) -> None:
        self._box = box
        self._client = client
        self._rules = rules
        self._request = request
        self._stack = ExitStack()
        self._subscription: Subscription | None = None
        self._recovery: _Recovery | None = None
        self._is_told = False

    def __enter__(self) -> "Joining":
        return self

    def __exit__(self, *_: object) -> None:
        """Whatever happens, there is a live subscription afterwards, or none at all."""
        self._stack.close()
        subscription = self._subscription
        if subscription is not None and subscription.state is SubscriptionState.JOINING:
            if self._is_told:
                subscription.has_missed = True
                self._client.subscribed(subscription)
            else:
                self._client.leave(subscription.group)

    async def prepare(self) -> SubscribeResult:
        """Ask who may, and read what was missed.

        Checkpoint: always. Cancellation: the client is not subscribed.
        Raises: CommandRefused, NotAuthorized, EngineError; what rules raise.
        """
        request, client = self._request, self._client
        group = check_group(request.channel)
        if request.tf:
            raise refuse(ErrorCode.BAD_REQUEST, "there are no filters by tags")
        if request.type:
            raise refuse(ErrorCode.NOT_AVAILABLE, "subscriptions are of type 0")
        if client.subscription(group) is not None:
            raise refuse(ErrorCode.ALREADY_SUBSCRIBED)
        if client.is_full:
            raise refuse(ErrorCode.LIMIT_EXCEEDED, "too many subscriptions")
        if self._rules is not None and not await self._rules.allow(client, group, "subscribe"):
            raise refuse(ErrorCode.PERMISSION_DENIED)
        is_kept = self._box.keeps(group)
        self._subscription = client.begin_subscription(group, is_kept=is_kept)
        tail = None
        if self._box.engine.is_local:
            await self._authorize(group, None)
        else:
            watch = self._stack.enter_context(self._box.engine_client.joining(group))
            await self._authorize(group, watch)
            if is_kept:
                tail = self._box.engine_client.tail(group)
                self._stack.callback(self._box.engine_client.unfollow, tail)
        if not is_kept:
            self._box.join_watched(client, group)
            return SubscribeResult()
        self._recovery = _Recovery(self._box, client, group, Position(0, ""), tail)
        return await self._recovery.first(request, client.codec)

    async def _authorize(self, group: str, watch: Receipt | None) -> None:
        if self._rules is not None:
            await self._box._authorize_join(self._client, group, watch)
        elif watch is not None:
            await watch

    async def complete(self) -> None:
        """Give the client the rest of what was missed, and then what comes live: it was told that it is subscribed.

        Checkpoint: where the group keeps its messages. Cancellation: the client is told that messages are missing.
        Where it cannot, such as when the engine fails, the client is told so, and subscribes again.

        Raises: WebSocketDisconnect.
        """
        subscription = self._subscription
        assert subscription is not None
        self._is_told = True
        if self._recovery is not None:
            try:
                resumed = await self._recovery.run()
            except WebSocketDisconnect:
                raise
            except Exception as error:
                logger.warning("a subscription to %s has to begin anew: %s", subscription.group, error)
                subscription.has_missed = True
            else:
                subscription.has_missed |= not resumed.recovered
        self._client.subscribed(subscription)
