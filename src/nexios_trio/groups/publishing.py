"""What is sent to a group: checked, authorized, numbered by the engine, delivered to the members here.

Publishing goes through the engine, which gives each message its position and calls `Broadcaster.deliver`; the box is
not entered again.
"""

import logging
import time
from math import inf
from typing import Any

import attrs
import trio
from trio.lowlevel import cancel_shielded_checkpoint, checkpoint, checkpoint_if_cancelled

from ..core.json import JsonDefault
from ..core.message import NOBODY_EXCLUDED, Message, Position
from ..core.names import check_group_name
from ..engines.base import Engine
from ..exceptions import MessageTooBig
from ..pubsub.history import HistoryLimits
from .authorization import Authorize, require_sender
from .current_box import OnCurrentBox
from .history_size import history_size
from .memberships import Memberships, excluded_ids
from .results import GroupSendStatusEnum

logger = logging.getLogger("nexios_trio.box")

_NO_PAYLOAD: Any = object()


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
        self._authorize = authorize
        self.json_default = json_default
        self._max_message_size = inf  # of what is sent to groups
        self._published = 0
        # From here on the engine gives each message to the broadcaster itself. One that serves other processes too does
        # so at any time, so memberships that have expired must go first; else `group_send` sees to that.
        if engine.is_local:
            engine.attach(self.broadcaster.deliver)  # and does not keep the box alive
        else:
            engine.attach(self._deliver_from_elsewhere, self._gap, self._answer)

    def bound_messages(self, size: int) -> None:
        """Refuse group messages of more than `size` bytes; of several bounds, the lowest holds."""
        self._max_message_size = min(self._max_message_size, size)

    @OnCurrentBox
    async def group_send(
        self,
        group_name: str = "default",
        payload: Any = _NO_PAYLOAD,
        save_history: bool = False,
        exclude: Any = None,
    ) -> GroupSendStatusEnum:
        """Send to every member of the group, in order, waiting for none of them.

        Each member's overflow policy decides what happens when its outbox is full. After a burst this lets the members'
        writers catch up as long as they get on, for 5 ms at most: a loop of sends drops nobody who keeps up.

        Checkpoint: always. Cancellation: with the engine of one process, nothing was sent. Once it was, a caller that
            is cancelled stops waiting and gets the status; Cancelled comes from the next checkpoint.
        Args:
            payload: anything that JSON can carry, or bytes; an empty object by default.
            save_history: keep it, for `show_history`; also when nobody is in the group yet.
            exclude: a channel, or several, that must not get it.
        Raises: ValueError when the payload cannot be encoded, or the name is bad; MessageTooBig when no outbox could
            ever take it; NotAuthorized. Nothing was sent to anybody.
        """
        check_group_name(group_name)
        excluded = NOBODY_EXCLUDED if exclude is None else excluded_ids(exclude)
        content = {} if payload is _NO_PAYLOAD else payload
        message = Message(content, time.time(), excluded=excluded, json_default=self.json_default)
        if message.size > self._max_message_size:
            await checkpoint()
            raise MessageTooBig(f"a group message of {message.size} bytes: outboxes hold {self._max_message_size:g}")
        if self._authorize is not None:
            await require_sender(self._authorize, group_name)
        limits = self._limits_now() if save_history else None
        if self._timers:
            self.timers.fire_due(trio.current_time())
        groups = self._index.groups
        if limits is None and group_name not in groups and self.engine.is_local:
            await checkpoint()
            return GroupSendStatusEnum.NO_SUCH_GROUP
        # The engine gives it to `Broadcaster.deliver`, here and on every other node, before this returns or later.
        await checkpoint_if_cancelled()
        receipt = self.engine.post(group_name, message, keep=limits)
        if receipt.is_settled:
            await cancel_shielded_checkpoint()
        else:
            await receipt
        self._published += 1
        group = groups.get(group_name)
        if group is not None and group.backlogs:
            await self.broadcaster.wait_for_writers(group)
        return GroupSendStatusEnum.GROUP_SEND if receipt.is_watched else GroupSendStatusEnum.NO_SUCH_GROUP

    def _deliver_from_elsewhere(self, group_name: str, message: Message) -> None:
        self.timers.fire_due(trio.current_time())
        self.broadcaster.deliver(group_name, message)

    def _gap(self, group_name: str, after: Position | None, upto: Position | None) -> None:
        """Take everybody out of the group, and close their connections: they were owed what will never come."""
        group = self._index.groups.get(group_name)
        if group is None:
            return
        logger.warning("group %s has missed messages after %s, up to %s", group_name, after, upto)
        for channel in tuple(group.members):
            self.leave_nowait(channel, group_name)
            channel.missed(group_name)

    def _answer(self, request: bytes) -> bytes:
        return b""

    def _limits_now(self) -> HistoryLimits:
        if not self._reads_history_size:
            return self._history_limits
        return attrs.evolve(self._history_limits, max_bytes=history_size())
