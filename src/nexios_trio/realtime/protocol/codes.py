"""Every code of the protocol that this server sends, and what stands for our own causes.

errors          answers to commands; an application's own are 400 to 1999
unsubscribe     below 2500 for good, from there on the client subscribes again by itself
close           3000 to 3499 the client comes back by itself, 3500 to 3999 it does not
"""

import json
from collections.abc import Mapping
from enum import Enum, IntEnum, IntFlag
from types import MappingProxyType
from typing import Final

from ...core.close_codes import clip_reason
from ...core.lifecycle import Cause, End
from .parts import Error

__all__ = ["CLOSE_CODES", "CloseCode", "ErrorCode", "SubscribeFlag", "UnsubscribeCode", "close_end", "safe_reason"]


class ErrorCode(Enum):
    """Why a command was refused: code, message, and whether the client tries again by itself."""

    INTERNAL = (100, "internal server error", True)
    UNAUTHORIZED = (101, "unauthorized", False)
    UNKNOWN_CHANNEL = (102, "unknown channel", False)
    PERMISSION_DENIED = (103, "permission denied", False)
    METHOD_NOT_FOUND = (104, "method not found", False)
    ALREADY_SUBSCRIBED = (105, "already subscribed", False)
    LIMIT_EXCEEDED = (106, "limit exceeded", False)
    BAD_REQUEST = (107, "bad request", False)
    NOT_AVAILABLE = (108, "not available", False)
    TOKEN_EXPIRED = (109, "token expired", False)  # the client asks for a new one
    EXPIRED = (110, "expired", False)
    TOO_MANY_REQUESTS = (111, "too many requests", True)
    UNRECOVERABLE_POSITION = (112, "unrecoverable position", False)
    CONCURRENT_PAGINATION = (113, "concurrent pagination", True)

    @property
    def code(self) -> int:
        return self.value[0]

    def error(self, message: str = "") -> Error:
        """Make the answer. Without a message, it says what the code means."""
        code, meaning, temporary = self.value
        return Error(code, message or meaning, temporary)


class UnsubscribeCode(IntEnum):
    """Why a subscription has ended."""

    SERVER = 2000  # the application wants it so
    INSUFFICIENT = 2500  # messages are missing: the client subscribes again, and recovers
    EXPIRED = 2501
    INVALIDATED = 2502  # the client forgets its state and its token, and subscribes again


class CloseCode(IntEnum):
    """Why a connection has ended."""

    CLOSED = 3000
    SHUTDOWN = 3001
    SERVER_ERROR = 3004
    EXPIRED = 3005
    SUBSCRIPTION_EXPIRED = 3006
    SLOW = 3008
    WRITE_ERROR = 3009
    INSUFFICIENT = 3010
    FORCED_RECONNECT = 3011
    NO_PONG = 3012
    TOO_MANY_REQUESTS = 3013
    INVALIDATED = 3014  # the client forgets its token, too
    INVALID_TOKEN = 3500
    BAD_REQUEST = 3501
    STALE = 3502
    FORCED = 3503
    CONNECTION_LIMIT = 3504
    CHANNEL_LIMIT = 3505
    WRONG_ENCODING = 3506
    DENIED = 3507
    NOT_AVAILABLE = 3508
    TOO_MANY_ERRORS = 3509


class SubscribeFlag(IntFlag):
    """The bits of a subscribe command's flag."""

    COMPACTION = 1  # shorter pushes; declined by giving no id
    REJECT_UNRECOVERED = 2  # refuse, with 112, what cannot be recovered


# What a peer that speaks this protocol is told, for each cause of an end. The others never reach a peer.
CLOSE_CODES: Final[Mapping[Cause, CloseCode]] = MappingProxyType(
    {
        Cause.HANDLER_RETURNED: CloseCode.CLOSED,
        Cause.LOCAL_CLOSE: CloseCode.CLOSED,
        Cause.OVERFLOW: CloseCode.SLOW,
        Cause.GAP: CloseCode.INSUFFICIENT,
        Cause.WRITE_TIMEOUT: CloseCode.WRITE_ERROR,
        Cause.HEARTBEAT_TIMEOUT: CloseCode.NO_PONG,
        Cause.ACCEPT_TIMEOUT: CloseCode.STALE,
        Cause.AUTH_TIMEOUT: CloseCode.STALE,
        Cause.EXPIRED: CloseCode.EXPIRED,
        Cause.SERVER_SHUTDOWN: CloseCode.SHUTDOWN,
        Cause.CANCELLED: CloseCode.SHUTDOWN,
        Cause.HANDLER_ERROR: CloseCode.SERVER_ERROR,
        Cause.HANDLER_CLOSED: CloseCode.DENIED,
        Cause.NOT_FOUND: CloseCode.NOT_AVAILABLE,
        Cause.PROTOCOL_ERROR: CloseCode.BAD_REQUEST,
        Cause.UNSUPPORTED_DATA: CloseCode.WRONG_ENCODING,
        Cause.INVALID_DATA: CloseCode.BAD_REQUEST,
        Cause.MESSAGE_TOO_BIG: CloseCode.BAD_REQUEST,  # terminal for every SDK; 1009 is for some of them alone
        Cause.RATE_LIMITED: CloseCode.TOO_MANY_ERRORS,
        Cause.UNAUTHORIZED: CloseCode.INVALID_TOKEN,
    }
)


_APPLICATIONS: Final = (Cause.LOCAL_CLOSE, Cause.HANDLER_CLOSED)


def close_end(end: End) -> End:
    """Return the end as a peer with this protocol is told it.

    A code that an application chose stays; the reason is one that no client takes for JSON.
    """
    is_chosen = end.code != end.cause.close_code and (end.code >= 3000 or end.cause in _APPLICATIONS)
    code = end.code if is_chosen else CLOSE_CODES.get(end.cause, end.code)
    reason = safe_reason(end.reason)
    return end if (code, reason) == (end.code, end.reason) else End(int(code), reason, end.cause, end.status)


def safe_reason(reason: str) -> str:
    """Return a reason that no client can take for JSON: the JavaScript client stays away after one that it can."""
    clipped = clip_reason(reason)
    try:
        json.loads(clipped)  # as lenient as a browser, or more
    except ValueError:
        return clipped
    return clip_reason(f"reason: {clipped}")
