"""Present a direct connection as plain ASGI, for applications that do not take transports: `receive` and `send`."""

from typing import Any

from trio import current_time
from trio.lowlevel import checkpoint

from ..core.lifecycle import Cause, End, Phase, check_close_code, check_reason
from ..core.message import binary_frame, text_frame
from ..exceptions import WebSocketDisconnect
from ..protocol.handshake import check_headers, check_subprotocol
from ..transports.direct import DirectTransport
from ..transports.timers import Timer, Timers

# What the response of a refusal says by itself.
_OWN_HEADERS = frozenset((b"connection", b"content-length", b"date", b"transfer-encoding", b"upgrade"))


class AsgiAdapter:
    """One connection's `receive` and `send`. Does nothing unless they are called."""

    def __init__(self, transport: DirectTransport, timers: Timers) -> None:
        self._transport = transport
        self._timers = timers
        self._is_used = False
        self._told_connect = False
        self._denial: tuple[int, list[tuple[bytes, bytes]]] | None = None
        self._body = b""
        self._timer = Timer(self._time_out)

    async def receive(self) -> dict[str, Any]:
        self._use()
        if not self._told_connect:
            self._told_connect = True
            await checkpoint()
            return {"type": "websocket.connect"}
        item = await self._transport.inbox.get()
        if isinstance(item, End):
            return {"type": "websocket.disconnect", "code": item.code, "reason": item.reason}
        key = "text" if isinstance(item, str) else "bytes"
        return {"type": "websocket.receive", key: item}

    async def send(self, event: Any) -> None:
        """Raises OSError after the peer has left, as ASGI asks for."""
        self._use()
        transport = self._transport
        try:
            match event["type"]:
                case "websocket.accept":
                    await self._accept(event.get("subprotocol"), event.get("headers"))
                case "websocket.send" if event.get("bytes") is not None:
                    await transport.send(binary_frame(event["bytes"]))
                case "websocket.send":
                    await transport.send(text_frame(event["text"]))
                case "websocket.close":
                    await self._close(event.get("code", 1000), event.get("reason"))
                case "websocket.http.response.start":
                    await checkpoint()
                    self._denial = event["status"], _denial_headers(event.get("headers") or ())
                case "websocket.http.response.body":
                    await self._deny(event)
                case other:
                    raise ValueError(f"a WebSocket application cannot send {other!r}")
        except WebSocketDisconnect as error:
            raise OSError(f"the connection is over: {error}") from None

    async def _accept(self, subprotocol: str | None, headers: Any) -> None:
        check_subprotocol(subprotocol, self._transport.scope["subprotocols"])
        await self._transport.accept(subprotocol, check_headers(headers))
        self._timers.stop(self._timer)

    async def _close(self, code: int, reason: str | None) -> None:
        if self._transport.lifecycle.phase is Phase.CONNECTING:
            await self._transport.deny(403, [], b"")
        else:
            await self._transport.close(End(check_close_code(code), check_reason(reason), Cause.LOCAL_CLOSE))

    async def _deny(self, event: Any) -> None:
        if self._denial is None:
            raise ValueError("websocket.http.response.body came before websocket.http.response.start")
        self._body += event.get("body", b"")
        if event.get("more_body", False):
            await checkpoint()
        else:
            await self._transport.deny(*self._denial, self._body)

    def _use(self) -> None:
        if not self._is_used:
            self._is_used = True
            self._transport.start(self._timers)
            self._timers.set(self._timer, current_time() + self._transport.settings.accept_timeout)

    def _time_out(self) -> None:
        """The application has neither accepted nor refused."""
        if self._transport.lifecycle.phase is Phase.CONNECTING:
            self._transport.kill(End.of(Cause.ACCEPT_TIMEOUT))

    async def finish(self, failed: bool) -> None:
        """The application has returned, or raised. Bounded, and shielded where it must be."""
        transport = self._transport
        if not self._is_used:
            transport.start(self._timers)
        try:
            if transport.lifecycle.phase is Phase.CONNECTING:
                await transport.deny(500, [], b"")
            else:
                await transport.close(End.of(Cause.HANDLER_ERROR if failed else Cause.HANDLER_RETURNED))
        finally:
            self._timers.retire(self._timer)
            await transport.leave()


def _denial_headers(headers: Any) -> list[tuple[bytes, bytes]]:
    return check_headers([(name, value) for name, value in headers if bytes(name).lower() not in _OWN_HEADERS])
