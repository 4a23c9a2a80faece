"""Spans for OpenTelemetry. The extra `tracing` is needed to import this.

    websocket /chat/{room}          a connection, in the trace of its handshake's `traceparent`, if that has one

    receive /chat/{room}            a message: a trace of its own, with a link to the connection
        handle /chat/{room}         until the handler asks for the next one; current there, so a parent of what it does
            publish                 to a group; its context goes with the message, to other nodes too
    deliver                         to the members on one node: a trace of its own, with a link to `publish`

A connection may last for days, so its messages are no part of its trace; and what was published may reach many nodes,
so its deliveries are not part of the publisher's. There is no span for a member, and none for what a sampler drops.
HTTP requests have spans too: `request_spans`.
"""

import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, Final
from weakref import WeakSet

from opentelemetry import propagate
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    TracerProvider,
    get_current_span,
    get_tracer,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ..asgi_types import ASGIApp, Scope
from ..connections.handler_errors import DISCONNECTS
from ..connections.runtime import Runtime
from ..connections.session import Session
from ..connections.watch import ConnectionWatch, Endpoint, Handle, Receive
from ..connections.websocket import WebSocket
from ..core.lifecycle import Cause, End
from ..core.message import Batch, Message
from ..engines.base import Receipt
from ..groups.box import ChannelBox
from ..groups.publishing import Post
from ..pubsub.group import Group
from .request_spans import headers_of, traced_requests

__all__ = ["Tracing"]

SYSTEM: Final = "nexios_trio"  # of semantic conventions: what carries messages
TRACEPARENT: Final = "traceparent"
_W3C: Final = TraceContextTextMapPropagator()
_FAULTS: Final = {Cause.HANDLER_ERROR, Cause.ACCEPT_TIMEOUT, Cause.OVERFLOW, Cause.WRITE_TIMEOUT, Cause.GAP}
_traced: "WeakSet[ChannelBox]" = WeakSet()


class Tracing(ConnectionWatch):
    """The spans of one application, from when `begin` is called.

    Args:
        provider: where spans go; None for the one of the whole process.
        route_of: finds the path of a connection's route, as it was registered; "" for none.
        request_route_of: the same of a request; None for one that is not traced.
    """

    def __init__(
        self,
        provider: TracerProvider | None,
        route_of: Callable[[WebSocket], str],
        request_route_of: Callable[[Scope], str | None],
    ) -> None:
        self._tracer = get_tracer("nexios_trio", version("nexios-trio"), provider)
        self._route_of = route_of
        self._request_route_of = request_route_of
        self._connections: dict[Session, _TracedConnection] = {}

    def begin(self, runtime: Runtime) -> None:
        """Make spans from now on."""
        runtime.watches.append(self)
        box = runtime.box
        if box not in _traced:  # another application may have it, too
            _traced.add(box)
            box._wrap_posts(self._trace_posts)
            box.broadcaster.watch_flushes(0, self._trace_flush)

    # Connections

    def around(self, endpoint: Endpoint) -> Endpoint:
        async def traced(websocket: WebSocket) -> None:
            connection = _TracedConnection(self._tracer, websocket, self._route_of(websocket))
            self._connections[websocket._session] = connection
            token = attach(connection.context)
            try:
                await endpoint(websocket)
            except Exception as error:
                connection.note_error(error)
                raise
            finally:
                connection.end_message()
                detach(token)

        return traced

    def receiving(self, session: Session, receive: Receive) -> Receive:
        connection = self._connections.get(session)
        return receive if connection is None else _TracedReceive(connection, receive)

    def calling(self, session: Session, handle: Handle) -> Handle:
        connection = self._connections.get(session)
        return handle if connection is None else connection.around_call(handle)

    def ended(self, session: Session, end: End) -> None:
        connection = self._connections.pop(session, None)
        if connection is not None:
            connection.end(end)

    # Requests

    def around_request(self, serve: ASGIApp) -> ASGIApp:
        return traced_requests(serve, self._tracer, self._request_route_of)

    # Groups

    def _trace_posts(self, post: Post) -> Post:
        def traced(group: str, message: Message, **options: Any) -> Receipt:
            attributes = _group_attributes(group, "send", message)
            span = self._tracer.start_span("publish", kind=SpanKind.PRODUCER, attributes=attributes)
            message.trace = _traceparent(span)
            token = attach(set_span_in_context(span))
            try:
                receipt = post(group, message, **options)
            except Exception as error:
                _fail(span, error)
                span.end()
                raise
            finally:
                detach(token)
            if receipt.is_settled:
                _end_publish(span, receipt)
            else:
                receipt.on_settled = lambda receipt: _end_publish(span, receipt)
            return receipt

        return traced

    def _trace_flush(self, group: Group[Any], batch: Batch) -> None:
        for message in batch.messages:
            if message.trace:
                self._trace_delivery(group, message)

    def _trace_delivery(self, group: Group[Any], message: Message) -> None:
        """Make a span from the message's birth, by its publisher's clock, to now: its members have been written to."""
        publisher = get_current_span(_W3C.extract({TRACEPARENT: message.trace.decode("ascii", "replace")}))
        context = publisher.get_span_context()
        if not context.is_valid:
            return
        span = self._tracer.start_span(
            "deliver",
            context=Context(),
            kind=SpanKind.CONSUMER,
            attributes={**_group_attributes(group.name, "process", message), "nexios_trio.members": len(group.members)},
            links=[Link(context)],
            start_time=min(int(message.created * 1e9), time.time_ns()),
        )
        span.end()


