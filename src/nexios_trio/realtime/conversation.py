"""One connection of the protocol: its commands, one after the other, and their answers.

A command is obeyed when the one before it is answered, like messages in a handler. Pongs are seen in between; while a
handler works they wait, which the client is not blamed for.
"""

from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any, Final

from ..connections.websocket import WebSocket
from ..core.lifecycle import Cause, End
from ..core.message import KeptFrame
from ..exceptions import AuthenticationError, NotAuthorized, QuotaExceeded, WebSocketDisconnect, WebSocketException
from .calls import payload_of
from .client import RealtimeClient
from .errors import error_for, refuse
from .heartbeats import Heartbeats
from .history import read_history, read_presence, read_presence_stats
from .protocol import replies, requests
from .protocol.codecs import JSON, PROTOBUF
from .protocol.codes import CloseCode, ErrorCode, safe_reason
from .protocol.server_protocol import ServerProtocol, State, Violation
from .registrations import Connected, Registrations
from .rules import Action
from .subscribing import Joining, check_group

__all__ = ["Conversation"]

_PINGS: Final = {codec.subprotocol: KeptFrame(codec.ping, codec.is_text) for codec in (JSON, PROTOBUF)}
_MAPPED: Final = (NotAuthorized, QuotaExceeded, AuthenticationError)  # errors of a command, and no end


