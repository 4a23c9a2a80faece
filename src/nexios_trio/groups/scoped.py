"""What a box does on this node, or on all nodes that share its groups."""

import logging
import time
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal
from uuid import UUID

import trio
from trio.lowlevel import checkpoint

from ..core.close_codes import check_close_code, check_reason
from ..core.message import Message
from ..core.message_codec import decode_message, encode_message
from ..core.names import check_group_name, is_reserved
from ..exceptions import MessageTooBig
from .current_box import OnCurrentBox, require_trio_run
from .memberships import NOBODY, as_uuid
from .publishing import Publishing
from .questions import Answerer, Question, answer, encode_question, read_answers
from .views import GroupsView

__all__ = ["Scope", "Scoped", "is_node"]

logger = logging.getLogger("nexios_trio.box")

Scope = Literal["node", "all"]  # this process, or every one that shares the groups

TOO_BIG: Final = "too big"  # an answer


class Scoped(Publishing):
    """The part of a box whose calls have a scope. `send_to` finds its channel wherever it is."""

    answerers: ClassVar[Mapping[str, Answerer[Any]]]  # of other nodes' questions

    async def ask_others(self, ask: str, body: bytes = b"", **details: Any) -> list[Any]:
        """Return the answers of the other nodes that have answered in time.

        Checkpoint: always. Raises: EngineError.
        """
        return read_answers(await self.engine.ask(encode_question(ask, body, **details)))

    def _answer(self, question: bytes) -> bytes:
        self.timers.fire_due(trio.current_time())
        return answer(question, self, self.answerers)

    # One channel

    @OnCurrentBox
    async def send_to(self, channel_id: UUID | str, payload: Any) -> bool:
        """Send to one channel, in a group or not, on whatever node it is; False when there is no such channel.

        Checkpoint: always. Raises: ValueError when the payload cannot be encoded; MessageTooBig; EngineError when the
            channel is not on this node, and the others cannot be asked.
        """
        try:
            await checkpoint()
        except RuntimeError:
            require_trio_run()
            raise
        channel = self.find(channel_id)
        if channel is not None:
            if self.engine_client.unsettled:
                await self.settle_posts(channel)
            self.catch_up(channel)
            channel.push(payload, self.json_default)  # raises MessageTooBig before anything is queued
            return True
        wanted = as_uuid(channel_id)
        if not self.engine.is_local and wanted != NOBODY:
            message = Message(payload, time.time(), json_default=self.json_default)
            answers = await self.ask_others("send", encode_message(message), channel=str(wanted))
            if TOO_BIG in answers:
                raise MessageTooBig(f"a message of {message.size} bytes: the outbox of its channel holds less")
            if True in answers:
                return True
        logger.info("send_to: there is no channel %r", str(channel_id)[:64])
        return False

    def _send_for_another(self, asked: Question, body: bytes) -> bool | str:
        channel = self.find(asked["channel"])
        if channel is None:
            return False
        self.catch_up(channel)
        try:
            channel.push(decode_message(body).payload)
        except MessageTooBig:
            return TOO_BIG
        return True

    # All of them

    @OnCurrentBox
    async def group_size(self, group_name: str = "default", scope: Scope = "node") -> int:
        """Count the channels in a group: on this node, or on all that answer in time.

        Checkpoint: always. Raises: ValueError for a bad name or scope; EngineError.
        """
        check_group_name(group_name)
        if is_node(scope):
            await checkpoint()
            return self.size_of(group_name)
        others = await self.ask_others("size", group=group_name)
        return self.size_of(group_name) + sum(map(int, others))

    @OnCurrentBox
    def show_groups(self, scope: Scope = "node") -> GroupsView:
        """The groups and their channels: `await show_groups()` for all, `await show_groups().get(name)` for one.

        Channels of other nodes are there by their ids alone, with scope "all". Raises: ValueError for a bad scope.
        """
        return GroupsView(self._index.groups, None if is_node(scope) else lambda: self.ask_others("groups"))

    def _show_groups_for_another(self, _: Question, __: bytes) -> dict[str, list[str]]:
        return {
            name: [str(channel.uuid) for channel in group.members]
            for name, group in self._index.groups.items()
            if not is_reserved(name)
        }

    @OnCurrentBox
    async def flush_groups(self, scope: Scope = "node") -> None:
        """Empty every group; the channels stay connected.

        Checkpoint: always. Raises: ValueError for a bad scope; EngineError, with this node's groups empty.
        """
        is_here = is_node(scope)
        self._empty_groups()
        if is_here:
            await checkpoint()
        else:
            await self.ask_others("flush")

    def _empty_groups(self, _: Question | None = None, __: bytes = b"") -> None:
        for channel in list(self._channels.values()):
            self.leave_all(channel)

    @OnCurrentBox
    async def close_all_connections(self, code: int = 1001, reason: str = "", scope: Scope = "node") -> None:
        """Close every channel's connection, all at once, waiting `write_timeout` and `close_timeout` for each at most.

        With scope "all", those of other nodes are being closed when this returns.

        Checkpoint: always. Raises: ValueError for a code that may not be sent, or a bad scope; EngineError, with
            nothing closed.
        """
        check_close_code(code)
        check_reason(reason)
        if is_node(scope):
            await checkpoint()
        else:
            await self.ask_others("close", code=code, reason=reason)
        async with trio.open_nursery() as nursery:
            for channel in list(self._channels.values()):
                nursery.start_soon(channel.shut, code, reason)

    def _close_for_another(self, asked: Question, _: bytes) -> None:
        for channel in list(self._channels.values()):
            self.engine_client.start_soon(channel.shut, asked["code"], asked["reason"])


Scoped.answerers = {
    "size": lambda box, asked, _: box.size_of(asked["group"]),
    "groups": Scoped._show_groups_for_another,
    "send": Scoped._send_for_another,
    "flush": Scoped._empty_groups,
    "close": Scoped._close_for_another,
}


def is_node(scope: object) -> bool:
    """Tell whether a scope is this node alone. Raises: ValueError for what is none."""
    if scope not in ("node", "all"):
        raise ValueError(f'scope is "node" (this process) or "all" (every one that shares the groups), not {scope!r}')
    return scope == "node"
