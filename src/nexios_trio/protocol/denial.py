"""Collect and check an application's HTTP response in place of the handshake's answer."""

from typing import Any, Final

from ..asgi_types import Event
from ..exceptions import LifecycleError
from .handshake import check_denial_headers

__all__ = ["BODILESS_STATUSES", "Denial"]

_RESET_CONTENT: Final = 205  # has no body either, and says so by its length
# What the response says by itself.
_OWN_HEADERS: Final = frozenset((b"connection", b"content-length", b"date", b"transfer-encoding"))
BODILESS_STATUSES: Final = frozenset((204, 304))  # their responses end with the head, and have no length (RFC 9110)


class Denial:
    """One response. Nothing is sent before it is whole.

    Raises:
        TypeError, ValueError: a status or a header that HTTP does not know.
    """

    def __init__(self, start: Event) -> None:
        self.status = _check_status(start.get("status"))
        headers = start.get("headers") or ()
        self.headers = check_denial_headers([pair for pair in headers if _name_of(pair) not in _OWN_HEADERS])
        self.is_whole = False
        self._parts: list[bytes] = []

    @property
    def body(self) -> bytes:
        return b"".join(self._parts)

    def add(self, event: Event) -> None:
        """Add a part of the body; `is_whole` tells whether it was the last one.

        Raises:
            LifecycleError: the response was whole before. TypeError, ValueError: there can be no such body.
        """
        if self.is_whole:
            raise LifecycleError(
                "the handshake has been refused: nothing follows the last websocket.http.response.body"
            )
        body: Any = event.get("body", b"")
        if not isinstance(body, bytes | bytearray | memoryview):
            raise TypeError(f"the body of a response is bytes, not {type(body).__name__}")
        if body and (self.status in BODILESS_STATUSES or self.status == _RESET_CONTENT):
            raise ValueError(f"a response with status {self.status} has no body")
        self._parts.append(bytes(body))
        self.is_whole = not event.get("more_body", False)


def _check_status(status: object) -> int:
    accepted = "the status of a response is a number from 200 to 599"
    if not isinstance(status, int) or isinstance(status, bool):
        raise TypeError(f"{accepted}, not {status!r}")
    if not 200 <= status <= 599:
        raise ValueError(f"{accepted}, not {status}")
    return int(status)


def _name_of(pair: Any) -> bytes:
    name = pair[0]
    return bytes(name, "latin-1", "replace").lower() if isinstance(name, str) else bytes(name).lower()
