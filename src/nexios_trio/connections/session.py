"""What a `WebSocket`, its channels and its box share about one connection."""

import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import trio

from ..core.lifecycle import Cause, End, Phase, clip_reason
from ..core.message import Frame
from ..exceptions import HandshakeError, LifecycleError, WebSocketDisconnect
from ..transports.base import Headers, Transport
from ..transports.send_queue import DeliveryCounts
from ..transports.timers import Timer
from .runtime import Runtime

logger = logging.getLogger("nexios_trio.connection")

# We dropped the peer: its channels leave their groups at once. After any other end they are members until the handler
# has run out, so that `on_disconnect` counts the one who leaves.
DROPPED = frozenset({Cause.OVERFLOW, Cause.WRITE_TIMEOUT, Cause.HEARTBEAT_TIMEOUT, Cause.EXPIRED, Cause.ABORTED})


class Attached(Protocol):
    """A channel, as its connection knows it."""

    def catch_up(self) -> None:
        """Queue the group messages that are on their way, before anything else is sent."""

    async def accepted(self) -> None: ...

    async def disconnected(self) -> None:
        """The connection is over; memberships still stand, unless we dropped the peer."""

    def leave_groups(self) -> None: ...

    def release(self) -> None:
        """Leave every group and registry, for good."""


class Busy(Protocol):
    """A task that sends what groups gave it."""

    @property
    def is_busy(self) -> bool: ...

    async def settle(self) -> None:
        """Wait until what it has was sent."""

    def discard(self) -> None:
        """Count what was not sent as lost."""


