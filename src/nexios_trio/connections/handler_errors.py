"""How a handler's errors become the end of its connection. Pure."""

import logging
from collections.abc import Hashable, Iterator
from typing import Final

import starlette.exceptions
import starlette.websockets

from ..core.close_codes import check_close_code, clip_reason
from ..core.lifecycle import Cause, End
from ..exceptions import (
    EngineError,
    HandshakeError,
    InvalidJson,
    WebSocketDisconnect,
    WebSocketException,
    WrongFrameType,
)
from .refusal import REFUSING_ERRORS, refusal_of

__all__ = ["DISCONNECTS", "end_after", "explain", "is_reportable", "mistake_in"]

logger = logging.getLogger("nexios_trio.connection")

# Programs that came from another framework raise Starlette's; they mean the same.
DISCONNECTS: Final = (WebSocketDisconnect, starlette.websockets.WebSocketDisconnect)
_CLOSING_ERRORS: Final = (WebSocketException, starlette.exceptions.WebSocketException)
_BAD_MESSAGES: Final = (WrongFrameType, InvalidJson)

_STATUS_CODES: Final = 4000  # an HTTP status is said as 4000 and the status: 4401 for 401


def mistake_in(error: Exception) -> Exception | None:
    """Return the error that the application has to answer for. A disconnect is no fault.

    A group of one error is that error, and so is one of several that ask for the same end.
    """
    while isinstance(error, ExceptionGroup):
        rest = error.split(DISCONNECTS)[1]
        if rest is None:
            return None
        [first, *others] = _leaves(rest)
        wish = _wish(first)
        if all(wish is not None and _wish(other) == wish for other in others):
            return first
        if len(rest.exceptions) > 1:
            return rest
        error = next(iter(rest.exceptions))
    return None if isinstance(error, DISCONNECTS) else error


def _leaves(group: ExceptionGroup[Exception]) -> Iterator[Exception]:
    for error in group.exceptions:
        if isinstance(error, ExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _wish(error: Exception) -> Hashable | None:
    """Return the end that an error asks for, to be compared; None for a failure."""
    if not is_reportable(error):
        if isinstance(error, _CLOSING_ERRORS):
            return error.code, error.reason
        if isinstance(error, REFUSING_ERRORS):
            refusal = refusal_of(error)
            return refusal and (refusal.status, refusal.body, tuple(refusal.headers))
        return end_after(error, is_connecting=False, debug=False)
    return None


def explain(error: BaseException) -> None:
    """Add the next step to an error whose own text does not say it."""
    if isinstance(error, RuntimeError) and "no running event loop" in str(error):
        error.add_note(
            "This program runs on Trio, not on asyncio: app.start_soon(f) for asyncio.create_task(f()), trio.sleep for "
            "asyncio.sleep, and libraries that work on Trio."
        )


def end_after(mistake: Exception | None, *, is_connecting: bool, debug: bool) -> End:
    """Return the end that belongs to a handler that has returned, or raised `mistake`."""
    if mistake is None:
        return End.of(Cause.DENIED if is_connecting else Cause.HANDLER_RETURNED)
    if isinstance(mistake, REFUSING_ERRORS) and (refusal := refusal_of(mistake)) is not None:
        return End.of(Cause.DENIED, clip_reason(refusal.text), _refusing_code(mistake, refusal.status))
    if isinstance(mistake, _CLOSING_ERRORS):
        return _end_asked_for(mistake.code, mistake.reason)
    if isinstance(mistake, WrongFrameType):
        return End.of(Cause.UNSUPPORTED_DATA, "the message is of the wrong type")
    if isinstance(mistake, InvalidJson):
        if isinstance(mistake.__cause__, UnicodeDecodeError):
            return End.of(Cause.INVALID_DATA, "the message is not UTF-8")
        return End.of(Cause.UNSUPPORTED_DATA, "the message is not JSON")
    if isinstance(mistake, EngineError):
        return End.of(Cause.GAP, "groups are out of reach")
    return End.of(Cause.HANDLER_ERROR, clip_reason(f"{type(mistake).__name__}: {mistake}") if debug else "")


def is_reportable(mistake: Exception | None) -> bool:
    """Tell whether it is a failure of ours.

    Not a way of ending the connection, a bad message of the peer, or an engine that is out of reach.
    """
    if isinstance(mistake, REFUSING_ERRORS):
        return refusal_of(mistake) is None
    return mistake is not None and not isinstance(mistake, (*_CLOSING_ERRORS, *_BAD_MESSAGES, EngineError))


def _refusing_code(mistake: Exception, status: int) -> int:
    """Return the close code of a refusal that came too late for HTTP."""
    return 1008 if isinstance(mistake, HandshakeError) else _STATUS_CODES + status


def _end_asked_for(code: int, reason: str | None) -> End:
    try:
        checked = check_close_code(code)
    except (TypeError, ValueError):
        logger.exception("a WebSocketException asks for a close code that may not be sent")
        return End.of(Cause.HANDLER_ERROR)
    return End.of(Cause.HANDLER_CLOSED, clip_reason(reason), checked)
