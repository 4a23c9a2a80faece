"""Spans of HTTP requests. The extra `tracing` is needed to import this.

GET /rooms/{room}               a request, until its response is sent: current meanwhile, so a parent of what the
                                handler does. In the trace of the request's `traceparent`, if that has one, or below
                                the span that is current already, where middleware has begun one
"""

from collections.abc import Callable
from typing import Final

from opentelemetry import propagate
from opentelemetry.context import attach, detach
from opentelemetry.trace import (
    INVALID_SPAN,
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    get_current_span,
    set_span_in_context,
)
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from ..asgi_types import ASGIApp, Event, Receive, Scope, Send

__all__ = ["headers_of", "traced_requests"]

# Those that OpenTelemetry knows: clients may invent any number of others.
METHODS: Final = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"})


def traced_requests(serve: ASGIApp, tracer: Tracer, route_of: Callable[[Scope], str | None]) -> ASGIApp:
    """Return what serves requests in place of `serve`, with a span for each.

    Args:
        route_of: finds the path of a request's route, as it was registered; "" for none, None for no span.
    """

    async def traced(scope: Scope, receive: Receive, send: Send) -> None:
        route = route_of(scope)
        if route is None:
            await serve(scope, receive, send)
            return
        is_below = get_current_span() is not INVALID_SPAN
        before = None if is_below else propagate.extract(headers_of(scope))
        kind = SpanKind.INTERNAL if is_below else SpanKind.SERVER
        span = tracer.start_span(_name(scope, route), before, kind, _attributes(scope, route))

        is_started = False

        async def noting_send(event: Event) -> None:
            nonlocal is_started
            if event["type"] == "http.response.start":
                is_started = True
                _note_status(span, event["status"])
            await send(event)

        token = attach(set_span_in_context(span, before))
        try:
            await serve(scope, receive, noting_send)
        except HTTPException as error:
            if not is_started:
                _note_status(span, error.status_code)
            raise
        except ClientDisconnect:
            raise
        except Exception as error:
            if not is_started:  # else the client has another one
                _note_status(span, 500)
            span.record_exception(error)
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise
        finally:
            detach(token)
            span.end()

    return traced


def headers_of(scope: Scope) -> dict[str, str]:
    """Return the headers as propagators want them."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def _name(scope: Scope, route: str) -> str:
    method = scope["method"] if scope["method"] in METHODS else "HTTP"
    return f"{method} {route}" if route else method


def _attributes(scope: Scope, route: str) -> dict[str, str]:
    client = scope.get("client")
    return {
        "http.request.method": scope["method"] if scope["method"] in METHODS else "_OTHER",
        "url.path": scope["path"],
        "url.scheme": scope.get("scheme", "http"),
        "network.protocol.version": scope.get("http_version", "1.1"),
        **({"http.route": route} if route else {}),
        **({"client.address": client[0]} if client else {}),
    }


def _note_status(span: Span, status: int) -> None:
    span.set_attribute("http.response.status_code", status)
    if status >= 500:
        span.set_status(Status(StatusCode.ERROR))
