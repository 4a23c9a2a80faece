"""The half of `WebSocket` that looks and receives."""

from collections.abc import AsyncIterator
from enum import Enum
from typing import Any

from starlette.datastructures import QueryParams
from starlette.requests import HTTPConnection

from ..config.settings import Settings
from ..core.asgi_events import received_event
from ..core.json import decode_json
from ..core.lifecycle import End, Phase
from ..core.message import Position
from ..exceptions import LifecycleError, WebSocketDisconnect, WrongFrameType
from ..groups.results import Oldest, Resumed
from ..groups.resuming import parse_since
from .session import Session
from .until_disconnect import UntilDisconnect

__all__ = ["ReceivingConnection", "WebSocketState", "check_mode"]


class WebSocketState(Enum):
    """The place of a connection in its life."""

    CONNECTING = 0
    CONNECTED = 1
    DISCONNECTED = 2
    RESPONSE = 3


_STATES = {
    Phase.CONNECTING: WebSocketState.CONNECTING,
    Phase.OPEN: WebSocketState.CONNECTED,
    Phase.CLOSING: WebSocketState.DISCONNECTED,
    Phase.CLOSED: WebSocketState.DISCONNECTED,
}


class ReceivingConnection(HTTPConnection):
    """Information about one connection, and the messages of its peer."""

    _session: Session
    _told_disconnect = False  # `receive` has given the disconnect event

    # Information

    @property
    def path_params(self) -> dict[str, Any]:
        params: dict[str, Any] = self.scope["path_params"]
        return params

    @property
    def query_params(self) -> QueryParams:
        params: QueryParams = self.scope["query_params"]
        return params

    @property
    def user(self) -> Any:
        """The user that was authenticated, or None. An authentication of your own sets it.

        Raises: TypeError when it is set to somebody without an id: see `NexiosApp(user_id=)`.
        """
        return self.scope.get("user")

    @user.setter
    def user(self, user: Any) -> None:
        if user is None:
            self._session.clear_user()
        else:
            self._session.set_user(user)
            self._session.enter_user()

    def resume_user(self, since: Position | Oldest | str) -> None:
        """Let `accept` give the peer what was sent to its user after this position, and then what comes, each once.

        Called before `accept`, which then returns when that has been sent: `user_resumed` says whether it was all.

        Args:
            since: as in `ChannelBox.resume`; positions come with a channel that has `positions=True`.
        Raises: ValueError for text that is no position; LifecycleError when the connection was accepted.
        """
        position = parse_since(since)
        if self._session.transport.is_open:
            raise LifecycleError("call resume_user() before accept(): from then on the user's messages come live")
        self._session.user_since = position

    @property
    def user_resumed(self) -> Resumed | None:
        """Return how `resume_user` went; None where nobody has asked for it, or there is no user."""
        return self._session.user_resumed

    @property
    def subprotocols(self) -> list[str]:
        """The subprotocols that the client offered, in its order of preference."""
        return list(self.scope.get("subprotocols", ()))

    @property
    def client_state(self) -> WebSocketState:
        return _STATES[self._session.transport.lifecycle.phase]

    application_state = client_state

    def is_connected(self) -> bool:
        """True between `accept` and the first close from either side."""
        return self._session.transport.is_open

    @property
    def end(self) -> End | None:
        """The connection's end (code, reason, cause); None while it goes on."""
        return self._session.end

    @property
    def latency(self) -> float | None:
        """Seconds to the peer and back, of the last ping that it answered; None before, and where we do not ping."""
        return self._session.transport.latency

    @property
    def settings(self) -> Settings:
        """The limits of the application."""
        return self._session.runtime.settings

    @property
    def id(self) -> str:
        """This connection's name in the log, in the field `connection`."""
        return self._session.id

    # Receiving: `Session.receive` is the transport's `Inbox.get`, which `Session.use` puts there

    async def receive(self) -> dict[str, Any]:
        """The next message as an ASGI event that has only the key it uses: "text" or "bytes".

        Once the connection is over, one `websocket.disconnect` event, then WebSocketDisconnect.

        Checkpoint: always. Cancellation: nothing is lost.
        Raises: LifecycleError before accept(); trio.BusyResourceError when another task is receiving.
        """
        item = await self._session.receive()
        if isinstance(item, End):
            if self._told_disconnect:
                raise WebSocketDisconnect(item.code, item.reason)
            self._told_disconnect = True
        return received_event(item)

    async def receive_message(self) -> str | bytes:
        """The next message: str for text, bytes for binary. Checkpoint, cancellation: as `receive`.

        Raises: WebSocketDisconnect when the connection is over.
        """
        item = await self._session.receive()
        if isinstance(item, End):
            raise WebSocketDisconnect(item.code, item.reason)
        return item

    async def receive_text(self) -> str:
        """The next message, which must be text. Checkpoint, cancellation: as `receive`.

        Raises: WrongFrameType (a ValueError) for a binary message, which is consumed; WebSocketDisconnect.
        """
        item = await self._session.receive()
        if isinstance(item, str):
            return item
        if isinstance(item, End):
            raise WebSocketDisconnect(item.code, item.reason)
        raise WrongFrameType("a text message was expected, a binary one came: use receive_bytes() or receive()")

    async def receive_bytes(self) -> bytes:
        """The next message, which must be binary. Otherwise as `receive_text`."""
        item = await self._session.receive()
        if isinstance(item, bytes):
            return item
        if isinstance(item, End):
            raise WebSocketDisconnect(item.code, item.reason)
        raise WrongFrameType("a binary message was expected, a text one came: use receive_text() or receive()")

    async def receive_json(self, mode: str | None = None) -> Any:
        """The next message, text or binary, decoded from JSON. Checkpoint, cancellation: as `receive`.

        Args:
            mode: "text" or "binary" accepts that frame type only.
        Raises: InvalidJson (a json.JSONDecodeError) for a message that is not JSON, or nested deeper than the setting
            `max_json_depth`; it is consumed, the connection is intact. WrongFrameType; WebSocketDisconnect.
        """
        check_mode(mode)
        max_depth = self.settings.max_json_depth
        if mode is None:
            return decode_json(await self.receive_message(), max_depth)
        return decode_json(await (self.receive_text() if mode == "text" else self.receive_bytes()), max_depth)

    def __aiter__(self) -> AsyncIterator[str | bytes]:
        """`async for message in ws`: str or bytes, until the connection is over."""
        return UntilDisconnect(self.receive_message)

    def iter_text(self) -> AsyncIterator[str]:
        """`receive_text` until the connection is over."""
        return UntilDisconnect(self.receive_text)

    def iter_bytes(self) -> AsyncIterator[bytes]:
        """`receive_bytes` until the connection is over."""
        return UntilDisconnect(self.receive_bytes)

    def iter_json(self) -> AsyncIterator[Any]:
        """`receive_json` until the connection is over."""
        return UntilDisconnect(self.receive_json)


def check_mode(mode: str | None) -> None:
    """Raise ValueError for what is no frame type."""
    if mode not in (None, "text", "binary"):
        raise ValueError(f'mode must be "text" or "binary", not {mode!r}')
