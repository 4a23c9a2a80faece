"""All connections of one user, as applications reach them."""

import time
from typing import Any

import attrs
import trio
from trio.lowlevel import cancel_shielded_checkpoint, checkpoint, checkpoint_if_cancelled

from ..core.close_codes import check_close_code, check_reason
from ..core.message import Message
from ..core.names import check_group_name, personal_group
from ..engines.base import Receipt
from ..exceptions import EngineError
from .current_box import require_trio_run
from .scoped import Scope, is_node
from .users import UserBox

__all__ = ["UserConnection", "UserConnections"]


@attrs.frozen
class UserConnection:
    """One connection of a user.

    Args:
        id: its name in the log, `WebSocket.id`.
        client: the address of its peer.
        groups: those that it is in.
        is_here: it is connected to this process.
    """

    id: str
    path: str
    client: str
    groups: tuple[str, ...]
    is_here: bool


class UserConnections:
    """All connections of one user, on all nodes. Made by `NexiosApp.user`; nobody has to be connected.

    Each of them gets a message once, whatever groups it is in: as its first channel writes group messages, or, where it
    has no channel, as JSON.
    """

    def __init__(self, box: UserBox, key: str) -> None:
        self._box = box
        self._key = key
        self._group = personal_group(key)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._key!r}>"

    @property
    def id(self) -> str:
        """The user, as text."""
        return self._key

    async def send(self, payload: Any, *, transient: bool = False, key: str | None = None) -> bool:
        """Send to every connection of the user, in order, waiting for none of them.

        Checkpoint: always. Cancellation: as `ChannelBox.group_send`.
        Args:
            transient: only for those that are there now: not kept where the user's messages are.
            key: a name for this message, as in `ChannelBox.group_send`.
        Returns: False when nobody was connected. Where messages to users are kept, it is there for those who come back.
        Raises: ValueError when the payload cannot be encoded, or the key is bad; MessageTooBig; EngineError.
        """
        try:
            await checkpoint_if_cancelled()
        except RuntimeError:
            require_trio_run()
            raise
        receipt = self.post(payload, transient=transient, key=key)
        if receipt.is_settled and receipt.error is None:
            await cancel_shielded_checkpoint()
        else:
            await receipt
        box = self._box
        await box.wait_for_writers(self._group)
        return receipt.is_watched

    def post(self, payload: Any, *, transient: bool = False, key: str | None = None) -> Receipt:
        """Do what `send` does without waiting for the engine. As `ChannelBox.post`.

        Returns: the message's receipt; its `is_watched` is False where `send` gives False.
        Raises: as `send`; EngineError also when too much is on its way already.
        """
        box = self._box
        limits = None if transient else box.user_limits
        message = Message(payload, time.time(), json_default=box.json_default, is_transient=transient)
        return box.post_to_user(self._key, self._group, message, limits, key)

    async def disconnect(self, reason: str = "", code: int = 1000, scope: Scope = "all") -> int:
        """Close every connection of the user, all at once; what was sent before goes out first.

        Those of this process are closed when this returns, within `write_timeout` and `close_timeout`; those of others
        are being closed.

        Checkpoint: always. Cancellation: those that are not closed yet may stay.
        Args:
            reason: for the peers, up to 123 bytes.
        Returns: how many there were.
        Raises: ValueError for a code or reason that may not be sent, or a bad scope; EngineError when the other
            processes cannot be asked: then only those of this one are closed.
        """
        check_close_code(code)
        check_reason(reason)
        others, error = await self._ask(scope, "disconnect user", code=code, reason=reason)
        members = self._box.connections_here(self._key)
        async with trio.open_nursery() as nursery:
            for member in members:
                nursery.start_soon(member.shut, code, reason)
        if error is not None:
            raise error
        return len(members) + sum(map(int, others))

    async def unsubscribe(self, group_name: str, scope: Scope = "all") -> int:
        """Let every channel of the user leave a group.

        Checkpoint: always. Returns: how many were in it.
        Raises: ValueError for a bad name or scope; EngineError when the other processes cannot be asked: then only
            channels of this one have left.
        """
        check_group_name(group_name)
        is_node(scope)  # refuses a bad one, before anything has happened
        here = self._box.unsubscribe_user({"user": self._key, "group": group_name})
        others, error = await self._ask(scope, "unsubscribe user", group=group_name)
        if error is not None:
            raise error
        return here + sum(map(int, others))

    async def connections(self, scope: Scope = "all") -> list[UserConnection]:
        """Return the user's connections: of this process, or of all that answer in time.

        Checkpoint: always. Raises: ValueError for a bad scope; EngineError.
        """
        others, error = await self._ask(scope, "connections of user")
        if error is not None:
            raise error
        found = [(True, one) for one in self._box.describe_user({"user": self._key})]
        found += [(False, one) for answer in others for one in answer]
        return [
            UserConnection(one["id"], one["path"], one["client"], tuple(one["groups"]), is_here)
            for is_here, one in found
        ]

    async def _ask(self, scope: Scope, ask: str, **details: Any) -> tuple[list[Any], EngineError | None]:
        """Ask the other nodes, if they are meant. Checkpoint: always. Raises: ValueError for a bad scope."""
        if is_node(scope):
            await checkpoint()
            return [], None
        try:
            return await self._box.ask_others(ask, user=self._key, **details), None
        except EngineError as error:
            return [], error
