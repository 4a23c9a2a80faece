"""The part of an application that reaches its groups and users."""

from typing import Any
from uuid import UUID

from ..connections.runtime import Runtime
from ..core.user_key import require_user_key
from ..groups.box import ChannelBox
from ..groups.user_connections import UserConnections

__all__ = ["ReachesUsers"]


class ReachesUsers:
    """An application, as those know it who have something to say to a group, or to a user."""

    runtime: Runtime

    @property
    def box(self) -> ChannelBox:
        """The groups of this application's connections."""
        return self.runtime.box

    def user(self, user: Any) -> UserConnections:
        """Return all connections of one user, on all nodes: `await app.user("ann").send("hello")`.

        Args:
            user: the id, as a str, an int or a UUID; or whatever `websocket.user` is for the user's connections.
        Raises: TypeError for what is no user.
        """
        is_id = isinstance(user, str | int | UUID)
        return UserConnections(self.runtime.box, require_user_key(user, None if is_id else self.runtime.user_id))