class Conversation:
    """Owned by the handler of its connection."""

    def __init__(
        self, websocket: WebSocket, protocol: ServerProtocol, registered: Registrations, heartbeats: Heartbeats
    ) -> None:
        self._session = websocket._session
        self._protocol = protocol
        self._registered = registered
        self._heartbeats = heartbeats
        self._box: Any = self._session.runtime.box
        self.client = RealtimeClient(websocket, protocol)

    async def run(self) -> None:
        """Obey until the connection is over. Checkpoint: always."""
        self._heartbeats.connect.begin(self)
        try:
            while True:
                item = await self._session.receive()
                if isinstance(item, End):
                    return
                try:
                    self._protocol.receive(item)
                    while (command := self._protocol.next_command()) is not None:
                        await self._obey(command)
                except Violation as violation:
                    end = End(violation.code, safe_reason(str(violation)), Cause.PROTOCOL_ERROR)
                    await self._session.close(end)
                    return
        finally:
            self._heartbeats.end(self)
            self._protocol.close()

    async def _obey(self, command: requests.Command) -> None:
        try:
            obey = _OBEY.get(type(command.request), Conversation._unknown)
            result = await obey(self, command, command.request)
        except WebSocketDisconnect:
            raise
        except Exception as error:
            if isinstance(error, WebSocketException) and not isinstance(error, _MAPPED):
                raise  # it closes the connection
            if isinstance(error, AuthenticationError) and self._protocol.state is State.CONNECTING:
                raise WebSocketException(CloseCode.INVALID_TOKEN, error.reason or "unauthorized") from None
            reply = self._refusal(command, error)
            if reply:
                await self._say(reply)
        else:
            if result is not None and command.id:
                await self._say(self._protocol.answer(command, result))

    def _refusal(self, command: requests.Command, error: Exception) -> bytes:
        told = error_for(error, self._session.log_fields())
        if self._protocol.state is State.CONNECTING:
            return self._protocol.failed(command, told)
        return self._protocol.refuse(command, told) if command.id else b""

    async def _say(self, data: bytes) -> None:
        await self._session.send(KeptFrame(data, self._protocol.codec.is_text))

    # Deadlines. Synchronous

    def ping(self) -> None:
        transport = self._session.transport
        if self._session.is_over:
            return
        # To a client that has something to take, a ping says nothing; what waits has a deadline of its own.
        if not self._protocol.is_pong_due and not transport.statistics().queued_messages:
            self._protocol.ping()
            transport.offer(_PINGS[self._protocol.codec.subprotocol])
            self._heartbeats.pong.begin(self)
        self._heartbeats.ping.begin(self)

    def miss_pong(self) -> None:
        if self._session.is_over or not self._protocol.is_pong_due:
            return
        if len(self._session.transport.inbox):  # it may be in there: we are the slow ones
            self._heartbeats.pong.begin(self)
            return
        self._session.transport.evict(End.of(Cause.HEARTBEAT_TIMEOUT, "no pong"))

    def miss_connect(self) -> None:
        if not self._session.is_over:
            self._session.transport.evict(End(CloseCode.STALE, "not connected in time", Cause.AUTH_TIMEOUT))

    # Commands

    async def _unknown(self, command: requests.Command, _: object) -> None:
        raise refuse(ErrorCode.METHOD_NOT_FOUND if command.request is None else ErrorCode.NOT_AVAILABLE)

    async def _ping(self, _: requests.Command, __: object) -> replies.Result:
        return replies.PingResult()

    async def _connect(self, command: requests.Command, request: requests.ConnectRequest) -> None:
        client = self.client
        client.token, client.name, client.version = request.token, request.name, request.version
        client.data = payload_of(request.data)
        client.headers = request.headers
        connected = Connected()
        if self._registered.connect is not None:
            connected = Connected.of(await self._registered.connect(client))
        if connected.user is not None:
            self._session.set_user(connected.user)
            self._session.enter_user()
        result = replies.ConnectResult(client.id, ping=self._registered.ping_seconds, pong=True)
        if connected.data is not None:
            result.data = client.data_of(connected.data)
        with ExitStack() as stack:
            joinings = []
            for group in dict.fromkeys(connected.groups):
                wanted = request.subs.get(group) or requests.SubscribeRequest()
                wanted.channel = group
                joining = stack.enter_context(Joining(self._box, self.client, None, wanted))
                result.subs[group] = await joining.prepare()
                joinings.append(joining)
            self._heartbeats.connect.end(self)
            await self._say(self._protocol.connected(command, result))
            self._heartbeats.ping.begin(self)
            for joining in joinings:
                await joining.complete()

    async def _subscribe(self, command: requests.Command, request: requests.SubscribeRequest) -> None:
        with Joining(self._box, self.client, self._registered.rules, request) as joining:
            result = await joining.prepare()
            await self._say(self._protocol.answer(command, result))
            await joining.complete()

    async def _unsubscribe(self, _: requests.Command, request: requests.UnsubscribeRequest) -> replies.Result:
        self.client.leave(check_group(request.channel))
        return replies.UnsubscribeResult()

    async def _publish(self, _: requests.Command, request: requests.PublishRequest) -> replies.Result:
        if request.type:
            raise refuse(ErrorCode.NOT_AVAILABLE, "publications are of type 0")
        group = await self._allowed(request.channel, "publish")
        if request.data is None:
            raise refuse(ErrorCode.BAD_REQUEST, "a publication has data")
        payload = payload_of(request.data)
        call = self._registered.publish.of(group)
        if call is not None:
            changed = await call(self.client, group, data=payload)
            payload = payload if changed is None else changed
        await self._box.group_send(group, payload)
        return replies.PublishResult()

    async def _allowed(self, name: str, action: Action) -> str:
        group = check_group(name)
        if not await self._registered.rules.allow(self.client, group, action):
            raise refuse(ErrorCode.PERMISSION_DENIED)
        return group

    async def _history(self, _: requests.Command, request: requests.HistoryRequest) -> replies.Result:
        await self._allowed(request.channel, "history")
        return await read_history(self._box, self.client, request)

    async def _presence(self, _: requests.Command, request: requests.PresenceRequest) -> replies.Result:
        return await read_presence(self._box, await self._allowed(request.channel, "presence"))

    async def _presence_stats(self, _: requests.Command, request: requests.PresenceStatsRequest) -> replies.Result:
        return await read_presence_stats(self._box, await self._allowed(request.channel, "presence"))

    async def _rpc(self, _: requests.Command, request: requests.RPCRequest) -> replies.Result:
        call = self._registered.rpcs.get(request.method)
        if call is None:
            raise refuse(ErrorCode.METHOD_NOT_FOUND)
        result = await call(self.client, data=payload_of(request.data))
        return replies.RPCResult(self.client.data_of(result))

    async def _send(self, _: requests.Command, request: requests.SendRequest) -> None:
        call = self._registered.message
        if call is not None:
            await call(self.client, data=payload_of(request.data))


_Obey = Callable[[Conversation, requests.Command, Any], Awaitable[replies.Result | None]]
_OBEY: Final[dict[type, _Obey]] = {
    requests.ConnectRequest: Conversation._connect,
    requests.SubscribeRequest: Conversation._subscribe,
    requests.UnsubscribeRequest: Conversation._unsubscribe,
    requests.PublishRequest: Conversation._publish,
    requests.HistoryRequest: Conversation._history,
    requests.PresenceRequest: Conversation._presence,
    requests.PresenceStatsRequest: Conversation._presence_stats,
    requests.RPCRequest: Conversation._rpc,
    requests.SendRequest: Conversation._send,
    requests.PingRequest: Conversation._ping,
}
