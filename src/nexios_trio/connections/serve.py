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
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import trio
from attrs import evolve

from ..core.causes import explain_end
from ..core.lifecycle import DROPPED, Cause, End, Phase
from ..exceptions import EngineError
from ..groups.authorization import acting_for
from ..groups.publishing import COME_BACK_SECONDS
from ..transports.base import Transport
from ..transports.server_context import ConnectionHost
from .access import ConnectionAccess, find_access_log
from .handler_errors import end_after, explain, is_reportable, mistake_in
from .idle import Idle
from .last_calls import make_last_calls
from .refusal import Refusal, refusal_of
from .runtime import Runtime
from .session import Session
from .watch import ConnectionWatch
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
    session = _new_session(transport, runtime, app)
    session.scope = dict(transport.scope)  # which is whoever's that has called the application
    counts = transport.counts
    runtime.box.begin_counting(counts)
    try:
        with runtime.activate(), acting_for(session):
            async with transport.open(runtime.timers):
                del transport  # an error that a handler keeps leads to this frame, which must not lead on to a socket
                await _serve(session, _begin(session, endpoint))
    finally:
        runtime.box.end_counting(counts)


def begin_directly(
    host: ConnectionHost, transport: Transport, endpoint: Endpoint, runtime: Runtime, app: Any, *, can_be_idle: bool
) -> Coroutine[Any, Any, bool]:
    """Return the first task of a connection of our own server's: `serve_directly`, for its handler.

    The runtime must be held: it is released when the connection is over.

    Args:
        transport: its scope is the application's from now on.
        can_be_idle: it may go on without a task, if its handler knows how to.
    """
    session = _new_session(transport, runtime, app)
    runtime.box.begin_counting(transport.counts)
    if can_be_idle and all(type(watch).around is ConnectionWatch.around for watch in runtime.watches):
        session.idle = Idle(host, session, serve_directly)
    return serve_directly(host, session, endpoint)


async def serve_directly(host: ConnectionHost, session: Session, endpoint: Endpoint | None = None) -> bool:
    """Run one task of a connection, whose first has an endpoint. Returns whether the connection is over, not idle.

    Checkpoint, cancellation: as `serve_connection`.
    """
    runtime, counts, is_idle = session.runtime, session.counts, False
    try:
        with runtime.activate(), acting_for(session):
            if endpoint is not None:
                await session.transport.open(runtime.timers).__aenter__()  # `host.leave` is its end
                endpoint = _begin(session, endpoint)
            is_idle = await _serve(session, endpoint)
    finally:
        if not is_idle:
            try:
                await host.leave()
            finally:
                runtime.box.end_counting(counts)
                await runtime.release()
    return not is_idle


def _new_session(transport: Transport, runtime: Runtime, app: Any) -> Session:
    session = Session(transport, runtime, app)
    access_log = find_access_log()
    if access_log is not None:
        session.access = ConnectionAccess(access_log, transport.scope)
    return session


def _begin(session: Session, endpoint: Endpoint) -> Endpoint:
    """Begin a connection whose transport is open. Returns its endpoint with what stands around."""
    session.expect_accept()
    session.runtime.sessions[session] = None
    for watch in session.runtime.watches:
        endpoint = watch.around(endpoint)
    return endpoint


async def _serve(session: Session, endpoint: Endpoint | None) -> bool:
    """Run the handler, and end the connection with it, unless it is idle; whether it is."""
    try:
        ending = await _run_handler(session, endpoint)
        if ending is not None and ending[0].cause is Cause.GAP and session.transport.lifecycle.phase is Phase.OPEN:
            await trio.sleep(random.uniform(0, COME_BACK_SECONDS))  # so that not all come back at the same time
    except BaseException:
        await _end(session, End.of(Cause.SERVER_SHUTDOWN))
        raise
    if ending is None:
        return True
    await _end(session, *ending)
    return False


async def _run_handler(session: Session, endpoint: Endpoint | None) -> tuple[End, Refusal | None] | None:
    """Run the handler and its tasks. Returns how the connection ends; errors have been logged. None if it is idle.

    Cancellation and interrupts go on to the caller.
    """
    if endpoint is None and session.idle is not None and session.idle.end_at_once():
        session.close_tasks()
        return _ending_after(session, [])
    errors: list[Exception] = []  # emptied before this returns, or errors and this frame would be a cycle
    is_idle = False
    nursery: trio.Nursery | None
    try:
        async with trio.open_nursery() as nursery:
            session.open_tasks(nursery)
            try:
                await _call_handler(session, endpoint, errors)
            finally:
                is_idle = session.is_idle  # from here on it may be so no longer, which is another task's business
                if not is_idle:
                    session.close_tasks()
            if not is_idle and nursery.child_tasks:
                nursery.cancel_scope.cancel(reason="the handler has returned")
    except* Exception as group:
        errors.append(group)
    finally:
        ending = None if is_idle else _ending_after(session, errors)
        errors.clear()
        nursery = None  # nor must an error that a handler keeps lead to the tasks
    return ending


async def _call_handler(session: Session, endpoint: Endpoint | None, errors: list[Exception]) -> None:
    """Run the handler, or go on with it where it was idle. An error goes into `errors`, and not through the nursery.

    The nursery would cancel the other tasks in a frame that holds the error, and trio's Cancelled refers to the frames
    that it was made in: a cycle, which keeps the tasks.
    """
    try:
        if endpoint is not None:
            await endpoint(WebSocket(session))
        elif session.idle is not None and session.idle.life is not None:
            await session.idle.life.go_on()
        if session.override_queues and not session.is_idle:
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
    elif isinstance(mistake, EngineError):
        path = session.transport.scope.get("path")
        logger.warning("the handler of %r cannot go on: %s", path, mistake, extra=session.log_fields())
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
