"""HTTP handlers `(req, res)`, on Starlette's request and response classes.

A handler may return what `res.json` and its like give it, another Starlette response, or a plain value: a dict or list
becomes JSON, a str text, bytes a download; None sends `res` as it stands. Errors are answered in JSON.
"""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, MutableMapping
from contextlib import aclosing
from functools import partial
from http import HTTPStatus
from typing import Any, Self

import attrs
import starlette.requests
import starlette.responses
import trio
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from .asgi_types import ASGIApp, Event, Receive, Scope, Send
from .config.settings import Settings
from .connections.handler_errors import explain
from .connections.watch import ConnectionWatch
from .core.json import JsonDefault, decode_json, encode_json
from .exceptions import InvalidJson
from .logs.fields import connection_fields
from .logs.tracebacks import format_traceback
from .routing.mounts import MountedRow
from .routing.paths import BadPath, request_path
from .routing.tree import RouteTree

__all__ = ["HTTPException", "Request", "Response", "error_response", "serve_request"]

logger = logging.getLogger("nexios_trio.http")

_NO_UPGRADE = (
    "refused with 404: a WebSocket has this path, and the request asks for none; where a proxy stands in front, let it"
    " pass on Upgrade and Connection (nginx: proxy_set_header Upgrade $http_upgrade; ... Connection upgrade)"
)


_BODILESS = frozenset((204, 205, 304))


class BadJson(HTTPException, ValueError):
    """The request's body is not JSON. Left uncaught it is answered with 400."""


@attrs.define(eq=False)
class ReceiveInTime:
    """A request's `receive`, which waits for the client for so many seconds in all. Raises: HTTPException, for 408."""

    _receive: Receive
    _seconds_left: float

    async def __call__(self) -> Event:
        begun = trio.current_time()
        with trio.move_on_after(self._seconds_left):
            event: Event = await self._receive()
            self._seconds_left = max(self._seconds_left - (trio.current_time() - begun), 0.0)
            return event
        raise HTTPException(408, "the body took too long")


class Request(starlette.requests.Request):
    """A request: `method`, `url`, `headers`, `query_params` (the last value wins), `path_params`, `client`, `state`.

    Its body is bounded: `max_body_size` bytes, else 413, and `handshake_timeout` seconds of waiting for the client,
    else 408. What the handler does between two pieces takes nothing of that time.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, settings: Settings) -> None:
        super().__init__(scope, ReceiveInTime(receive, settings.handshake_timeout), send)
        self._settings = settings

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Receive the body in pieces.

        Checkpoint: always. Raises: HTTPException, for 413 or 408; ClientDisconnect.
        """
        await trio.lowlevel.checkpoint()
        announced = self.headers.get("content-length", "")
        self._check_size(int(announced) if announced.isdecimal() and len(announced) < 20 else 0)
        size = 0
        async with aclosing(super().stream()) as chunks:
            async for chunk in chunks:
                size += len(chunk)
                self._check_size(size)
                yield chunk

    def _check_size(self, size: int) -> None:
        if size > self._settings.max_body_size:
            raise HTTPException(413, f"a body may have {self._settings.max_body_size} bytes")

    async def body(self) -> bytes:
        """Receive the whole body.

        Checkpoint: always. Raises: HTTPException, for 413 or 408; ClientDisconnect.
        """
        await trio.lowlevel.checkpoint()
        return await super().body()

    async def text(self) -> str:
        """Receive the body as text, which is UTF-8.

        Checkpoint: always. Raises: an HTTPException, for 400, if it is not.
        """
        try:
            return (await self.body()).decode()
        except UnicodeDecodeError:
            raise HTTPException(400, "the body is not UTF-8 text") from None

    async def json(self) -> Any:
        """Receive the body, decoded from JSON.

        Checkpoint: always. Raises: a ValueError that is answered with 400 if left uncaught.
        """
        try:
            return decode_json(await self.body(), self._settings.max_json_depth)
        except InvalidJson as error:
            raise BadJson(400, f"the body is not JSON: {error}") from None


