"""`RealtimeClient`: one connection of the protocol, as handlers see it."""

from typing import Any

from trio.lowlevel import checkpoint

from ..connections.websocket import WebSocket
from ..core.names import check_group_name
from .member import RealtimeMember
from .protocol import replies
from .protocol.codes import CloseCode, UnsubscribeCode
from .protocol.requests import SubscribeRequest
from .protocol.server_protocol import ServerProtocol
from .subscribing import Joining
from .subscriptions import SubscriptionState

__all__ = ["RealtimeClient"]


class RealtimeClient(RealtimeMember):
    """A client that speaks the protocol. Made for each connection; handlers get it as their first argument.

    Args:
        websocket: the connection.
        protocol: its conversation.
    """

    def __init__(self, websocket: WebSocket, protocol: ServerProtocol) -> None:
        super().__init__(websocket, protocol)
        self.websocket = websocket
        self.token = ""  # what the client has shown
        self.data: Any = None  # what it has sent with its connect command
        self.headers: dict[str, str] = {}  # what it has sent with that in place of HTTP headers
        self.name = ""  # of its kind, such as "js"
        self.version = ""
        self.state: dict[str, Any] = {}  # the application's

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.uuid}>"

    # For handlers

    @property
    def id(self) -> str:
        """Return the client's id, which others see."""
        return str(self.uuid)

    @property
    def user(self) -> Any:
        """Return who it is: what `on_connect` or a middleware has found; None for nobody."""
        return self._session.scope.get("user")

    @property
    def groups(self) -> list[str]:
        """Return the groups that it is subscribed to."""
        return [name for name, one in self._subscriptions.items() if one.state is SubscriptionState.LIVE]

    async def send(self, payload: Any) -> None:
        """Send to this client alone: its `message` event. See `WebSocket.send_text`."""
        await self._session.send(self._encode(payload, self._session.runtime.settings.json_default))

    def send_nowait(self, payload: Any) -> None:
        """Do as `send`, without waiting for room. See `WebSocket.send_nowait`."""
        frame = self._encode(payload, self._session.runtime.settings.json_default)
        self._session.send_nowait(frame, payload, self.uuid)

    def unsubscribe(self, group: str) -> bool:
        """End a subscription for good: the client is told so, with 2000. False where there is none.

        Synchronous, so it may stand anywhere.
        """
        return self._end_subscription(group, UnsubscribeCode.SERVER, "unsubscribed by the server")

    async def subscribe(self, group: str) -> None:
        """Subscribe the client to a group, without its asking. A no-op where it is subscribed.

        Checkpoint: always. Cancellation: the client is subscribed and was told so, or neither.
        Raises: InvalidName (a ValueError); ValueError for too many groups; EngineError; WebSocketDisconnect.
        """
        check_group_name(group)
        if self.subscription(group) is not None:
            await checkpoint()
            return
        with Joining(self._box, self, None, SubscribeRequest(group)) as joining:
            result = await joining.prepare()
            event = replies.Subscribe(result.recoverable, result.epoch, result.offset, result.positioned)
            await self._session.send(self._frame(replies.Push(group, event)))
            await joining.complete()

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        """Close. The client comes back by itself unless the code is 3500 to 3999, or 4500 and above.

        See `WebSocket.close`.
        """
        await self.websocket.close(code, reason)

    async def disconnect(self, code: int = CloseCode.FORCED, reason: str = "disconnected by the server") -> None:
        """Close, so that the client stays away. See `WebSocket.close`."""
        await self.websocket.close(code, reason)
