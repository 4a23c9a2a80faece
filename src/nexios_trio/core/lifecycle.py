"""The life of one connection, as a table.

Theory of operation. A connection is in one `Phase`; what happens to it is an `Occurrence`; `TRANSITIONS` says
which phase follows. A pair that is not in the table is a mistake in the program and raises; a pair that leads
to its own phase is harmless and changes nothing, so that closing twice, or losing a peer that was already
gone, needs no test by the caller.

    CONNECTING ──accept──▶ OPEN ──local_close, peer_close──▶ CLOSING ──closed_cleanly──▶ CLOSED
        └──deny, local_close, peer_close──────────────────────────────────────────────────▶ │
    (any) ──lost, kill────────────────────────────────────────────────────────────────────▶ ┘

CLOSING means that one side said goodbye: what is queued and the close frame are still on their way. Only the
transport knows when both are done; it reports CLOSED_CLEANLY. Nothing leads out of CLOSED.

Every end has one reason, an `End`: the one given first. It becomes the close code, the log field, the metric
label and the reason of cancelled scopes. Invariant: `end` is set if and only if the phase is CLOSING or
CLOSED.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from attrs import field, frozen

from ..exceptions import LifecycleError

__all__ = [
    "DROPPED",
    "PEER_LOST",
    "TRANSITIONS",
    "Cause",
    "End",
    "Lifecycle",
    "Occurrence",
    "Phase",
]


class Phase(Enum):
    """Where a connection is in its life."""

    __hash__ = object.__hash__  # Enum's own is Python code, and every transition looks up two of these

    CONNECTING = "connecting"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


class Occurrence(Enum):
    """What can happen to a connection."""

    __hash__ = object.__hash__

    ACCEPT = "accept"  # we accept the handshake
    DENY = "deny"  # we refuse it: an HTTP answer instead of a WebSocket
    LOCAL_CLOSE = "local_close"  # we say goodbye; before accept that is a refusal
    PEER_CLOSE = "peer_close"  # the peer says goodbye; before accept it went away
    CLOSED_CLEANLY = "closed_cleanly"  # both close frames are through
    LOST = "lost"  # the peer vanished without a goodbye
    KILL = "kill"  # we abort, without a goodbye


class Cause(str, Enum):
    """Why a connection ended: log field, metric label, and the source of the close code."""

    HANDLER_RETURNED = "handler_returned"
    LOCAL_CLOSE = "local_close"
    PEER_CLOSED = "peer_closed"
    PEER_LOST = "peer_lost"
    OVERFLOW = "overflow"
    GAP = "gap"  # the engine could not give us what the peer was owed
    WRITE_TIMEOUT = "write_timeout"
    HEARTBEAT_TIMEOUT = "heartbeat_timeout"
    ACCEPT_TIMEOUT = "accept_timeout"
    AUTH_TIMEOUT = "auth_timeout"
    EXPIRED = "expired"
    SERVER_SHUTDOWN = "server_shutdown"
    CANCELLED = "cancelled"
    ABORTED = "aborted"
    HANDLER_ERROR = "handler_error"
    HANDLER_CLOSED = "handler_closed"
    DENIED = "denied"
    NOT_FOUND = "not_found"
    PROTOCOL_ERROR = "protocol_error"
    UNSUPPORTED_DATA = "unsupported_data"
    INVALID_DATA = "invalid_data"
    MESSAGE_TOO_BIG = "message_too_big"
    RATE_LIMITED = "rate_limited"
    UNAUTHORIZED = "unauthorized"

    __str__ = str.__str__

    @property
    def close_code(self) -> int:
        """The close code of this cause, unless the application gave one."""
        return _CLOSE_CODES[self]

    @property
    def http_status(self) -> int:
        """The status of the response, where the handshake is not answered yet."""
        return _HTTP_STATUSES.get(self, 403)


_CLOSE_CODES: Final[Mapping[Cause, int]] = MappingProxyType(
    {
        Cause.HANDLER_RETURNED: 1000,
        Cause.LOCAL_CLOSE: 1000,
        Cause.PEER_CLOSED: 1005,  # the peer's own code, where it gave one
        Cause.PEER_LOST: 1006,
        Cause.OVERFLOW: 1013,
        Cause.GAP: 1012,
        Cause.WRITE_TIMEOUT: 1013,
        Cause.HEARTBEAT_TIMEOUT: 1011,
        Cause.ACCEPT_TIMEOUT: 1011,
        Cause.AUTH_TIMEOUT: 4001,
        Cause.EXPIRED: 1001,
        Cause.SERVER_SHUTDOWN: 1012,
        Cause.CANCELLED: 1001,
        Cause.ABORTED: 1006,
        Cause.HANDLER_ERROR: 1011,
        Cause.HANDLER_CLOSED: 1008,  # a WebSocketException, which brings its own code
        Cause.DENIED: 1006,
        Cause.NOT_FOUND: 4404,
        Cause.PROTOCOL_ERROR: 1002,
        Cause.UNSUPPORTED_DATA: 1003,
        Cause.INVALID_DATA: 1007,
        Cause.MESSAGE_TOO_BIG: 1009,
        Cause.RATE_LIMITED: 1008,
        Cause.UNAUTHORIZED: 4001,
    }
)

# We dropped the peer: its channels leave their groups at once. After any other end they are members until the handler
# has run out, so that `on_disconnect` counts the one who leaves.
DROPPED: Final = frozenset(
    {
        Cause.OVERFLOW,
        Cause.GAP,
        Cause.WRITE_TIMEOUT,
        Cause.HEARTBEAT_TIMEOUT,
        Cause.EXPIRED,
        Cause.RATE_LIMITED,
        Cause.ABORTED,
    }
)

_HTTP_STATUSES: Final[Mapping[Cause, int]] = MappingProxyType(
    {
        Cause.HANDLER_ERROR: 500,
        Cause.GAP: 503,
        Cause.SERVER_SHUTDOWN: 503,
        Cause.ACCEPT_TIMEOUT: 503,
        Cause.NOT_FOUND: 404,
    }
)


@frozen
class End:
    """How a connection ended: the code and reason that the other side sees, and the cause that we record.

    `code` may be 1005 (the peer gave none) or 1006 (there was no close frame), which are never sent. `status` is that
    of the response that refused the handshake, if one did.
    """

    code: int
    reason: str
    cause: Cause
    status: int | None = field(default=None, eq=False)

    @classmethod
    def of(cls, cause: Cause, reason: str = "", code: int | None = None) -> "End":
        """An end with the close code that belongs to `cause`, unless `code` is given."""
        if not reason:
            return _without_reason(cause, code)
        return cls(cause.close_code if code is None else code, reason, cause)


@lru_cache(maxsize=256)
def _without_reason(cause: Cause, code: int | None) -> End:
    """Such ends are as good as all, so those of a cause and a code are one object."""
    return End(cause.close_code if code is None else code, "", cause)


# A peer that has left without a goodbye: for all of them the same.
PEER_LOST: Final = End.of(Cause.PEER_LOST)

_C, _O, _G, _X = Phase.CONNECTING, Phase.OPEN, Phase.CLOSING, Phase.CLOSED

# (what happened) -> {phase before: phase after}. A phase that is missing: not allowed there.
# ACCEPT after the end is allowed and changes nothing: the program cannot know that the peer just left.
TRANSITIONS: Final[Mapping[Occurrence, Mapping[Phase, Phase]]] = MappingProxyType(
    {
        Occurrence.ACCEPT: {_C: _O, _G: _G, _X: _X},
        Occurrence.DENY: {_C: _X, _X: _X},
        Occurrence.LOCAL_CLOSE: {_C: _X, _O: _G, _G: _G, _X: _X},
        Occurrence.PEER_CLOSE: {_C: _X, _O: _G, _G: _G, _X: _X},
        Occurrence.CLOSED_CLEANLY: {_G: _X, _X: _X},
        Occurrence.LOST: {_C: _X, _O: _X, _G: _X, _X: _X},
        Occurrence.KILL: {_C: _X, _O: _X, _G: _X, _X: _X},
    }
)

# The end of an occurrence that came without one. CLOSED_CLEANLY always finds one.
_DEFAULT_ENDS: Final[Mapping[Occurrence, End]] = MappingProxyType(
    {
        Occurrence.DENY: End.of(Cause.DENIED),
        Occurrence.LOCAL_CLOSE: End.of(Cause.LOCAL_CLOSE),
        Occurrence.PEER_CLOSE: End.of(Cause.PEER_CLOSED),
        Occurrence.LOST: PEER_LOST,
        Occurrence.KILL: End.of(Cause.ABORTED),
    }
)


class Lifecycle:
    """The phase of one connection and, once it is ending, the one `End` it has."""

    __slots__ = ("_translate", "end", "phase")

    def __init__(self) -> None:
        self.phase: Phase = Phase.CONNECTING
        self.end: End | None = None
        self._translate: Callable[[End], End] | None = None

    def translate_ends(self, translate: Callable[[End], End]) -> None:
        """Write ends as a protocol over WebSocket has them. It is called with what it has made, too."""
        self._translate = translate

    def translated(self, end: End) -> End:
        """Return the end with the code and the reason that the peer is told."""
        return end if self._translate is None else self._translate(end)

    def __repr__(self) -> str:
        return f"<Lifecycle {self.phase.value}{f', {self.end}' if self.end else ''}>"

    def advance(self, occurrence: Occurrence, end: End | None = None) -> bool:
        """Note what happened. Returns whether the phase changed.

        Args:
            end: why; the first one of a connection is kept, later ones are ignored.

        Raises:
            LifecycleError: a ``RuntimeError``: not allowed in this phase; nothing was changed.
        """
        after = TRANSITIONS[occurrence].get(self.phase)
        if after is None:
            raise LifecycleError(_explain(occurrence, self.phase))
        if after is self.phase:
            return False
        if after is not Phase.OPEN and self.end is None:
            self.end = end or _DEFAULT_ENDS[occurrence]
            if self._translate is not None:
                self.end = self._translate(self.end)
        self.phase = after
        return True


def _explain(occurrence: Occurrence, phase: Phase) -> str:
    moves = ", ".join(other.value for other, table in TRANSITIONS.items() if phase in table)
    return f"{occurrence.value} is not allowed while the connection is {phase.value}; accepted now: {moves}"
