"""`SecureChannel`: nothing goes out before somebody is authenticated on it."""

from abc import abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from trio.lowlevel import checkpoint

from ..core.json import JsonDefault
from ..exceptions import AuthenticationError
from .channel import Channel

__all__ = ["AuthenticationError", "SecureChannel"]


class SecureChannel(Channel):
    """A channel that sends, and joins groups, for an authenticated user only. Receiving is free: the token comes in.

    Subclass it with a `verify_token`, and call `authenticate` with what the client has sent. Group messages and
    `send_to` are held to the same rule. Left uncaught in a handler, the error closes the connection with 4001.
    """

    _user: Any = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._identity = object()  # another one for each user, and for each time between two
        self._while_identity: set[trio.CancelScope] = set()  # what is done for the present user, and waits
        self._authentications: dict[trio.CancelScope, int] = {}  # under way, with their numbers
        self._begun = self._held = 0  # numbers of the last authentication that was begun, and of the one that holds

    @abstractmethod
    async def verify_token(self, token: str) -> Any:
        """Return whose token this is; None for nobody's. To be overridden; compare with `hmac.compare_digest`."""

    @property
    def user(self) -> Any:
        """The one who is authenticated, or None."""
        return self._user

    @property
    def authenticated(self) -> bool:
        return self._user is not None

    @property
    def identity(self) -> object:
        return self._identity

    def cancel_on_revoke(self, scope: trio.CancelScope) -> None:
        self._while_identity.add(scope)

    def keep_on_revoke(self, scope: trio.CancelScope) -> None:
        self._while_identity.discard(scope)

    async def authenticate(self, token: Any, *, lifetime: float | None = None) -> Any:
        """Find out whose token it is; the user is then also `websocket.user`.

        Called again, as with a refreshed token, it replaces the user. A channel that becomes another user's leaves its
        groups, and what waits on behalf of the former one is cancelled; a wrong token is as `revoke`. Of several calls
        at a time the one that was begun last holds.

        Checkpoint: always. Cancellation: all is as before.
        Args:
            lifetime: seconds after which the connection is closed with 4001; None leaves that as it is.
        Returns: the user. Raises: AuthenticationError for anything but a token that `verify_token` knows, and when
            `revoke` was called, or another user authenticated, meanwhile; TypeError for a user without an id, see
            `NexiosApp(user_id=)`: all is as before.
        """
        await checkpoint()
        self._begun += 1
        number = self._begun
        user = None
        with trio.CancelScope() as scope:
            self._authentications[scope] = number
            try:
                user = await self.verify_token(token) if isinstance(token, str) else None
            finally:
                del self._authentications[scope]
        if scope.cancel_called or (user != self._user and number < self._held):
            raise AuthenticationError("the authentication was revoked, or replaced, while it was under way")
        if user is None:
            self.revoke()
            raise AuthenticationError
        self._session.set_user(user)  # raises for one that nobody can name
        if user != self._user:
            self._end_identity()
        self._held = max(self._held, number)
        if lifetime is not None:
            self.websocket.expire_after(lifetime)
        self._user = user
        self._session.enter_user()
        return user

    def revoke(self) -> None:
        """Nobody is authenticated any more, and the channel has left its groups.

        What waits is cancelled: an authentication that is under way, a send for room, a join for its answer, a group
        message for an override of `send`. What is queued for the peer still goes out.
        """
        for scope in self._authentications:
            scope.cancel(reason="revoked")
        if self._user is not None:
            self._end_identity()
            self._user = None
            self._session.clear_user()

    def _end_identity(self) -> None:
        self._identity = object()
        for scope in self._while_identity:
            scope.cancel(reason="the channel is another user's, or nobody's")
        self.leave_groups()
        if self._override_queue is not None:
            self._override_queue.discard_queued()

    def check_joinable(self) -> None:
        self._check()
        super().check_joinable()

    def push(self, payload: Any, json_default: JsonDefault | None = None) -> None:
        if self.authenticated:
            super().push(payload, json_default)
            return
        self._session.counts.lose(1)
        if not self._session.is_over:  # the sender is somebody else: it is told to those who know this channel
            error = AuthenticationError("not authenticated: a message to this channel was withheld")
            self._session.start_soon(self._events.failed, "send", self, error)

    async def _send(self, payload: Any) -> None:
        await self._for_this_user(super()._send, payload)

    def send_nowait(self, payload: Any) -> None:
        self._check()
        super().send_nowait(payload)

    async def send_json(self, data: Any) -> None:
        await self._for_this_user(super().send_json, data)

    async def send_text(self, text: str) -> None:
        await self._for_this_user(super().send_text, text)

    async def send_bytes(self, data: bytes) -> None:
        await self._for_this_user(super().send_bytes, data)

    async def _for_this_user(self, send: Callable[[Any], Awaitable[None]], payload: Any) -> None:
        """Send, unless the user is gone before there was room."""
        if not self.authenticated:
            await checkpoint()
        self._check()
        with trio.CancelScope() as scope:
            self._while_identity.add(scope)
            try:
                await send(payload)
            finally:
                self._while_identity.discard(scope)
        if scope.cancelled_caught:
            self._check()
            raise AuthenticationError("the channel is another user's now")

    def _check(self) -> None:
        if not self.authenticated:
            raise AuthenticationError("not authenticated: call authenticate() with the client's token before")
