"""Who is connecting."""

import inspect
import math
from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson
import trio

from ..asgi_types import Headers
from ..connections.transport_wrapper import TransportWrapper, wrapped_transport
from ..connections.websocket import WebSocket
from ..core.lifecycle import Cause, End, Lifecycle
from ..core.message import Frame
from ..core.user_key import UserId, check_user_id
from ..exceptions import LifecycleError, WebSocketDisconnect
from ..transports.base import Transport
from .chain import Next, reject_with

__all__ = [
    "AuthenticationMiddleware",
    "token_in_cookie",
    "token_in_first_message",
    "token_in_subprotocol",
]

UNAUTHORIZED_CODE: Final = 4001  # document 004's

User = Any
Authenticate = Callable[[WebSocket], User | Awaitable[User | None] | None]
Lifetime = float | Callable[[User], float | None]
Verify = Callable[[str], User | Awaitable[User | None] | None]


class AuthenticationMiddleware:
    """Find out who connects before the handler runs; nobody gets in who is nobody.

    The user is then `websocket.user` and ``websocket.scope["user"]``. Where there is none, the connection is accepted
    and closed with 4001, so that the client sees why. `authenticate` may accept the connection itself, to read the
    first message; the handler's own `accept()` then has nothing left to do.

    Args:
        authenticate: an async or plain function; gives the user, or None. `token_in_first_message`, `token_in_cookie`
            and `token_in_subprotocol` make such functions.
        timeout: seconds that it may take; by default the setting `auth_timeout`. Before accept, they stand in place of
            `accept_timeout`, which begins anew afterwards.
        lifetime: seconds, or a function (user) -> seconds, after which the connection is closed with 4001; None for
            never. `websocket.expire_after(seconds)` moves that, as when the client has refreshed its token.
        user_id: a function (user) -> str that names the user, in place of the application's. A user that nobody can
            name is an error: see `NexiosApp`.
    Raises: TypeError, ValueError.
    """

    def __init__(
        self,
        authenticate: Authenticate,
        *,
        timeout: float | None = None,
        lifetime: Lifetime | None = None,
        user_id: UserId | None = None,
    ) -> None:
        if not callable(authenticate):
            raise TypeError(f"authenticate is a function (websocket) -> user or None, not {authenticate!r}")
        if timeout is not None and not timeout > 0:
            raise ValueError(f"timeout must be seconds above 0, or None for the setting auth_timeout, not {timeout!r}")
        self._authenticate = authenticate
        if lifetime is not None and not callable(lifetime) and not lifetime > 0:
            raise ValueError(f"lifetime must be seconds above 0, a function (user) -> seconds, or None: {lifetime!r}")
        self._timeout = timeout
        self._lifetime = lifetime
        self._user_id = check_user_id(user_id)

    async def __call__(self, websocket: WebSocket, call_next: Next) -> Any:
        seconds = websocket.settings.auth_timeout if self._timeout is None else self._timeout
        user = None
        websocket._session.suspend_accept_timeout()  # before accept, these seconds take its place
        with trio.move_on_after(seconds) if seconds < math.inf else trio.CancelScope() as scope:
            user = await _settle(self._authenticate(websocket))
        websocket._session.expect_accept()
        if user is None:
            if scope.cancelled_caught:
                return await reject_with(
                    websocket, End.of(Cause.AUTH_TIMEOUT, "authentication took too long", UNAUTHORIZED_CODE)
                )
            return await reject_with(websocket, End.of(Cause.UNAUTHORIZED, "authentication failed"))
        websocket._session.set_user(user, self._user_id)
        lifetime = self._lifetime(user) if callable(self._lifetime) else self._lifetime
        if lifetime is not None and not lifetime > 0:
            return await reject_with(
                websocket, End.of(Cause.UNAUTHORIZED, "authentication has expired", UNAUTHORIZED_CODE)
            )
        if lifetime is not None:
            websocket.expire_after(lifetime, UNAUTHORIZED_CODE)
        if not websocket.is_connected():
            return await call_next(websocket)
        with wrapped_transport(websocket, _AcceptedAheadWrapper):
            return await call_next(websocket)


async def _settle(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


class _AcceptedAheadWrapper(TransportWrapper):
    """A connection that has been accepted and, to the handler, has not: until it calls `accept`, or refuses."""

    def __init__(self, inner: Transport) -> None:
        super().__init__(inner)
        self.lifecycle = Lifecycle()

    @property
    def is_open(self) -> bool:
        return self.lifecycle is self.inner.lifecycle and self.inner.is_open

    async def accept(self, subprotocol: str | None, headers: Headers) -> TransportWrapper:
        await trio.lowlevel.checkpoint()
        self.lifecycle = self.inner.lifecycle
        end = self.lifecycle.end
        if end is not None:
            raise WebSocketDisconnect(end.code, end.reason)
        return self

    async def deny(self, status: int, headers: Headers, body: bytes, reason: str = "") -> None:
        self.lifecycle = self.inner.lifecycle
        await self.inner.close(End.of(Cause.DENIED, reason, 1008))

    async def send(self, frame: Frame) -> None:
        if self.lifecycle is not self.inner.lifecycle:
            raise LifecycleError("call accept() before sending")
        await self.inner.send(frame)


def token_in_cookie(name: str, verify: Verify) -> Authenticate:
    """Authenticate by a cookie, which browsers send along with the handshake. See the origin check, too.

    Args:
        verify: an async or plain function (token) -> user or None.
    """

    async def authenticate(websocket: WebSocket) -> User | None:
        token = websocket.cookies.get(name)
        return await _settle(verify(token)) if token else None

    return authenticate


def token_in_first_message(verify: Verify, *, field: str | None = "token") -> Authenticate:
    """Authenticate by the first message, a JSON object. The connection is accepted before, to receive it.

    Args:
        verify: an async or plain function (token) -> user or None.
        field: where in the object the token is; None if the message is nothing but the token.
    """

    async def authenticate(websocket: WebSocket) -> User | None:
        await websocket.accept()
        message = await websocket.receive_message()
        token = _token(message, field)
        return await _settle(verify(token)) if token else None

    return authenticate


def token_in_subprotocol(verify: Verify, *, protocol: str = "bearer") -> Authenticate:
    """Authenticate by the subprotocols, which a browser's script can set: ``new WebSocket(url, ["bearer", token])``.

    The connection is accepted with `protocol`, before the token is verified: a browser wants one of those it offered.

    Args:
        verify: an async or plain function (token) -> user or None.
        protocol: what the client offers first, and the token after it.
    """

    async def authenticate(websocket: WebSocket) -> User | None:
        offered = websocket.subprotocols
        if len(offered) < 2 or offered[0] != protocol:
            return None
        await websocket.accept(protocol)
        return await _settle(verify(offered[1]))

    return authenticate


def _token(message: str | bytes, field: str | None) -> str | None:
    try:
        if field is None:
            return message if isinstance(message, str) else message.decode()
        value = orjson.loads(message)
    except ValueError:
        return None
    token = value.get(field) if isinstance(value, dict) else None
    return token if isinstance(token, str) else None
