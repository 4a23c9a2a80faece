"""What the testing kit raises. All of them are `AssertionError` as well, so test runners count a failure, not an error.

::

    NexiosError
    ├── Unmet (AssertionError)             something was expected and something else, or nothing, came
    │   └── ConnectionOver                 the connection ended instead; also a WebSocketDisconnect
    ├── Denied (AssertionError)            the handshake got an HTTP answer instead of a WebSocket
    ├── Stuck (AssertionError)             virtual time could not pass any more
    └── ContractBroken (AssertionError)    an engine, a transport or a policy does not do what its contract says
"""

import json
from typing import Any

from ..exceptions import NexiosError, WebSocketDisconnect

__all__ = ["ConnectionOver", "ContractBroken", "Denied", "Stuck", "Unmet"]


class Unmet(NexiosError, AssertionError):
    """Something was expected, and something else came, or nothing within the time.

    Args:
        expected: what was waited for, such as "a text message".
        got: what came instead.
        details: lines that help to see why: where the application's task stands, what was not read.
    """

    def __init__(self, expected: str, got: str, details: str = "") -> None:
        Exception.__init__(self, expected, got, details)
        self.expected = expected
        self.got = got
        self.details = details

    def __str__(self) -> str:
        text = f"expected {self.expected}, but {self.got}"
        return f"{text}\n{self.details}" if self.details else text


class ConnectionOver(Unmet, WebSocketDisconnect):
    """Something was expected, and the connection had ended. `code` and `reason` are what the client saw."""

    def __init__(self, expected: str, code: int, reason: str, details: str = "") -> None:
        shown = f"{code} {reason!r}" if reason else str(code)
        got = f"the connection was lost ({shown})" if code == 1006 else f"the server closed with {shown}"
        Exception.__init__(self, expected, code, reason, details)
        self.expected = expected
        self.got = got
        self.details = details
        self.code = code
        self.reason = reason

    __str__ = Unmet.__str__


class Denied(NexiosError, AssertionError):
    """The server answered the handshake with an HTTP response instead of a WebSocket.

    Args:
        status: the HTTP status.
        headers: names in lower case.
        body: what came with it.
    """

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        super().__init__(status, headers, body)
        self.status = status
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
        self.body = body

    def json(self) -> Any:
        """The body, decoded. Raises: json.JSONDecodeError."""
        return json.loads(self.body)

    def __str__(self) -> str:
        shown = f": {self.body[:200]!r}" if self.body else ""
        return f"the handshake was refused with HTTP status {self.status}{shown}"


class Stuck(NexiosError, AssertionError):
    """The run could never have ended, because virtual time could not pass: a task goes round and round without ever
    waiting, or every task waits and there is no deadline. The text says which, and where they stood.
    """


class ContractBroken(NexiosError, AssertionError):
    """Something does not do what its contract says.

    Args:
        rule: the sentence of the contract.
        seen: what it did instead.
    """

    def __init__(self, rule: str, seen: str) -> None:
        super().__init__(rule, seen)
        self.rule = rule
        self.seen = seen

    def __str__(self) -> str:
        return f"broken: {self.rule}\nseen: {self.seen}"
