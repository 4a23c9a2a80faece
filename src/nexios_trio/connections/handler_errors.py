"""How a handler's outcome becomes the end of its connection. Pure."""

import logging

from ..core.lifecycle import Cause, End, check_close_code, clip_reason
from ..exceptions import HandshakeError, InvalidJson, WebSocketDisconnect, WebSocketException, WrongFrameType

logger = logging.getLogger("nexios_trio.connection")

_NO_FAILURES = (HandshakeError, WebSocketException, WrongFrameType, InvalidJson)


def mistake_in(error: Exception) -> Exception | None:
    """Return what the application has to answer for. A disconnect is no fault; a group of one error is that error."""
    while isinstance(error, ExceptionGroup):
        rest = error.split(WebSocketDisconnect)[1]
        if rest is None:
            return None
        [first, *others] = rest.exceptions
        if others:
            return rest
        error = first
    return None if isinstance(error, WebSocketDisconnect) else error


def explain(error: BaseException) -> None:
    """Add the next step to an error whose own text does not say it."""
    if isinstance(error, RuntimeError) and "no running event loop" in str(error):
        error.add_note(
            "This program runs on Trio, not on asyncio: app.start_soon(f) for asyncio.create_task(f()), trio.sleep for "
            "asyncio.sleep, and libraries that work on Trio."
        )


def end_after(mistake: Exception | None, *, is_connecting: bool, debug: bool) -> End:
    """The end that belongs to a handler that has returned, or raised `mistake`."""
    if mistake is None:
        return End.of(Cause.DENIED if is_connecting else Cause.HANDLER_RETURNED)
    if isinstance(mistake, HandshakeError):
        return End.of(Cause.DENIED, clip_reason(mistake.reason))
    if isinstance(mistake, WebSocketException):
        return _asked_for(mistake)
    if isinstance(mistake, WrongFrameType):
        return End.of(Cause.UNSUPPORTED_DATA, "the message is of the wrong type")
    if isinstance(mistake, InvalidJson):
        if isinstance(mistake.__cause__, UnicodeDecodeError):
            return End.of(Cause.INVALID_DATA, "the message is not UTF-8")
        return End.of(Cause.UNSUPPORTED_DATA, "the message is not JSON")
    return End.of(Cause.HANDLER_ERROR, clip_reason(f"{type(mistake).__name__}: {mistake}") if debug else "")


def is_reportable(mistake: Exception | None) -> bool:
    """Tell whether it is a failure of ours, not a way of ending the connection or a bad message of the peer."""
    return mistake is not None and not isinstance(mistake, _NO_FAILURES)


def _asked_for(error: WebSocketException) -> End:
    try:
        code = check_close_code(error.code)
    except (TypeError, ValueError):
        logger.exception("a WebSocketException asks for a close code that may not be sent")
        return End.of(Cause.HANDLER_ERROR)
    return End.of(Cause.HANDLER_CLOSED, clip_reason(error.reason), code)