class _TracedConnection:
    """One connection's span, and that of the message that its handler is at."""

    __slots__ = ("_message", "_name", "_tracer", "context", "span")

    def __init__(self, tracer: Tracer, websocket: WebSocket, route: str) -> None:
        scope = websocket.scope
        self._tracer = tracer
        self._name = f" {route}" if route else ""
        client = scope.get("client")
        attributes = {
            "url.path": scope["path"],
            "url.scheme": scope.get("scheme", "ws"),
            "network.protocol.name": "websocket",
            "nexios_trio.connection": websocket.id,
            **({"http.route": route} if route else {}),
            **({"client.address": client[0]} if client else {}),
        }
        before = propagate.extract(headers_of(scope))
        self.span = tracer.start_span("websocket" + self._name, before, SpanKind.SERVER, attributes)
        self.context = set_span_in_context(self.span, before)
        self._message: Span | None = None

    def begin_message(self, item: str | bytes) -> None:
        """Make the handler's task, and what it starts from here on, belong to this message."""
        received = self._tracer.start_span(
            "receive" + self._name,
            set_span_in_context(INVALID_SPAN, self.context),
            SpanKind.CONSUMER,
            {
                "messaging.system": SYSTEM,
                "messaging.operation.type": "receive",
                "messaging.message.body.size": len(item),
            },
            [Link(self.span.get_span_context())],
        )
        self._message = self._tracer.start_span("handle" + self._name, set_span_in_context(received, self.context))
        received.end()
        attach(set_span_in_context(self._message, self.context))

    def end_message(self) -> None:
        """Note that the handler is done with it. Nobody detaches: another task may have begun it."""
        if self._message is not None:
            self._message.end()
            self._message = None
            attach(self.context)

    def around_call(self, handle: Handle) -> Handle:
        """Return what is called for each message. One that fails is still the message when `note_error` is told."""

        def call(item: str | bytes) -> Any:
            self.begin_message(item)
            result = handle(item)
            self.end_message()
            return result

        return call

    def note_error(self, error: Exception) -> None:
        if not isinstance(error, DISCONNECTS):
            _fail(self.span if self._message is None else self._message, error)

    def end(self, end: End) -> None:
        self.span.set_attribute("nexios_trio.end.cause", end.cause.value)
        self.span.set_attribute("nexios_trio.end.code", end.code)
        if end.cause in _FAULTS:
            self.span.set_status(Status(StatusCode.ERROR, end.cause.value))
        self.span.end()


class _TracedReceive:
    """Receives for a handler, whose next message begins where it asks again."""

    __slots__ = ("_connection", "_receive")

    def __init__(self, connection: _TracedConnection, receive: Receive) -> None:
        self._connection = connection
        self._receive = receive

    async def __call__(self) -> str | bytes | End:
        self._connection.end_message()
        item: str | bytes | End = await self._receive()
        if not isinstance(item, End):
            self._connection.begin_message(item)
        return item


def _group_attributes(group: str, operation: str, message: Message) -> dict[str, str | int]:
    return {
        "messaging.system": SYSTEM,
        "messaging.destination.name": group,
        "messaging.operation.type": operation,
        "messaging.message.body.size": message.size,
    }


def _traceparent(span: Span) -> bytes:
    """Return what goes with a message; nothing, for a span that a sampler has dropped."""
    if not span.get_span_context().trace_flags.sampled:
        return b""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, set_span_in_context(span))
    return carrier.get(TRACEPARENT, "").encode("ascii")


def _end_publish(span: Span, receipt: Receipt) -> None:
    if receipt.error is not None:
        _fail(span, receipt.error)
    elif receipt.is_settled and receipt.position is not None:
        span.set_attribute("nexios_trio.offset", receipt.position.offset)
    span.end()


def _fail(span: Span, error: Exception) -> None:
    span.record_exception(error)
    span.set_status(Status(StatusCode.ERROR, type(error).__name__))
