"""Every error that this package raises on purpose.

The type says whose mistake it was, the text says what was wrong and what is accepted::

    NexiosError
    ├── WebSocketDisconnect            the peer (or the network) ended the connection: a normal end
    ├── WebSocketException             the application asks to close with this code and reason
    │   ├── NotAuthorized              `authorize` said no to a join or a send
    │   ├── QuotaExceeded              the user is in too many groups, or publishes too fast
    │   └── AuthenticationError        nobody is authenticated on this connection
    ├── RealtimeError                  a realtime client's command fails with this code and message
    ├── HandshakeError                 the client's opening request is refused with an HTTP status
    ├── LifecycleError (RuntimeError)  the program called something in the wrong state
    ├── EngineError                    the engine could not do it, or did not say in time whether it did
    ├── PublishError                   the same of an application, for who publishes from outside
    ├── MessageError (ValueError)      one message is at fault, the connection is intact
    │   ├── WrongFrameType             text was asked for and a binary frame came, or the reverse
    │   ├── InvalidJson                it is not JSON, or nested too deep: also a json.JSONDecodeError
    │   ├── MessageTooBig              it can never fit in the bound it has to pass
    │   ├── InvalidMessage             it is not what the declared `message_type` takes
    │   └── PayloadError               it cannot be encoded, or does not decode to what was asked for
    ├── InvalidName (ValueError)       a group or channel name that is not accepted
    └── SettingsError (ValueError)     a limit or switch with a value that is not accepted
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "AuthenticationError",
    "EngineError",
    "HandshakeError",
    "InvalidJson",
    "InvalidMessage",
    "InvalidName",
    "LifecycleError",
    "MessageError",
    "MessageTooBig",
    "NexiosError",
    "NotAuthorized",
    "PayloadError",
    "PublishError",
    "QuotaExceeded",
    "RealtimeError",
    "SettingsError",
    "WebSocketDisconnect",
    "WebSocketException",
    "WrongFrameType",
]


MAX_PROBLEMS = 8  # of one message, that are told
MAX_TEXT = 120  # characters


class NexiosError(Exception):
    """The base of every error of this package."""


class WebSocketDisconnect(NexiosError):
    """The connection is over. Left uncaught in a handler, it is a normal end.

    Args:
        code: the close code; 1005 when the peer gave none, 1006 when the connection was lost.
        reason: the peer's text; ``None`` and ``""`` both mean that there was none.
    """

    def __init__(self, code: int = 1000, reason: str | None = None) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason or ""

    def __str__(self) -> str:
        return _describe("WebSocket disconnected", self.code, self.reason)


class WebSocketException(NexiosError):
    """Raised by a handler or a middleware to close the connection with this code and reason.

    Args:
        code: a close code that may be sent: 1000, 1001, 1003, 1007 to 1013, 3000 to 4999.
        reason: shown to the peer; cut to 123 bytes of UTF-8.
    """

    def __init__(self, code: int, reason: str | None = None) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason or ""

    def __str__(self) -> str:
        return _describe("WebSocket closed by the application", self.code, self.reason)


class NotAuthorized(WebSocketException):
    """The box's `authorize` refused. Left uncaught in a handler, it closes the connection with 1008.

    The text names the group, the reason that the peer gets does not.

    Args:
        action: "join" or "send".
        group: the name of the group.
    """

    def __init__(self, action: str, group: str) -> None:
        super().__init__(1008, f"not allowed to {action}")
        self.action = action
        self.group = group

    def __str__(self) -> str:
        return f"not allowed to {'send to' if self.action == 'send' else self.action} group {self.group!r}"


class QuotaExceeded(WebSocketException):
    """A user is in as many groups as one may be, or publishes too fast. Uncaught, it closes the connection with 1008.

    The settings `max_groups_per_user` and `max_publishes_per_user` say how many.

    Args:
        reason: for the peer.
        text: what is allowed, for the log.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(1008, reason)
        self.text = text

    def __str__(self) -> str:
        return f"{self.reason}: {self.text}"

    def __reduce__(self) -> tuple[type["QuotaExceeded"], tuple[str, str]]:
        return type(self), (self.reason, self.text)


class AuthenticationError(WebSocketException):
    """Nobody is authenticated on this connection. Left uncaught in a handler, it closes the connection with 4001."""

    def __init__(self, reason: str = "authentication failed") -> None:
        super().__init__(4001, reason)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.reason,)


class RealtimeError(NexiosError):
    """Raised by a handler of a realtime endpoint: the client's command fails with this code and message.

    Args:
        code: an application's own are 400 to 1999; those from 100 on are the protocol's. ValueError for another one.
        temporary: the client may try again, and where it connects or subscribes it does so by itself.
    """

    def __init__(self, code: int, message: str = "", *, temporary: bool = False) -> None:
        if not 100 <= code <= 1999:
            raise ValueError(f"a RealtimeError's code is 100 to 1999, an application's own from 400 on, not {code!r}")
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.temporary = temporary


