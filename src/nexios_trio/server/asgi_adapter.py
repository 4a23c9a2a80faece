"""Present a direct connection as plain ASGI: `receive` and `send`, for applications that do not take transports."""

import logging
from collections.abc import Callable
from enum import Enum
from math import inf
from typing import Any, cast

import trio
from trio.lowlevel import checkpoint

from ..asgi_types import ASGIApp, Event
from ..config.settings import Settings
from ..connections.closed_transport import ClosedTransport
from ..core.asgi_events import received_event
from ..core.close_codes import check_asgi_close_code, check_reason
from ..core.lifecycle import Cause, End, Phase
from ..core.message import binary_frame, text_frame
from ..exceptions import LifecycleError, WebSocketDisconnect
from ..protocol.denial import Denial
from ..protocol.handshake import check_headers, check_subprotocol
from ..transports.direct import DirectTransport
from ..transports.server_context import DirectOffer
from ..transports.timers import Timer, Timers
from .errors import PeerHasLeft, contained

__all__ = ["AsgiAdapter", "Use"]

logger = logging.getLogger("nexios_trio.server")


class Use(Enum):
    """How the application uses its connection."""

    UNUSED = "unused"  # not yet
    EVENTS = "events"  # through `receive` and `send`
    TAKEN = "taken"  # it has taken the transport, and does all that is due to it


