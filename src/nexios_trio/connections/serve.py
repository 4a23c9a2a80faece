"""One connection from its request to its end.

    async with transport.open():            reader and writer, where the transport needs tasks
        async with nursery:                 the handler and what it started
            await endpoint(ws)
        close                               queued messages, close frame; bounded
        on_disconnect                       shielded, bounded
        release                             synchronous: memberships, registry

Whatever ends the handler becomes one `End`. Cancellation from outside goes on to the caller once the connection is
cleaned up; everything else stops here and is logged once.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from ..core.lifecycle import Cause, End, Phase
from ..exceptions import HandshakeError
from ..groups.authorization import acting_for
from ..transports.base import Transport
from .handler_errors import end_after, explain, is_reportable, mistake_in
from .runtime import Runtime
from .session import DROPPED, Peer
from .websocket import WebSocket

logger = logging.getLogger("nexios_trio.connection")

Endpoint = Callable[[WebSocket], Awaitable[Any]]

# Ends that an operator wants to know of: we, or the application, sent the peer away.
NOTABLE = DROPPED | {
    Cause.ACCEPT_TIMEOUT,
    Cause.AUTH_TIMEOUT,
    Cause.DENIED,
    Cause.INVALID_DATA,
    Cause.MESSAGE_TOO_BIG,
    Cause.PROTOCOL_ERROR,
    Cause.RATE_LIMITED,
    Cause.UNAUTHORIZED,
    Cause.UNSUPPORTED_DATA,
}

# HTTP statuses of refusals; 403 for the others
_STATUSES = {
    Cause.HANDLER_ERROR: 500,
    Cause.SERVER_SHUTDOWN: 503,
    Cause.ACCEPT_TIMEOUT: 503,
    Cause.NOT_FOUND: 404,
}


async def serve_connection(transport: Transport, endpoint: Endpoint, runtime: Runtime, app: Any = None) -> None:
    """Run `endpoint` for one connection. When this returns, nothing of the connection is left.

    Cancellation: the handler is cancelled, the peer gets 1012, cleanup is bounded by `cleanup_timeout`.
    """
    peer = Peer(transport, runtime, app)
    runtime.box.begin_counting(peer)
    try:
        with runtime.activate(), acting_for(peer):
            async with transport.open(runtime.sweeper):
                peer.await_accept()
                try:
                    mistake = await _run_handler(peer, endpoint)
                except BaseException:
                    await _finish(peer, End.of(Cause.SERVER_SHUTDOWN))
                    raise
                await _finish(peer, peer.verdict or _end_after(peer, mistake), mistake)
    finally:
        runtime.box.end_counting(peer)


async def _run_handler(peer: Peer, endpoint: Endpoint) -> Exception | None:
    """Run the handler and its tasks; the mistake that ended it, which has been logged."""
    try:
        async with trio.open_nursery() as nursery:
            peer.begin(nursery)
            try:
                await endpoint(WebSocket(peer))
                await peer.settle()
            finally:
                peer.finish()
            nursery.cancel_scope.cancel(reason="the handler has returned")
    except Exception as error:
        return _report(peer, error)
    except BaseExceptionGroup as group:  # cancellation or an interrupt goes on, mistakes stop here
        mistakes, rest = group.split(Exception)
        if mistakes is None or rest is None:
            raise
        _report(peer, mistakes)
        raise rest from None
    return None


def _report(peer: Peer, error: Exception) -> Exception | None:
    mistake = mistake_in(error)
    if mistake is not None and is_reportable(mistake):
        path = peer.transport.scope.get("path")
        explain(mistake)
        logger.error("the handler of %r failed", path, exc_info=mistake, extra=peer.log_fields())
    return mistake


def _end_after(peer: Peer, mistake: Exception | None) -> End:
    is_connecting = peer.transport.lifecycle.phase is Phase.CONNECTING
    return end_after(mistake, is_connecting=is_connecting, debug=peer.runtime.settings.debug)


async def _finish(peer: Peer, end: End, mistake: Exception | None = None) -> None:
    """Say goodbye, tell the channels, leave. Shielded, and bounded."""
    settings = peer.runtime.settings
    try:
        with trio.move_on_after(settings.write_timeout + settings.close_timeout, shield=True):
            await _say_goodbye(peer, end, mistake)
        for channel in peer.channels:
            await channel.disconnected()
    finally:
        peer.release()
    final = peer.transport.end or end
    logger.log(
        logging.INFO if final.cause in NOTABLE else logging.DEBUG,
        "connection ended: %s, %d %s",
        final.cause.value,
        final.code,
        final.reason,
        extra=peer.log_fields(code=final.code, cause=final.cause.value, reason=final.reason),
    )


async def _say_goodbye(peer: Peer, end: End, mistake: Exception | None) -> None:
    try:
        if isinstance(mistake, HandshakeError):
            await peer.refuse(mistake)
        elif peer.transport.lifecycle.phase is Phase.CONNECTING:
            await peer.transport.deny(_STATUSES.get(end.cause, 403), [(b"content-length", b"0")], b"", end.reason)
        else:
            await peer.close(end)
    except Exception:
        logger.exception("a connection could not be closed", extra=peer.log_fields())
        peer.transport.kill(end)
