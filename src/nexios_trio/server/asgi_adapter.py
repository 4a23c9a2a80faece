"""Present a direct connection as plain ASGI: `receive` and `send`, for applications that do not take transports."""

import logging
from collections.abc import Callable
from enum import Enum
from math import inf
from typing import Any, cast

import trio

from ..asgi_types import ASGIApp
from ..config.settings import Settings
from ..connections.asgi_side import AsgiSide
from ..connections.closed_transport import ClosedTransport
from ..core.lifecycle import Cause, End, Phase
from ..logs.fields import connection_fields
from ..transports.direct import DirectTransport
from ..transports.server_context import DirectOffer
from ..transports.timers import Timer, Timers
from .errors import contained
from .request_fields import current_request

__all__ = ["AsgiAdapter", "Use"]

logger = logging.getLogger("nexios_trio.server")


class Use(Enum):
    """How the application uses its connection."""

    UNUSED = "unused"  # not yet
    EVENTS = "events"  # through `receive` and `send`
    TAKEN = "taken"  # it has taken the transport, and does all that is due to it


class AsgiAdapter(AsgiSide):
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
        super().__init__()
        self._is_ours = is_ours
        self._transport = transport
        self._timers = timers
        self.offer = DirectOffer(transport, self.receive, self.send, apply_settings)
        self._has_events = False
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
        current_request.set(connection_fields(self._transport.scope))
        timeout = self._transport.settings.accept_timeout
        if timeout < inf:
            self._time_out_in(timeout)
        with trio.CancelScope() as self._application:
            await app(self._transport.scope, self.receive, self.send)

    def _reach(self) -> DirectTransport:
        if not self._has_events:
            self._has_events = True
            self._transport.on_end = self._on_end
            self._transport.start(self._timers)
        return self._transport

    async def _accept(self, subprotocol: str | None, headers: Any) -> None:
        await super()._accept(subprotocol, headers)
        if self._timer is not None:
            self._timers.stop(self._timer)
        if self._transport.end is not None:
            self._on_end(self._transport.end)

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
                self._reach()
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
