"""`SecureChannel`: nothing goes out before somebody is authenticated on it."""

from abc import abstractmethod
from typing import Any

from trio.lowlevel import checkpoint

from ..exceptions import AuthenticationError
from .channel import Channel

__all__ = ["AuthenticationError", "SecureChannel"]


class SecureChannel(Channel):
    """A channel that sends, and joins groups, for an authenticated user only. Receiving is free: the token comes in.

    Subclass it with a `verify_token`, and call `authenticate` with what the client has sent. Group messages and
    `send_to` are held to the same rule. Left uncaught in a handler, the error closes the connection with 4001.
    """

    _user: Any = None

    @abstractmethod
    async def verify_token(self, token: str) -> Any:
        """Return whose token this is; None for nobody's. Compare secrets with `hmac.compare_digest`. To be
        overridden.
        """

    @property
    def user(self) -> Any:
        """The user that is authenticated, or None."""
        return self._user

    @property
    def authenticated(self) -> bool:
        return self._user is not None

    async def authenticate(self, token: Any, *, lifetime: float | None = None) -> Any:
        """Find out whose token it is; the user is then also `websocket.user`.

        Called again, as with a refreshed token, it replaces the user. A channel that becomes another user's leaves its
        groups; a wrong token is as `revoke`.

        Checkpoint: always. Cancellation: all is as before.
        Args:
            lifetime: seconds after which the connection is closed with 4001; None leaves that as it is.
        Returns: the user. Raises: AuthenticationError for anything but a token that `verify_token` knows.
        """
        await checkpoint()
        user = await self.verify_token(token) if isinstance(token, str) else None
        if user is None or user != self._user:
            self.revoke()
        if user is None:
            raise AuthenticationError
        if lifetime is not None:
            self.websocket.expire_after(lifetime)
        self._user = self.websocket.scope["user"] = user
        return user

    def revoke(self) -> None:
        """Nobody is authenticated any more, and the channel has left its groups. What is queued still goes out."""
        if self._user is not None:
            self._user = None
            self.websocket.scope.pop("user", None)
            self.leave_groups()

    def check_joinable(self) -> None:
        self._check()
        super().check_joinable()

    async def _send(self, payload: Any) -> None:
        await self._require()
        await super()._send(payload)

    async def send_json(self, data: Any) -> None:
        await self._require()
        await super().send_json(data)

    async def send_text(self, text: str) -> None:
        await self._require()
        await super().send_text(text)

    async def send_bytes(self, data: bytes) -> None:
        await self._require()
        await super().send_bytes(data)

    async def _require(self) -> None:
        if not self.authenticated:
            await checkpoint()
        self._check()

    def _check(self) -> None:
        if not self.authenticated:
            raise AuthenticationError("not authenticated: call authenticate() with the client's token before")
