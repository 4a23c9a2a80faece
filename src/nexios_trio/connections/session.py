"""One connection, as its `WebSocket`, its channels and its box share it."""

import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import trio

from ..asgi_types import Headers
from ..core.lifecycle import DROPPED, Cause, End, Phase
from ..core.message import Frame
from ..exceptions import LifecycleError, NexiosError
from ..logs.fields import connection_fields
from ..transports.base import Transport
from ..transports.send_queue import DeliveryCounts
from ..transports.timers import Timer, do_nothing
from .access import ConnectionAccess
from .attached import AttachedChannel, SendingQueue
from .closed_transport import ClosedTransport
from .refusal import Refusal
from .runtime import Runtime
from .user_session import UserSession

logger = logging.getLogger("nexios_trio.connection")


class Session(UserSession):
    """One connection. Owned by `serve.serve_connection`, whose block it never outlives.

    Invariant: after `release` nothing leads from here to the transport, its queues, a task or a channel, so that
    whatever an application ties itself into a knot with, these are freed at once.
    """

    __slots__ = (
        "_expiry",
        "_id",
        "access",
        "app",
        "channels",
        "expires_at",
        "is_accepted",
        "is_released",
        "override_queues",
        "receive",
        "runtime",
        "scope",
        "transport",
        "verdict",
    )

    def __init__(self, transport: Transport, runtime: Runtime, app: Any) -> None:
        super().__init__()
        self.transport = transport
        self.scope = transport.scope  # the application's, or its copy: its `user` is the connection's
        # Where the next message comes from. Called for each message; `use` keeps it and the transport together.
        self.receive: Callable[[], Awaitable[str | bytes | End]] = self._receive_before_accept
        self.runtime = runtime
        self.app = app
        self._id = ""  # made when somebody asks
        self.channels: list[AttachedChannel] = []
        self.override_queues: Sequence[SendingQueue] = ()
        self.is_accepted = False
        self.access: ConnectionAccess | None = None  # where there is an access log
        self.is_released = False
        self.verdict: End | None = None  # why we cancelled a handler that had not accepted
        self._expiry: Timer | None = None
        self.expires_at: float | None = None  # the whole connection, not a channel's membership
        transport.on_end = self._ended

    @property
    def id(self) -> str:
        """The connection's name in logs, which says nothing."""
        self._id = self._id or secrets.token_hex(6)
        return self._id

    @property
    def counts(self) -> DeliveryCounts:
        return self.transport.counts

    def log_fields(self, **more: Any) -> dict[str, Any]:
        """Return what every record about this connection carries (`extra=`)."""
        return {**connection_fields(self.scope), "connection": self.id, **more}

    # The connection

    def use(self, transport: Transport) -> None:
        """Send and receive through `transport` from now on."""
        self.transport = transport
        if transport.lifecycle.phase is Phase.CONNECTING:
            self.receive = self._receive_before_accept
            return
        self.receive = transport.inbox.get
        for watch in self.runtime.watches:
            self.receive = watch.receiving(self, self.receive)

    async def _receive_before_accept(self) -> str | bytes | End:
        if self.transport.lifecycle.phase is Phase.CONNECTING:
            raise LifecycleError("call accept() before receiving")
        return await self.transport.inbox.get()

    async def accept(self, subprotocol: str | None, headers: Headers) -> None:
        """Answer the handshake with 101, and tell the channels. Arguments have been checked.

        Checkpoint, cancellation, raises: as `Transport.accept`.
        """
        before = self.transport
        try:
            transport = await before.accept(subprotocol, headers)
        except NexiosError as error:
            raise error.with_traceback(None) from None  # as in `send`
        if transport is not before:  # the socket was taken over
            transport.on_end = self._ended
        self.use(transport)
        if transport.end is None:
            self.runtime.timeouts.accept.end(self)
        if not self.is_accepted:  # authentication by the first message has accepted ahead of the handler
            self.is_accepted = True
            accepted = self.runtime.counts.accepted
            accepted[transport.name] = accepted.get(transport.name, 0) + 1
            if self.access is not None:
                self.access.accepted(self.scope, connection=self.id)
        for channel in list(self.channels):
            await channel.accepted()
        if self.scope.get("user") is not None:
            await self.accepted_user()

    async def refuse_or_close(self, end: End, refusal: Refusal | None = None) -> None:
        """Answer the handshake with `refusal`, or what `end` comes to in HTTP; once it is answered, close.

        The one way out of a connection that speaks to the peer. Checkpoint: always. Cancellation: as
        `Transport.close`.
        """
        if self.transport.lifecycle.phase is Phase.CONNECTING:
            answer = Refusal.of(end) if refusal is None else refusal
            await self.transport.deny(answer.status, answer.headers, answer.body, end.reason)
        else:
            await self.close(end)

    async def send(self, frame: Frame) -> None:
        """Send after the group messages on their way. Checkpoint, cancellation, raises: as `Transport.send`."""
        box = self.runtime.box
        if box.engine_client.unsettled:
            await self.settle_posts()
        if box.broadcaster.dirty:
            self.catch_up()
        if self.override_queues:
            await self.settle()
        try:
            await self.transport.send(frame)
        except NexiosError as error:
            raise error.with_traceback(None) from None  # whoever keeps it must not keep the transport's frames

    async def close(self, end: End) -> None:
        """Close after the group messages on their way. Checkpoint, cancellation: as `Transport.close`."""
        if self.runtime.box.engine_client.unsettled:
            await self.settle_posts()
        self.catch_up()
        if self.override_queues:
            await self.settle()
        await self.transport.close(end)

    async def settle(self) -> None:
        """Wait for overrides to send what groups gave them, at most `write_timeout`. A checkpoint if any is busy."""
        busy = [queue for queue in self.override_queues if queue.is_busy and not self.is_over]
        if busy:
            with trio.move_on_after(self.runtime.settings.write_timeout):
                for queue in busy:
                    await queue.settle()

    def expire(self) -> None:
        """Close from a synchronous function; what is queued is lost."""
        self.transport.evict(End.of(Cause.EXPIRED, "expired"))

    def release(self) -> None:
        """Leave nothing of the connection anywhere, and no way from here to what it was made of. Called once."""
        self.is_released = True
        self.runtime.sessions.pop(self, None)
        if self.held is not None:
            self._release_held()
        for queue in self.override_queues:
            queue.discard()
        for channel in self.channels:
            channel.release()
        self.override_queues = ()
        self.channels.clear()
        self.personal = None
        if self.idle is not None:
            self.idle.let_go()
            self.idle = None
        self.transport.on_end = do_nothing
        closed: Any = ClosedTransport(self.transport)
        self.transport = closed
        self.receive = closed.get

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

    def expect_accept(self) -> None:
        """Cancel the handler unless it accepts or refuses within `accept_timeout` from now."""
        if self.transport.lifecycle.phase is Phase.CONNECTING:
            self.runtime.timeouts.accept.begin(self)

    def suspend_accept_timeout(self) -> None:
        """Let something else bound the time before accept, until `expect_accept`."""
        if self.transport.lifecycle.phase is Phase.CONNECTING:
            self.runtime.timeouts.accept.end(self)

    def _ended(self, end: End) -> None:
        """Note the end, of which the transport tells. The handler has `disconnect_grace` to find out for itself."""
        if end.cause in DROPPED:
            for channel in self.channels:
                channel.leave_groups()
        if self.personal is not None:
            self.runtime.box.ended_user(self.personal)
        if self._nursery is not None or self.is_idle:
            if not self.is_accepted:
                self.runtime.timeouts.accept.end(self)
            self.runtime.timeouts.grace.begin(self)

    def time_out(self, what: str, seconds: float) -> None:
        """Cancel the handler, whose time to accept is over, or to return after the end. Called by `HandlerTimeouts`."""
        if self.transport.lifecycle.phase is Phase.CONNECTING:
            self.verdict = End.of(Cause.ACCEPT_TIMEOUT)
        logger.warning(what, self.transport.scope.get("path"), seconds, extra=self.log_fields())
        self._cancel_handler()