class Session:
    """One connection. Owned by `connection.serve_connection`, whose block it never outlives."""

    __slots__ = (
        "_cancel_handler",
        "_expiry",
        "_start_soon",
        "_timer",
        "app",
        "channels",
        "expires_at",
        "id",
        "is_accepted",
        "is_released",
        "relays",
        "runtime",
        "transport",
        "verdict",
    )

    def __init__(self, transport: Transport, runtime: Runtime, app: Any) -> None:
        self.transport = transport
        self.runtime = runtime
        self.app = app
        self.id = secrets.token_hex(6)  # for logs; says nothing
        self.channels: list[Attached] = []
        self.relays: list[Busy] = []
        self.is_accepted = False
        self.is_released = False
        self.verdict: End | None = None  # why we cancelled a handler that had not accepted
        self._start_soon: Callable[..., None] | None = None
        self._cancel_handler: Callable[[], None] = lambda: None
        self._timer = Timer(self._out_of_patience)
        self._expiry: Timer | None = None
        self.expires_at: float | None = None  # the whole connection, not a channel's membership
        transport.on_end = self._ended

    @property
    def counts(self) -> DeliveryCounts:
        return self.transport.counts

    @property
    def is_over(self) -> bool:
        """Nothing can be started any more, or either side has closed."""
        return self._start_soon is None or self.transport.end is not None

    @property
    def is_dropped(self) -> bool:
        end = self.transport.end
        return end is not None and end.cause in DROPPED

    # The handler's nursery is reachable between these two calls only.

    def begin(self, nursery: trio.Nursery) -> None:
        self._start_soon = nursery.start_soon
        self._cancel_handler = lambda: nursery.cancel_scope.cancel(reason="the connection has ended")

    def finish(self) -> None:
        self._start_soon = None
        self._cancel_handler = lambda: None
        self.runtime.timers.stop(self._timer)
        self.expire_at(None)

    def start_soon(self, function: Callable[..., Awaitable[Any]], *args: Any) -> None:
        if self._start_soon is None:
            raise LifecycleError("the connection is over: nothing can be started in it any more")
        self._start_soon(self._run, function, args, name=function)

    async def _run(self, function: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> None:
        """A task that stops because the peer has left does so alone: the handler may go on for a while."""
        try:
            await function(*args)
        except* WebSocketDisconnect:
            if self.transport.end is None:
                raise

    # The connection

    async def accept(self, subprotocol: str | None, headers: Headers) -> None:
        self.transport = await self.transport.accept(subprotocol, headers)
        self.transport.on_end = self._ended
        if self.transport.end is None:
            self.runtime.timers.stop(self._timer)
        self.is_accepted = True
        for channel in list(self.channels):
            await channel.accepted()

    async def refuse(self, error: HandshakeError) -> None:
        """Answer the handshake with an HTTP error; once accepted, close with 1008."""
        if self.transport.lifecycle.phase is not Phase.CONNECTING:
            await self.close(End.of(Cause.DENIED, clip_reason(error.reason), 1008))
            return
        body = error.reason.encode("utf-8", "replace")
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
        await self.transport.deny(error.status, [*headers, *error.headers], body, clip_reason(error.reason))

    async def send(self, frame: Frame) -> None:
        """After the group messages on their way; see `Transport.send`."""
        if self.runtime.box.fanout.dirty:
            self.catch_up()
        await self.transport.send(frame)

    async def close(self, end: End) -> None:
        self.catch_up()
        await self.settle()
        await self.transport.close(end)

    def catch_up(self) -> None:
        for channel in self.channels:
            channel.catch_up()

    async def settle(self) -> None:
        """Wait for the tasks that send what groups gave them, at most `write_timeout`. A checkpoint if any is busy."""
        if self.is_over:
            return
        busy = [relay for relay in self.relays if relay.is_busy]
        if busy:
            with trio.move_on_after(self.runtime.settings.write_timeout):
                for relay in busy:
                    await relay.settle()

    def expire(self) -> None:
        """Close from a synchronous function; what is queued is lost."""
        self.transport.evict(End.of(Cause.EXPIRED, "expired"))

    def release(self) -> None:
        """Nothing of the connection is left anywhere. Nor do its parts refer to each other in circles any more."""
        self.is_released = True
        for relay in self.relays:
            relay.discard()
        for channel in self.channels:
            channel.release()
        self.relays.clear()
        self.channels.clear()
        self._timer.callback = _nothing
        self.transport.on_end = _nothing

    def log_fields(self, **more: Any) -> dict[str, Any]:
        """Return what every record about this connection carries (`extra=`)."""
        client = self.transport.scope.get("client")
        path = self.transport.scope.get("path")
        return {"connection": self.id, "client": client[0] if client else None, "path": path, **more}

    # Deadlines

    def expire_at(self, when: float | None, end: End | None = None) -> None:
        """End the connection at that time, unless this is called again before; None for not at all."""
        if self._expiry is not None:
            self.runtime.box.timers.stop(self._expiry)
        self._expiry, self.expires_at = None, when
        if when is not None and end is not None:
            self._expiry = Timer(lambda: self._expired(end))
            self.runtime.box.timers.set(self._expiry, when)

    def _expired(self, end: End) -> None:
        self._expiry = None
        if self.transport.lifecycle.phase is Phase.CONNECTING:
            self.verdict = end
            self._cancel_handler()
        else:
            self.transport.evict(end)

    def await_accept(self) -> None:
        """Cancel the handler unless it accepts or refuses in time."""
        self.runtime.timers.set(self._timer, trio.current_time() + self.runtime.settings.accept_timeout)

    def _ended(self, end: End) -> None:
        """Called by the transport. The handler has `disconnect_grace` to find out for itself."""
        if end.cause in DROPPED:
            for channel in self.channels:
                channel.leave_groups()
        if self._start_soon is not None:
            self.runtime.timers.set(self._timer, trio.current_time() + self.runtime.settings.disconnect_grace)

    def _out_of_patience(self) -> None:
        settings = self.runtime.settings
        path = self.transport.scope.get("path")
        if self.transport.lifecycle.phase is Phase.CONNECTING:
            self.verdict = End.of(Cause.ACCEPT_TIMEOUT)
            what, seconds = "the handler of %r did not accept within %g s", settings.accept_timeout
        else:
            what, seconds = "the handler of %r went on for %g s after the end", settings.disconnect_grace
        logger.warning(what, path, seconds, extra=self.log_fields())
        self._cancel_handler()


def _nothing(end: End | None = None) -> None:
    """Stands where nobody has to be told any more."""