class HandshakeError(NexiosError):
    """The opening request is refused; the peer gets this HTTP status and no WebSocket.

    Args:
        status: the HTTP status of the answer, 400 to 599.
        reason: one line, safe to show to the peer.
        headers: sent with the answer (names in lower case), such as ``sec-websocket-version``.
    """

    def __init__(self, status: int, reason: str = "", headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        super().__init__(status, reason, headers)
        self.status = status
        self.reason = reason
        self.headers = headers

    def __str__(self) -> str:
        return _describe("WebSocket handshake refused with HTTP status", self.status, self.reason)


class LifecycleError(NexiosError, RuntimeError):
    """A call that the connection's present state does not allow: a mistake in the program."""


class EngineError(NexiosError):
    """What carries messages between processes could not do it, or did not say in time whether it did.

    The engine of one process never raises it.

    Args:
        maybe_published: the message may have been published all the same. Send it again with the `key` that it had, and
            it reaches nobody twice.
    """

    def __init__(self, text: str, maybe_published: bool = False) -> None:
        super().__init__(text, maybe_published)
        self.maybe_published = maybe_published

    def __str__(self) -> str:
        return f"{self.args[0]}{' (perhaps it was published)' if self.maybe_published else ''}"


class PublishError(NexiosError):
    """An application did not do what it was asked to from outside, or did not say whether it did.

    Args:
        maybe_published: the message may have been published all the same, or what else was asked for done. Publish it
            again with `key`, and it reaches nobody twice.
        status: of the HTTP response; None when there was none.
        key: the message's; None for a batch, each message of which has its own.
        receipts: of a batch: those of the messages before the one that failed; what follows it was not tried.
    """

    def __init__(
        self,
        text: str,
        maybe_published: bool = False,
        status: int | None = None,
        key: str | None = None,
        receipts: Sequence[Any] = (),
    ) -> None:
        super().__init__(text, maybe_published, status, key, receipts)
        self.maybe_published = maybe_published
        self.status = status
        self.key = key
        self.receipts = tuple(receipts)

    def __str__(self) -> str:
        return f"{self.args[0]}{' (perhaps it was done)' if self.maybe_published else ''}"


class MessageError(NexiosError, ValueError):
    """One message is at fault. The connection is intact and the next message can be handled."""


class WrongFrameType(MessageError):
    """The frame is binary where text was asked for, or text where binary was asked for.

    Left uncaught in a handler, it closes the connection with 1003.
    """


class InvalidJson(MessageError, json.JSONDecodeError):
    """What came is not JSON, or nested too deep. `doc` is the text; its cause is a UnicodeDecodeError for bad UTF-8.

    Left uncaught in a handler, it closes the connection with 1003, or 1007 for bad UTF-8.
    """


class MessageTooBig(MessageError):
    """The message is larger than the bound it has to pass, so waiting would not help."""


class PayloadError(MessageError):
    """The payload cannot be encoded, or does not decode to what was asked for."""


class InvalidMessage(MessageError):
    """A message is JSON, and not what the declared `message_type` takes.

    Args:
        problems: one mapping for each: "field" (a path such as ``players[0].name``; "" for the message itself),
            "problem", and "accepted" where that is known. Texts are safe to show to the peer.
    """

    def __init__(self, problems: Sequence[Mapping[str, str]]) -> None:
        super().__init__(problems)
        self.problems = [{key: _clipped(text) for key, text in problem.items()} for problem in problems]

    def reply(self) -> dict[str, Any]:
        """Return what the peer is told: at most 8 problems, and how many more there are. A few KiB at most."""
        answer: dict[str, Any] = {"error": "invalid message", "details": self.problems[:MAX_PROBLEMS]}
        if len(self.problems) > MAX_PROBLEMS:
            answer["more"] = len(self.problems) - MAX_PROBLEMS
        return answer

    def __str__(self) -> str:
        return "; ".join(_told(problem) for problem in self.problems[:MAX_PROBLEMS])


class InvalidName(NexiosError, ValueError):
    """A group or channel name that is not accepted."""


class SettingsError(NexiosError, ValueError):
    """A setting that is not accepted. The text names it, its value, and what is accepted."""


def _describe(what: str, code: int, reason: str) -> str:
    # !r keeps control characters of a peer's text out of logs and terminals
    return f"{what} {code}: {reason!r}" if reason else f"{what} {code}"


def _clipped(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"


def _told(problem: Mapping[str, str]) -> str:
    field, accepted = problem["field"] or "the message", problem.get("accepted")
    return f"{field!r}: {problem['problem']!r}" + (f", accepted: {accepted!r}" if accepted else "")
