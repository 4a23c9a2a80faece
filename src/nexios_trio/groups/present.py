"""The part of a box that knows who is present in its groups, on all nodes."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from ..engines.presence import presence_group
from ..exceptions import LifecycleError
from .box_member import BoxMember
from .current_box import OnCurrentBox, check_thread
from .member_presence import HOW_TO_KEEP, InfoOf, MemberPresence
from .presence_changes import PresenceChanges, PresentUser, users_on
from .presence_node import PresenceNode
from .scoped import Scoped

__all__ = ["WithPresence"]

DEFAULT_GRACE_SECONDS = 5.0
DEFAULT_LEASE_SECONDS = 30.0


class WithPresence(Scoped):
    """A box, as those know it who ask who is there."""

    @OnCurrentBox
    def keep_presence(
        self,
        pattern: str,
        *,
        grace: float = DEFAULT_GRACE_SECONDS,
        lease: float = DEFAULT_LEASE_SECONDS,
        info: InfoOf | None = None,
    ) -> None:
        """Keep who is present in the groups whose names match, on all nodes: for `presence` and `watch_presence`.

        Present is who has a channel in the group. All connections of one user, on whatever node, are one presence: the
        user joins with the first, and leaves `grace` after the last. A connection without a user is one by itself. Of
        several patterns that match, the one that was given first holds. It applies to those who join from now on.

        Args:
            pattern: a group name in which `*` stands for any characters: "room.*".
            grace: seconds within which who is back has never left.
            lease: seconds after which a process is taken for dead that others hear nothing of; its users leave `grace`
                later. The shortest of all patterns holds for all of them. Whose process says that it ends, or whose
                parent sees it, need not wait for this.
            info: a function (channel) -> what others are to know of the connection: something for JSON, up to 4,096
                bytes of it, or None. Called when a channel joins; what it raises, the join raises.
        Raises: TypeError, ValueError; LifecycleError where the box's engine cannot do it.
        """
        if not self.engine.has_presence:
            raise LifecycleError(f"{type(self.engine).__name__} does not know who is present: it has no has_presence")
        presence = self._presence
        if presence is None:
            presence = MemberPresence(PresenceNode(self.engine, self.timers), lambda: self.json_default)
        presence.add(pattern, grace, lease, info)
        self._presence = presence
        self._index.on_leave = self._left

    @OnCurrentBox
    async def presence(self, group_name: str = "default") -> list[PresentUser]:
        """Return who is present in a group, on all nodes: user by user, in the order in which they came.

        What was joined and left on this node before is included.

        Checkpoint: always. Raises: ValueError for a bad name; LifecycleError for a group whose presence nobody keeps;
            EngineError.
        """
        presence = self._kept_presence(group_name)
        await presence.node.settle()
        return users_on(await self.engine.presence(group_name))

    @OnCurrentBox
    @asynccontextmanager
    async def watch_presence(self, group_name: str = "default") -> AsyncGenerator[PresenceChanges]:
        """Follow who joins and leaves a group, on all nodes, for the length of the block.

        The block is given `changes`: `changes.present` is who was there at first, and `async for change in changes`
        gives what happens from then on, each change once. It goes on while the engine is down: what changed meanwhile
        is told afterwards.

        Checkpoint: on entry. Cancellation: nothing is watched any more.
        Raises: on entry, as `presence`.
        """
        presence = self._kept_presence(group_name)
        await presence.node.settle()
        name = presence_group(group_name)
        changes = PresenceChanges(self.engine, group_name)
        with self.engine_client.joining(name) as watch:
            await watch
            listeners = self.broadcaster.listeners.setdefault(name, [])
            listeners.append(changes.hear)
            presence.node.follow(1)
            try:
                await changes.read()
                yield changes
            finally:
                presence.node.follow(-1)
                listeners.remove(changes.hear)
                if not listeners:
                    self.broadcaster.listeners.pop(name, None)

    @OnCurrentBox
    def update_presence(self, channel: BoxMember, group_name: str, info: Any) -> None:
        """Say something else of a channel that is present: others see it as a change of its user.

        Synchronous: it goes to the other nodes in its turn.

        Args:
            info: something for JSON, up to 4,096 bytes of it; None for nothing.
        Raises: ValueError, for a bad name, or what JSON cannot carry; LifecycleError for a group whose presence nobody
            keeps, or where the channel is not.
        """
        check_thread(self)
        self._kept_presence(group_name).update(channel, group_name, info)

    def _kept_presence(self, group_name: str) -> MemberPresence:
        if self._presence is None:
            raise LifecycleError(f"this box keeps the presence of no group: {HOW_TO_KEEP}")
        self._presence.check_kept(group_name)
        return self._presence
