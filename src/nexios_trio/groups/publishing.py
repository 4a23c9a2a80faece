"""What is sent to a group: checked, authorized, numbered by the engine, delivered to the members here.

Publishing goes through the engine, which gives each message its position and calls `Broadcaster.deliver`; the box is
not entered again.
"""

import logging
import time
from collections.abc import Callable
from math import inf
from typing import Any

import attrs
import trio
from trio.lowlevel import cancel_shielded_checkpoint, checkpoint, checkpoint_if_cancelled

from ..core.json import JsonDefault
from ..core.message import NOBODY_EXCLUDED, Message, Position
from ..core.names import check_group_name
from ..engines.base import Engine, Receipt
from ..exceptions import MessageTooBig
from ..pubsub.history import DEFAULT_MAX_BYTES, HistoryLimits
from ..transports.timers import Timer
from .authorization import Authorize, acting_session, is_async, require_sender, require_sender_now
from .current_box import OnCurrentBox, check_thread, require_trio_run
from .group_patterns import GroupPatterns
from .history_size import history_size
from .memberships import Memberships, excluded_ids
from .results import GroupSendStatusEnum
from .user_quotas import UserQuotas

logger = logging.getLogger("nexios_trio.box")

MAX_KEPT_MESSAGES = 10_000  # of one group, unless said otherwise; each takes 300 bytes besides its payload
COME_BACK_SECONDS = 2.0  # over which those who have missed messages are sent away
_NO_PAYLOAD: Any = object()

# `Engine.post`
Post = Callable[..., Receipt]


