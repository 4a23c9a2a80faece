"""hypercorn's HTTP/1.1 connections, contained: whatever happens in one of them ends there.

This file depends on internals of hypercorn 0.18; tests/server/test_hypercorn.py holds each that is used.

- Every exception ends with its connection; cancellation and KeyboardInterrupt pass through.
- HTTP/1.1 is all that is spoken: `Upgrade: h2c` is ignored, as RFC 9110 allows, and HTTP/2's preface gets 505.
- A connection that asks for a WebSocket, after other requests, goes back to the WebSocket server.
- A peer that owes us a body may be silent for `ping_timeout`.
"""

import logging
from math import inf
from typing import Any, Final

import h11
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, RawData
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState

from ...config.settings import Settings
from ..connection_limits import AcceptedConnection
from ..cycles import break_cycles
from ..errors import ORDINARY, sole
from ..request_head import HEAD_END, WebSocketRequest, is_upgrade
from .stream import ConnectionStream

__all__ = ["HttpConnection"]

logger = logging.getLogger("nexios_trio.server")

RECEIVE_BYTES: Final = 65536


class WebSocketRequested(Exception):
    """Raised out of hypercorn's connection, which is no longer hypercorn's.

    Args:
        request: as if it had just come.
    """

    def __init__(self, request: WebSocketRequest) -> None:
        super().__init__(request)
        self.request = request


class LenientConnection(h11.Connection):
    """What follows a client's last request has no meaning (RFC 9112, 9.6), and must not cost it the response."""

    def receive_data(self, data: bytes) -> None:
        if self.their_state is not h11.MUST_CLOSE:
            super().receive_data(data)

    def next_event(self) -> Any:
        if self.their_state is h11.MUST_CLOSE:
            return h11.NEED_DATA
        try:
            return super().next_event()
        except h11.RemoteProtocolError as error:
            error.__traceback__ = None  # h11's frames hold the error: a cycle
            raise


class Http1Protocol(H11Protocol):
    """HTTP/1.1, and nothing that it can be upgraded to."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.connection = LenientConnection(h11.SERVER, max_incomplete_event_size=self.config.h11_max_incomplete_size)

    async def _check_protocol(self, event: h11.Request) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()  # in place of the upgrades to HTTP/2

    async def _create_stream(self, request: h11.Request) -> None:
        head = _head(request)
        if is_upgrade(head):
            raise WebSocketRequested(WebSocketRequest(head + self.connection.trailing_data[0]))
        refusal = _refusal(request)
        if refusal is not None:
            await self._send_error_response(refusal)
            await self.send(Closed())
        else:
            await super()._create_stream(_without_upgrade(request))

    async def _maybe_recycle(self) -> None:
        # What this tells the application may cancel the very task that we are in, which has sent the response's last
        # event (Quart-Trio's does). Nothing here waits for the peer.
        with trio.CancelScope(shield=True):
            await super()._maybe_recycle()


def _head(request: h11.Request) -> bytes:
    lines = [name + b": " + value for name, value in request.headers.raw_items()]
    start = request.method + b" " + request.target + b" HTTP/" + request.http_version
    return b"\r\n".join([start, *lines]) + HEAD_END


def _without_upgrade(request: h11.Request) -> h11.Request:
    headers = request.headers.raw_items()
    kept = [(name, value) for name, value in headers if name.lower() != b"upgrade"]
    if len(kept) == len(headers):
        return request
    return h11.Request(method=request.method, target=request.target, headers=kept, http_version=request.http_version)


def _refusal(request: h11.Request) -> int | None:
    """The status that a request gets which no application should see."""
    if not request.http_version.startswith(b"1."):
        return 505
    if _has_unclear_end(request):
        return 400
    is_path = request.target.startswith(b"/") or (request.method == b"OPTIONS" and request.target == b"*")
    return None if is_path else 400


def _has_unclear_end(request: h11.Request) -> bool:
    """Others on the way may find its end elsewhere than we, and take the rest for a request (RFC 9112, 6.1)."""
    names = {name for name, _ in request.headers}
    return b"transfer-encoding" in names and (b"content-length" in names or request.http_version == b"1.0")


def _request_in(errors: BaseException) -> WebSocketRequest:
    # In a function of its own: a local of the coroutine that raised it would hold the error, whose frames lead back
    # to that coroutine; from Python 3.12 on, the connection would be kept until a full collection.
    requested = sole(errors)
    assert isinstance(requested, WebSocketRequested)  # one request at a time
    return requested.request


class HttpConnection(TCPServer):
    """One connection. `serve` never raises because of it."""

    stream: Any  # hypercorn says SSLStream, and takes others
    protocol: Any  # hypercorn wraps it, to change to HTTP/2

    def __init__(
        self,
        app: AppWrapper,
        config: Config,
        context: WorkerContext,
        state: dict[str, Any],
        stream: ConnectionStream,
        connection: AcceptedConnection,
        settings: Settings,
    ) -> None:
        super().__init__(app, config, context, state, stream)  # type: ignore[arg-type]
        self._connection = connection
        self._ping_timeout = settings.ping_timeout
        self._is_over = False  # the peer has left; the application may still be at work

    async def serve(self) -> WebSocketRequest | None:
        """Serve the connection until it ends, or asks for a WebSocket: then returns that request."""
        asked: WebSocketRequest | None = None
        try:
            await self._serve()
        except* WebSocketRequested as errors:
            asked = _request_in(errors)
        except* ORDINARY as errors:
            logger.debug("a connection ended", exc_info=errors)
        except* (Exception, SystemExit) as errors:
            self._report(sole(errors))
        return asked

    def break_cycles(self) -> None:
        """Empty what is over: this connection and its protocol refer to each other and to themselves."""
        protocol = vars(self).get("protocol")
        if protocol is not None:
            if protocol.stream is not None:  # of the last request
                break_cycles(protocol.stream)
            break_cycles(protocol)
        break_cycles(self)

    async def _serve(self) -> None:
        connection = self._connection
        async with TaskGroup() as task_group:
            self._task_group = task_group
            self.protocol = Http1Protocol(
                self.app,
                self.config,
                self.context,
                task_group,
                ConnectionState(self.state),
                connection.is_secure,
                connection.client,
                connection.server,
                self.protocol_send,
            )
            await self.idle_task.restart(task_group, self._idle_timeout)
            await self._read_data()
            self._is_over = True
            await self.idle_task.stop()
        await self._close()

    async def _read_data(self) -> None:
        while True:
            data: bytes | None = None
            try:
                with trio.move_on_after(self._read_timeout()):
                    data = await self.stream.receive_some(RECEIVE_BYTES)
            except ORDINARY:
                break
            if data is None:
                break
            await self.protocol.handle(RawData(bytes(data)))
            if not data:
                break
        await self.protocol.handle(Closed())

    async def _idle_timeout(self) -> None:
        if not self._is_over:  # or the connection would be kept for as long as an idle one
            await super()._idle_timeout()

    def _read_timeout(self) -> float:
        """Seconds in which the peer has to send something."""
        configured: float = self.config.read_timeout or inf
        owes = self.protocol.connection.their_state is h11.SEND_BODY
        return min(self._ping_timeout, configured) if owes else configured

    def _report(self, error: BaseException) -> None:
        # One line: what a client can cause as often as it likes must not fill the log.
        client = self._connection.client
        logger.warning("dropped the connection of %s: %s: %r", client, type(error).__name__, str(error))
        logger.debug("it was dropped because of", exc_info=error)
