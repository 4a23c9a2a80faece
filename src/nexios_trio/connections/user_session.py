"""The part of a session that knows whose connection it is, and that is found by that."""

from typing import Any

from ..core.message import Position
from ..core.user_key import UserId, require_user_key, user_key
from ..groups.results import Oldest, Resumed
from .personal_member import PersonalMember
from .sending_nowait import SendingNowait

__all__ = ["UserSession"]


class UserSession(SendingNowait):
    """A connection with a user, or without.

    Middleware may put a user into the scope without telling anybody: that is noticed when the connection is accepted.
    """

    __slots__ = ("_user", "_user_key", "personal", "user_resumed", "user_since")

    scope: Any

    def __init__(self) -> None:
        super().__init__()
        self._user: object = None  # of whom `_user_key` is the id
        self._user_key: str | None = None
        self.personal: PersonalMember | None = None  # while others can reach the user here; one of `channels`
        self.user_since: Position | Oldest | None = None  # where the user's messages are to be resumed at accept
        self.user_resumed: Resumed | None = None

    @property
    def identity(self) -> object:
        """The one the connection acts for: its user, as middleware or the application has it in the scope."""
        return self.scope.get("user")

    @property
    def user_key(self) -> str | None:
        """The user as text, the same for all of the user's connections. Raises: what the application's `user_id` does.

        None for nobody, and for whom nobody can name.
        """
        user = self.scope.get("user")
        if user is not self._user:
            self._user_key = user_key(user, self.runtime.user_id)
            self._user = user
        return self._user_key

    def set_user(self, user: Any, user_id: UserId | None = None) -> None:
        """Note who was authenticated. Others find the user here from `enter_user` on, which `accept` calls.

        Args:
            user_id: in place of the application's.
        Raises: TypeError for a user whom nobody can name; what `user_id` raises.
        """
        self._user_key = require_user_key(user, user_id or self.runtime.user_id)
        self._user = self.scope["user"] = user

    def clear_user(self) -> None:
        """Nobody is authenticated any more."""
        self.scope.pop("user", None)
        self._leave_user()

    def enter_user(self) -> None:
        """Be a connection of the user that the connection has now, if it was accepted, and the user has a name."""
        if self.transport.is_open:
            self._enter_user()

    async def accepted_user(self) -> None:
        """Be a connection of the user, and get what was missed. A checkpoint where something was to be resumed."""
        since, self.user_since = self.user_since, None
        self._enter_user(is_resuming=since is not None)
        if since is not None and self.personal is not None:
            self.user_resumed = await self.runtime.box.resume_user(self.personal, since)

    def _enter_user(self, *, is_resuming: bool = False) -> None:
        key = self.user_key
        if self.personal is not None and self.personal.key == key:
            return
        self._leave_user()
        if key is not None and self.transport.end is None:
            box = self.runtime.box
            self.personal = PersonalMember(self, key, box)
            self.personal.is_resuming = is_resuming
            self.channels.append(self.personal)
            box.enter_user(self.personal)

    def _leave_user(self) -> None:
        personal, self.personal = self.personal, None
        if personal is not None:
            self.channels.remove(personal)
            personal.release()