class AsgiAdapter:
    """One connection, and the run of the application for it.

    An application that does not take the transport has `accept_timeout` to answer the handshake, and may go on for
    `disconnect_grace` after the end; applications of ours that stand behind something have deadlines of their own.

    Args:
        apply_settings: what the `offer` does with the settings of an application of ours.
        is_ours: the application is one of ours itself: no scope and no timer is spent on it.
    """

    def __init__(
        self,
        transport: DirectTransport,
        timers: Timers,
        apply_settings: Callable[[Settings], None] = lambda settings: None,
        *,
        is_ours: bool = False,
    ) -> None:
        self._is_ours = is_ours
        self._transport = transport
        self._timers = timers
        self.offer = DirectOffer(transport, self.receive, self.send, apply_settings)
        self._has_events = False
        self._told_connect = False
        self._denial: Denial | None = None
        self._timer: Timer | None = None  # made when there is something to time
        self._application: trio.CancelScope | None = None  # while it runs and we watch over it
        self._is_late = False  # we have cancelled it

    @property
    def use(self) -> Use:
        if self.offer.is_taken:
            return Use.TAKEN
        return Use.EVENTS if self._has_events else Use.UNUSED

    async def run(self, app: ASGIApp, on_over: Callable[[], None]) -> None:
        """Run the application, and end the connection with it.

        Cancellation: the application is cancelled, and the connection closed within `close_timeout`.

        Args:
            on_over: called once nothing of the connection is left.
        """
        failed = True
        try:
            with contained(logger, "the application failed"):
                if self._is_ours:
                    await app(self._transport.scope, self.receive, self.send)
                else:
                    await self._run_in_time(app)
                failed = self._is_late
        finally:
            await self.finish(failed)
            on_over()
            del on_over  # an error that an application keeps leads to this frame, which must not lead on to a socket

    async def _run_in_time(self, app: ASGIApp) -> None:
        timeout = self._transport.settings.accept_timeout
        if timeout < inf:
            self._time_out_in(timeout)
        with trio.CancelScope() as self._application:
            await app(self._transport.scope, self.receive, self.send)

    async def receive(self) -> Event:
        """Return the next event. A message has both keys, one of them None: some applications read both."""
        self._use_events()
        if not self._told_connect:
            self._told_connect = True
            await checkpoint()
            return {"type": "websocket.connect"}
        return received_event(await self._transport.inbox.get(), both_keys=True)

    async def send(self, event: Any) -> None:
        """Send an event.

        Raises:
            OSError: the peer has left, as ASGI asks for.
            LifecycleError: the event cannot follow what was sent before. TypeError, ValueError: it is not in order.
        """
        self._use_events()
        kind = event["type"]
        if self._denial is not None and not self._denial.is_whole and kind != "websocket.http.response.body":
            raise LifecycleError(
                f"websocket.http.response.body has to follow websocket.http.response.start, not {kind}"
            )
        try:
            match kind:
                case "websocket.accept":
                    await self._accept(event.get("subprotocol"), event.get("headers"))
                case "websocket.send":
                    await self._send_message(event)
                case "websocket.close":
                    await self._close(event.get("code"), event.get("reason"))
                case "websocket.http.response.start":
                    await self._start_denial(event)
                case "websocket.http.response.body":
                    await self._deny(event)
                case other:
                    raise ValueError(f"a WebSocket application cannot send {other!r}")
        except WebSocketDisconnect as error:
            raise PeerHasLeft(f"the connection is over: {error}") from None

    async def _accept(self, subprotocol: str | None, headers: Any) -> None:
        transport = self._transport
        check_subprotocol(subprotocol, transport.scope["subprotocols"])
        checked = check_headers(headers)
        is_answered = transport.lifecycle.phase is Phase.CONNECTING
        try:
            await transport.accept(subprotocol, checked)
        except WebSocketDisconnect:
            if not is_answered:
                raise
            # The answer went out, and finds nobody: that is for the next `receive` to tell.
        if self._timer is not None:
            self._timers.stop(self._timer)
        if transport.end is not None:
            self._on_end(transport.end)

    async def _send_message(self, event: Any) -> None:
        data, text = event.get("bytes"), event.get("text")
        if data is not None:
            if not isinstance(data, bytes | bytearray | memoryview):
                raise TypeError(f"the bytes of websocket.send are bytes, not {type(data).__name__}")
            await self._transport.send(binary_frame(data))
        elif isinstance(text, str):
            await self._transport.send(text_frame(text))
        else:
            raise TypeError(f"websocket.send has a str as text, or bytes, not {type(text).__name__}")

    async def _close(self, code: object, reason: object) -> None:
        if self._transport.lifecycle.phase is Phase.CONNECTING:
            await self._transport.deny(403, [], b"")
            return
        checked = check_asgi_close_code(1000 if code is None else code)
        await self._transport.close(End(checked, check_reason(reason), Cause.LOCAL_CLOSE))

    async def _start_denial(self, event: Any) -> None:
        self._check_deniable()
        self._denial = Denial(event)
        await checkpoint()

    async def _deny(self, event: Any) -> None:
        denial = self._denial
        if denial is None:
            self._check_deniable()
            raise ValueError("websocket.http.response.body came before websocket.http.response.start")
        denial.add(event)
        if denial.is_whole:
            await self._transport.deny(denial.status, denial.headers, denial.body)
        else:
            await checkpoint()

    def _check_deniable(self) -> None:
        if self._denial is not None:
            raise LifecycleError("the handshake has been refused: it can be refused once")
        if self._transport.lifecycle.phase in (Phase.OPEN, Phase.CLOSING):
            raise LifecycleError("the connection was accepted: close it with websocket.close")

    def _use_events(self) -> None:
        if not self._has_events:
            self._has_events = True
            self._transport.on_end = self._on_end
            self._transport.start(self._timers)

    # Deadlines

    def _on_end(self, end: End) -> None:
        """Begin the application's last seconds. Called by the transport."""
        grace = self._transport.settings.disconnect_grace
        if grace < inf and self._application is not None:
            self._time_out_in(grace)

    def _time_out_in(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = Timer(self._time_out)
        self._timers.set(self._timer, trio.current_time() + seconds)

    def _time_out(self) -> None:
        if self._application is None or self.offer.is_ours:
            return
        transport = self._transport
        if transport.lifecycle.phase is Phase.CONNECTING:
            what, seconds = "did not accept within %g s", transport.settings.accept_timeout
        else:
            what, seconds = "went on for %g s after the end", transport.settings.disconnect_grace
        logger.warning(f"the application of %r {what}", transport.scope.get("path"), seconds)  # noqa: G004
        self._is_late = True
        self._application.cancel(reason="its time is over")

    async def finish(self, failed: bool) -> None:
        """End the connection: the application has returned, or raised.

        Cancellation: shielded, and bounded by `write_timeout` and `close_timeout`. No checkpoint where the application
        has taken the transport, which is over then.
        """
        self._application = None
        if self._timer is not None:
            self._timers.retire(self._timer)
        transport = self._transport
        try:
            if not self.offer.is_taken:
                self._use_events()
                with trio.CancelScope(shield=True):
                    await self._close_for_application(transport, failed)
        finally:
            self.offer.withdraw()
            self._has_events = True  # whoever calls `receive` or `send` from here on has kept them after the end,
            self._transport = cast(DirectTransport, ClosedTransport(transport))  # and must not keep the socket

    async def _close_for_application(self, transport: DirectTransport, failed: bool) -> None:
        try:
            if transport.lifecycle.phase is Phase.CONNECTING:
                cause = Cause.ACCEPT_TIMEOUT if self._is_late else Cause.HANDLER_ERROR
                await transport.deny(cause.http_status, [], b"")
            else:
                await transport.close(End.of(Cause.HANDLER_ERROR if failed else Cause.HANDLER_RETURNED))
        finally:
            await transport.leave()
