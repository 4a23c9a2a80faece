"""What a command is refused with."""

import logging
from typing import Any

from ..core.close_codes import clip_reason
from ..exceptions import (
    AuthenticationError,
    EngineError,
    InvalidMessage,
    InvalidName,
    MessageTooBig,
    NotAuthorized,
    PayloadError,
    QuotaExceeded,
    RealtimeError,
)
from .protocol.codes import ErrorCode
from .protocol.parts import Error

__all__ = ["CommandRefused", "error_for", "refuse"]

logger = logging.getLogger("nexios_trio.realtime")


class CommandRefused(Exception):
    """One of the protocol's own errors."""

    def __init__(self, error: Error) -> None:
        super().__init__(error.message)
        self.error = error


def refuse(code: ErrorCode, message: str = "") -> CommandRefused:
    """Make the error. Without a message, it says what the code means."""
    return CommandRefused(code.error(message))


# Of errors whose text is for the client.
_TOLD: tuple[tuple[type[Exception], ErrorCode], ...] = (
    (InvalidMessage, ErrorCode.BAD_REQUEST),
    (PayloadError, ErrorCode.BAD_REQUEST),
    (MessageTooBig, ErrorCode.LIMIT_EXCEEDED),
    (InvalidName, ErrorCode.UNKNOWN_CHANNEL),
)
# Of the others, it is not.
_UNTOLD: tuple[tuple[type[Exception], ErrorCode], ...] = (
    (QuotaExceeded, ErrorCode.TOO_MANY_REQUESTS),
    (AuthenticationError, ErrorCode.UNAUTHORIZED),
    (NotAuthorized, ErrorCode.PERMISSION_DENIED),
)


def error_for(error: Exception, fields: dict[str, Any]) -> Error:
    """Return what the client is told of an error, and log what the application has to answer for.

    Args:
        fields: of the connection, for the log.
    """
    match error:
        case CommandRefused():
            return error.error
        case RealtimeError():
            return Error(error.code, error.message, error.temporary)
        case _:
            for cls, code in _TOLD:
                if isinstance(error, cls):
                    return code.error(clip_reason(str(error)))
            for cls, code in _UNTOLD:
                if isinstance(error, cls):
                    return code.error()
    if isinstance(error, EngineError):
        logger.warning("a command failed: %s", error, extra=fields)
    else:
        logger.error("a command failed", exc_info=error, extra=fields)
    return ErrorCode.INTERNAL.error()