class Response(starlette.responses.Response):
    """The response that a handler is given to fill in. Its methods return it, so that they can be chained."""

    def __init__(self, json_default: JsonDefault | None = None) -> None:
        super().__init__(None)
        self._json_default = json_default

    def json(self, data: Any, status_code: int | None = None) -> Self:
        """Answer with JSON. Raises: ValueError for what JSON cannot carry."""
        return self._fill(encode_json(data, self._json_default), "application/json", status_code)

    def text(self, text: str, status_code: int | None = None) -> Self:
        """Answer with plain text."""
        return self._fill(text.encode(), "text/plain; charset=utf-8", status_code)

    def html(self, text: str, status_code: int | None = None) -> Self:
        """Answer with a page."""
        return self._fill(text.encode(), "text/html; charset=utf-8", status_code)

    def bytes(self, data: "bytes | bytearray | memoryview", status_code: int | None = None) -> Self:
        """Answer with a download."""
        return self._fill(memoryview(data).tobytes(), "application/octet-stream", status_code)

    def status(self, status_code: int) -> Self:
        """Set the status. Raises: ValueError for what is none of a response."""
        if not 200 <= status_code <= 599:
            raise ValueError(f"a response's status is 200 to 599, not {status_code!r}")
        self.status_code = int(status_code)
        return self

    def _fill(self, body: Any, content_type: str, status_code: int | None) -> Self:
        self.body = body
        self.headers["content-length"] = str(len(body))
        self.headers["content-type"] = content_type
        return self if status_code is None else self.status(status_code)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.status_code in _BODILESS:
            self.body = b""
            del self.headers["content-length"]
        await super().__call__(scope, receive, send)


def error_response(status: int, detail: str = "", **more: Any) -> Response:
    """Make the response for an error: JSON with what it is, and its status."""
    return Response().json({"error": detail or HTTPStatus(status).phrase, "status": status, **more}, status)


async def serve_request(
    routes: RouteTree,
    scope: Scope,
    receive: Receive,
    send: Send,
    settings: Settings,
    app: Any = None,
    watches: Iterable[ConnectionWatch] = (),
) -> None:
    """Answer one request, with `watches` around what answers it.

    Cancellation: the response ends where it is. Raises: an error after the response has begun, for the server.
    """
    has_begun = False

    async def noting_send(event: MutableMapping[str, Any]) -> None:
        nonlocal has_begun
        has_begun = True
        await send(event)

    out = _without_body(noting_send) if scope["method"] == "HEAD" else noting_send
    serve: ASGIApp = partial(_serve, routes, settings, app)
    for watch in watches:
        serve = watch.around_request(serve)
    try:
        await serve(scope, receive, out)
    except ClientDisconnect:
        logger.debug("the client left", extra=connection_fields(scope))
    except Exception as error:
        if has_begun:
            raise
        await _report(error, scope, settings)(scope, receive, out)


async def _serve(routes: RouteTree, settings: Settings, app: Any, scope: Scope, receive: Receive, send: Send) -> None:
    response = await _answer(routes, scope, receive, send, settings, app)
    await response(scope, receive, send)


async def _answer(
    routes: RouteTree, scope: Scope, receive: Receive, send: Send, settings: Settings, app: Any
) -> ASGIApp:
    try:
        path = request_path(scope)
    except BadPath as error:
        return error_response(400, str(error))
    wanted = "GET" if scope["method"] == "HEAD" else scope["method"]
    allowed: set[str] = set()
    for row, params in routes.find_http(path):
        if isinstance(row, MountedRow):
            return row
        if row.route.method == wanted:
            return await _call(row.handler, params, scope, receive, send, settings, app)
        allowed.add(row.route.method)
    if not allowed:
        if routes.find_websocket(path) is not None:
            logger.info(_NO_UPGRADE, extra={"status": 404, **connection_fields(scope)})
        return error_response(404)
    response = error_response(405)
    response.headers["allow"] = ", ".join(sorted(allowed | ({"HEAD"} if "GET" in allowed else set())))
    return response


async def _call(
    handler: Callable[..., Awaitable[Any]],
    params: dict[str, Any],
    scope: Scope,
    receive: Receive,
    send: Send,
    settings: Settings,
    app: Any,
) -> starlette.responses.Response:
    params = {**scope.get("path_params", {}), **params}
    inner = {**scope, "path_params": params, "route_params": params, "app": app}
    response = Response(settings.json_default)
    returned = await handler(Request(inner, receive, send, settings), response, params=params)
    match returned:
        case None:
            return response
        case starlette.responses.Response():
            return returned
        case dict() | list():
            return response.json(returned)
        case str():
            return response.text(returned)
        case bytes() | bytearray() | memoryview():
            return response.bytes(returned)
        case _:
            raise TypeError(
                "an HTTP handler returns a response, a dict, list, str or bytes, or None for `res` as it is,"
                f" not {type(returned).__name__}"
            )


def _report(error: Exception, scope: Scope, settings: Settings) -> Response:
    """Return what the client is told of an error, and log what is not the client's doing."""
    if isinstance(error, HTTPException):
        response = error_response(error.status_code, error.detail)
        response.headers.update(error.headers or {})
        return response
    explain(error)
    logger.error(
        "the handler of %s %r failed",
        scope["method"],
        scope["path"],
        exc_info=error,
        extra=connection_fields(scope),
    )
    if settings.debug:
        return error_response(500, traceback=format_traceback(error))
    return error_response(500)


def _without_body(send: Send) -> Send:
    async def head_send(event: MutableMapping[str, Any]) -> None:
        await send({**event, "body": b""} if event["type"] == "http.response.body" else event)

    return head_send
