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
from attrs import evolve

from ..core.causes import explain_end
from ..core.lifecycle import DROPPED, Cause, End, Phase
from ..groups.authorization import acting_for
from ..transports.base import Transport
from .access import ConnectionAccess, find_access_log
from .handler_errors import end_after, explain, is_reportable, mistake_in
from .last_calls import make_last_calls
from .refusal import Refusal, refusal_of
from .runtime import Runtime
from .session import Session
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
    Cause.UNAUTHORIZED,
    Cause.UNSUPPORTED_DATA,
}


async def serve_connection(transport: Transport, endpoint: Endpoint, runtime: Runtime, app: Any = None) -> None:
    """Run `endpoint` for one connection. When this returns, nothing of the connection is left.

    Checkpoint: always. Cancellation: the handler is cancelled, the peer gets 1012, cleanup is bounded by
    `cleanup_timeout`.
    """
    session = Session(transport, runtime, app)
    access_log = find_access_log()
    if access_log is not None:
        session.access = ConnectionAccess(access_log, transport.scope)
    counts = transport.counts
    runtime.box.begin_counting(counts)
    try:
        with runtime.activate(), acting_for(session):
            async with transport.open(runtime.timers):
                del transport  # an error that a handler keeps leads to this frame, which must not lead on to a socket
                session.expect_accept()
                runtime.sessions[session] = None
                for watch in runtime.watches:
                    endpoint = watch.around(endpoint)
                try:
                    end, refusal = await _run_handler(session, endpoint)
                except BaseException:
                    await _end(session, End.of(Cause.SERVER_SHUTDOWN))
                    raise
                await _end(session, end, refusal)
    finally:
        runtime.box.end_counting(counts)


async def _run_handler(session: Session, endpoint: Endpoint) -> tuple[End, Refusal | None]:
    """Run the handler and its tasks. Returns how the connection ends; errors have been logged.

    Cancellation and interrupts go on to the caller.
    """
    errors: list[Exception] = []  # emptied before this returns, or errors and this frame would be a cycle
    nursery: trio.Nursery | None
    try:
        async with trio.open_nursery() as nursery:
            session.open_tasks(nursery)
            try:
                await _call_handler(session, endpoint, errors)
            finally:
                session.close_tasks()
            if nursery.child_tasks:
                nursery.cancel_scope.cancel(reason="the handler has returned")
    except* Exception as group:
        errors.append(group)
    finally:
        ending = _ending_after(session, errors)
        errors.clear()
        nursery = None  # nor must an error that a handler keeps lead to the tasks
    return ending


async def _call_handler(session: Session, endpoint: Endpoint, errors: list[Exception]) -> None:
    """Run the handler. An error goes into `errors`, and not through the nursery.

    The nursery would cancel the other tasks in a frame that holds the error, and trio's Cancelled refers to the frames
    that it was made in: a cycle, which keeps the tasks.
    """
    try:
        await endpoint(WebSocket(session))
        if session.override_queues:
            await session.settle()
    except Exception as error:
        errors.append(error)


def _ending_after(session: Session, errors: list[Exception]) -> tuple[End, Refusal | None]:
    """Log what the application has to answer for. Returns the connection's end, or the one that the errors come to."""
    mistake: Exception | None = None
    if errors:
        mistake = mistake_in(
            errors[0] if len(errors) == 1 else ExceptionGroup("a handler and its tasks failed", errors)
        )
    if mistake is not None and is_reportable(mistake):
        path = session.transport.scope.get("path")
        explain(mistake)
        logger.error("the handler of %r failed", path, exc_info=mistake, extra=session.log_fields())
    if session.verdict is not None:
        return session.verdict, None
    lifecycle = session.transport.lifecycle
    if lifecycle.end is not None:
        return lifecycle.end, None
    is_connecting = lifecycle.phase is Phase.CONNECTING
    end = end_after(mistake, is_connecting=is_connecting, debug=session.runtime.settings.debug)
    return end, refusal_of(mistake) if mistake is not None else None


async def _end(session: Session, end: End, refusal: Refusal | None = None) -> None:
    """Close, tell the channels, release. Shielded, and bounded."""
    settings = session.runtime.settings
    lifecycle = session.transport.lifecycle
    final = end
    try:
        if lifecycle.end is None:
            with trio.move_on_after(settings.write_timeout + settings.close_timeout, shield=True):
                await _close(session, end, refusal)
        final = lifecycle.end or end
        calls = [call for channel in session.channels for call in channel.disconnect_calls()]
        if calls:
            await make_last_calls(calls, settings.cleanup_timeout)
    finally:
        received = session.transport.inbox.received
        session.release()
        _note_end(session, final, end, received)


def _note_end(session: Session, final: End, wanted: End, received: int) -> None:
    """Count the connection's end, and say how it ended, and why: `wanted` knows why we have refused it."""
    is_refused = final.cause is Cause.DENIED and not session.is_accepted
    if is_refused and wanted.cause not in (Cause.DENIED, Cause.HANDLER_RETURNED):
        final = evolve(wanted, status=final.status)
    counts, cause = session.runtime.counts, final.cause._value_  # its `value` would run Python code
    if session.is_accepted:
        counts.ended[cause] = counts.ended.get(cause, 0) + 1
    else:
        counts.refused[cause, final.status] = counts.refused.get((cause, final.status), 0) + 1
    if session.access is not None:
        session.access.over(session.scope, final, received, session.counts, connection=session.id)
    for watch in session.runtime.watches:
        watch.ended(session, final)
    level = logging.INFO if final.cause in NOTABLE else logging.DEBUG
    if not logger.isEnabledFor(level):
        return
    fields = session.log_fields(cause=final.cause.value, reason=final.reason)
    if is_refused:
        status = final.status or final.cause.http_status
        logger.log(level, "refused with %d: %s", status, explain_end(final), extra={**fields, "status": status})
    else:
        logger.log(level, "ended with %d: %s", final.code, explain_end(final), extra={**fields, "code": final.code})


async def _close(session: Session, end: End, refusal: Refusal | None) -> None:
    try:
        await session.refuse_or_close(end, refusal)
    except Exception:
        logger.exception("a connection could not be closed", extra=session.log_fields())
        session.transport.kill(end)
