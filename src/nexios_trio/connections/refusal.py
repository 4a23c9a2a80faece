"""The HTTP response that refuses a handshake."""

from typing import Any, Final

import attrs
import orjson
from starlette.exceptions import HTTPException

from ..core.lifecycle import End
from ..exceptions import HandshakeError
from ..protocol.handshake import check_denial_headers

__all__ = ["REFUSING_ERRORS", "Refusal", "refusal_of"]

REFUSING_ERRORS: Final = (HandshakeError, HTTPException)

_TEXT: Final = b"text/plain; charset=utf-8"
_OWN_HEADERS: Final = frozenset(("connection", "content-length", "date", "transfer-encoding"))
_BODILESS: Final = 304


@attrs.frozen
class Refusal:
    """Status, headers and body. `text` says it in a close reason, where the handshake has been accepted."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    text: str

    @classmethod
    def of(cls, end: End) -> "Refusal":
        """Return the response without a body that an end comes to."""
        return cls(end.cause.http_status, [(b"content-length", b"0")], b"", end.reason)


def refusal_of(error: Exception) -> Refusal | None:
    """Return the response that an error asks for; None where it asks for none, or for one that cannot be sent."""
    try:
        if isinstance(error, HandshakeError):
            return _refusal(error.status, error.reason, _TEXT, error.reason.encode("utf-8", "replace"), error.headers)
        if isinstance(error, HTTPException):
            return _refusal(error.status_code, *_content(error.detail), (error.headers or {}).items())
    except (TypeError, ValueError):
        pass
    return None


def _content(detail: Any) -> tuple[str, bytes, bytes]:
    """Return the text, media type and body of what an HTTPException carries: FastAPI's may carry anything."""
    if isinstance(detail, str):
        return detail, _TEXT, detail.encode("utf-8", "replace")
    body = orjson.dumps(detail)
    return body.decode(), b"application/json", body


def _refusal(status: int, text: str, media_type: bytes, body: bytes, headers: Any) -> Refusal:
    """Raises: ValueError for a status that refuses nothing, or headers that may not be sent."""
    if not 300 <= status <= 599 or status == _BODILESS:
        raise ValueError(f"a handshake is refused with an HTTP status of 300 to 599, not {status}")
    checked = check_denial_headers([(name, value) for name, value in headers if _name(name) not in _OWN_HEADERS])
    if all(name != b"content-type" for name, _ in checked):
        checked.insert(0, (b"content-type", media_type))
    return Refusal(status, [*checked, (b"content-length", b"%d" % len(body))], body, text)


def _name(name: str | bytes) -> str:
    return (name.decode("latin-1") if isinstance(name, bytes) else name).lower()