class Publishing(Memberships):
    """The half of a box that messages go through.

    Args:
        history_limits: of groups whose messages are kept.
        reads_history_size: their bytes are what the environment says whenever a message is kept.
    """

    def __init__(
        self,
        engine: Engine,
        history_limits: HistoryLimits,
        *,
        reads_history_size: bool,
        max_groups_per_channel: int,
        authorize: Authorize | None,
        json_default: JsonDefault | None,
    ) -> None:
        super().__init__(engine, max_groups_per_channel)
        self._history_limits = history_limits
        self._reads_history_size = reads_history_size
        self._kept: GroupPatterns[HistoryLimits] = GroupPatterns()
        self._authorize = authorize
        self.json_default = json_default
        self._max_message_size = inf  # of what is sent to groups
        self._published = 0
        self._post: Post  # the engine's, and what was put around it
        self._around_posts: list[Callable[[Post], Post]] = []
        self._attach_to(engine)

    @property
    def has_async_authorize(self) -> bool:
        """Tell whether `authorize` has to be awaited, so that what does not wait cannot ask it."""
        return self._authorize is not None and is_async(self._authorize)

    def _attach_to(self, engine: Engine) -> None:
        self._post = engine.post
        for wrap in self._around_posts:
            self._post = wrap(self._post)
        # From here on the engine gives each message to the broadcaster itself. One that serves other processes too does
        # so at any time, so memberships that have expired must go first; else `group_send` sees to that.
        if engine.is_local:
            engine.attach(self.broadcaster.deliver)  # and does not keep the box alive
        else:
            engine.attach(self._deliver_from_elsewhere, self._gap, self._answer)
            engine.kept_rules = lambda: [*self._kept.rules, (None, self._limits_now())]
            engine.followed = self.engine_client.followed

    def _wrap_posts(self, wrap: Callable[[Post], Post]) -> None:
        """Put something around what gives each message to the engine. For traces."""
        self._around_posts.append(wrap)
        self._post = wrap(self._post)

    def bound_messages(self, size: int) -> None:
        """Refuse group messages of more than `size` bytes; of several bounds, the lowest holds."""
        self._max_message_size = min(self._max_message_size, size)

    @OnCurrentBox
    def keep(
        self,
        pattern: str,
        *,
        max_messages: int | None = MAX_KEPT_MESSAGES,
        max_bytes: int = DEFAULT_MAX_BYTES,
        max_age: float | None = None,
    ) -> None:
        """Keep every message of the groups whose names match, for those who come back and have missed some.

        What is over the limits goes, the oldest first. `show_history` still shows what was sent with
        `save_history=True` alone. Of several patterns that match, the one that was given first holds. It applies to
        what is sent from now on.

        Args:
            pattern: a group name in which `*` stands for any characters: "chat.*".
            max_messages: of each group; None for no bound.
            max_bytes: of serialized messages of each group; what all groups together cost is the engine's to bound.
            max_age: seconds; None for no bound.
        Raises: TypeError, ValueError.
        """
        self._kept.add(pattern, HistoryLimits(max_bytes, max_messages, max_age, overflow="trim"))

    def keeps(self, group_name: str) -> bool:
        """Tell whether every message of the group is kept."""
        return self._kept.of(group_name) is not None

    @OnCurrentBox
    async def group_send(
        self,
        group_name: str = "default",
        payload: Any = _NO_PAYLOAD,
        save_history: bool = False,
        exclude: Any = None,
        *,
        transient: bool = False,
        key: str | None = None,
    ) -> GroupSendStatusEnum:
        """Send to every member of the group, in order, waiting for none of them.

        Each member's overflow policy decides what happens when its outbox is full. After a burst this lets the members'
        writers catch up as long as they get on, for 5 ms at most: a loop of sends drops nobody who keeps up.

        When it returns, the message has its place among those of the group, and the members on this node have been
        given it: what the same task sends to one of them next comes after it.

        Checkpoint: always. Cancellation: with the engine of one process, nothing was sent; with another, it may have
            been. Once it was, a caller that is cancelled stops waiting and gets the status; Cancelled comes from the
            next checkpoint.
        Args:
            payload: anything that JSON can carry, or bytes; an empty object by default.
            save_history: keep it, for `show_history`; also when nobody is in the group yet.
            exclude: a channel, or several, that must not get it.
            transient: only for those who are there now, such as "is typing": not kept in a group that is.
            key: a name for this message, of up to 200 characters. A second one with the same name within five minutes
                is not sent: for a retry whose first try may have been.
        Raises: ValueError when the payload cannot be encoded, or a name is bad; MessageTooBig when no outbox could
            ever take it; NotAuthorized; EngineError. Nothing was sent to anybody, except where an EngineError says so
            by its `maybe_published`.
        """
        try:
            message, limits = self._prepare(group_name, payload, save_history, exclude, transient)
            if message.size > self._max_message_size:
                await checkpoint()
                raise self._too_big(message)
            if self.quotas is not None:
                self._count_publish(self.quotas)
            if self._authorize is not None:
                await require_sender(self._authorize, group_name)
            if self._timers:
                self.timers.fire_due(trio.current_time())
            groups = self._index.groups
            if limits is None and group_name not in groups and self.engine.is_local:
                await checkpoint()
                return GroupSendStatusEnum.NO_SUCH_GROUP
            # The engine gives it to `Broadcaster.deliver`, here and on every other node, before this returns or later.
            await checkpoint_if_cancelled()
            receipt = self._post(group_name, message, keep=limits, key=key)
            if not receipt.is_settled:
                self.engine_client.remember(group_name, receipt)
                await receipt
            elif receipt.error is None:
                await cancel_shielded_checkpoint()
            else:
                await receipt  # for its error
            self._published += 1
            group = groups.get(group_name)
            if group is not None and group.backlogs:
                await self.broadcaster.wait_for_writers(group)
            return GroupSendStatusEnum.GROUP_SEND if receipt.is_watched else GroupSendStatusEnum.NO_SUCH_GROUP
        except RuntimeError:
            require_trio_run()  # what trio says elsewhere helps nobody
            raise

    @OnCurrentBox
    def post(
        self,
        group_name: str = "default",
        payload: Any = _NO_PAYLOAD,
        save_history: bool = False,
        exclude: Any = None,
        *,
        transient: bool = False,
        key: str | None = None,
    ) -> Receipt:
        """Do what `group_send` does without waiting for the engine: `await` what this returns for the position.

        Many messages may be on their way at once; what one task posts and sends to a group stays in order. It lets
        nobody else run, so a long loop of posts fills the outboxes of members who would have kept up: let it pass a
        checkpoint now and then.

        Returns: the message's receipt; its `is_watched` is False where `group_send` says NO_SUCH_GROUP. A failure that
            nobody awaits is nobody's.
        Raises: as `group_send`; EngineError also when too much is on its way already; TypeError when the box's
            `authorize` is asynchronous.
        """
        check_thread(self)
        message, limits = self._prepare(group_name, payload, save_history, exclude, transient)
        if message.size > self._max_message_size:
            raise self._too_big(message)
        if self.quotas is not None:
            self._count_publish(self.quotas)
        if self._authorize is not None:
            require_sender_now(self._authorize, group_name)
        if self._timers:
            self.timers.fire_due(trio.current_time())
        if limits is None and group_name not in self._index.groups and self.engine.is_local:
            return Receipt(True, None, False)
        receipt = self._post(group_name, message, keep=limits, key=key)
        if not receipt.is_settled:
            self.engine_client.remember(group_name, receipt)
        self._published += 1
        return receipt

    group_send_nowait = post  # its name among those of other functions that do not wait

    def _prepare(
        self, group_name: str, payload: Any, save_history: bool, exclude: Any, transient: bool
    ) -> tuple[Message, HistoryLimits | None]:
        """Freeze the payload, and find out what is to be kept."""
        check_group_name(group_name)
        limits = None
        if not transient:
            limits = self._kept.of(group_name) if self._kept.patterns else None
            if save_history and limits is None:
                limits = self._limits_now()
        elif save_history:
            raise ValueError("a transient message is kept by nobody: either transient or save_history")
        message = Message(
            {} if payload is _NO_PAYLOAD else payload,
            time.time(),
            excluded=NOBODY_EXCLUDED if exclude is None else excluded_ids(exclude),
            json_default=self.json_default,
            is_shown=save_history,
            is_transient=transient,
        )
        if limits is not None and exclude is not None:
            message.excluded_users = self.users_of(message.excluded)
        return message, limits

    def _count_publish(self, quotas: UserQuotas) -> None:
        """Count what a connection publishes as its user's. Raises: QuotaExceeded."""
        session = acting_session()
        if session is not None:
            quotas.check_publish(session.user_key, trio.current_time())

    def _too_big(self, message: Message) -> MessageTooBig:
        return MessageTooBig(f"a group message of {message.size} bytes: outboxes hold {self._max_message_size:g}")

    def _deliver_from_elsewhere(self, group_name: str, message: Message) -> None:
        self.timers.fire_due(trio.current_time())
        self.engine_client.delivered(group_name, message)
        self.broadcaster.deliver(group_name, message)

    def _gap(self, group_name: str, after: Position | None, upto: Position | None) -> None:
        """Tell the members that have missed messages; those that do not listen leave, and have to connect anew."""
        self.engine_client.missed(group_name, upto)
        group = self._index.groups.get(group_name)
        if group is None:
            for listen in tuple(self.broadcaster.listeners.get(group_name, ())):
                listen(None)
            return
        logger.warning("group %s has missed messages after %s, up to %s", group_name, after, upto)
        members = tuple(group.members)
        for number, channel in enumerate(members):
            if not channel.missed(group_name, after, upto):
                self.leave_group(channel, group_name)
                # Not all at the same time: each comes back with a handshake, and a question about the history.
                delay = COME_BACK_SECONDS * number / len(members)
                self.timers.set(Timer(channel.come_back), trio.current_time() + delay)

    def _answer(self, question: bytes) -> bytes:
        """Answer another node."""
        raise NotImplementedError

    def _limits_now(self) -> HistoryLimits:
        if not self._reads_history_size:
            return self._history_limits
        return attrs.evolve(self._history_limits, max_bytes=history_size())
