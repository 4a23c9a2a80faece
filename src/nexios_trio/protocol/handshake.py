"""What an application may answer a handshake with. Checked before anything is sent."""

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import cast

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_RESERVED = frozenset(
    b"connection upgrade content-length transfer-encoding sec-websocket-accept sec-websocket-protocol "
    b"sec-websocket-extensions sec-websocket-version sec-websocket-key".split()
)
_DENIAL_HEADERS = frozenset((b"upgrade", b"sec-websocket-version"))

HeaderItems = Mapping[str, str] | Iterable[tuple[bytes | str, bytes | str]]


def check_subprotocol(subprotocol: str | None, offered: Sequence[str]) -> None:
    """Raises ValueError unless the client offered it."""
    if subprotocol is not None and subprotocol not in offered:
        accepted = ", ".join(map(repr, offered)) or "none"
        raise ValueError(f"subprotocol {subprotocol!r} was not offered by the client; offered: {accepted}")


def check_denial_headers(headers: HeaderItems | None) -> list[tuple[bytes, bytes]]:
    """Return the headers of a refusal, which may say what is spoken here: 426 needs Upgrade and Sec-WebSocket-Version.

    Raises:
        ValueError: as `check_headers`.
    """
    return _check_headers(headers, _RESERVED - _DENIAL_HEADERS)


def check_headers(headers: HeaderItems | None) -> list[tuple[bytes, bytes]]:
    """The headers as ASGI wants them. Raises ValueError for what HTTP forbids or the handshake itself sets."""
    return _check_headers(headers, _RESERVED)


def _check_headers(headers: HeaderItems | None, reserved: Set[bytes]) -> list[tuple[bytes, bytes]]:
    if headers is None:
        return []
    if isinstance(headers, Mapping):
        headers = cast(Mapping[str, str], headers).items()
    return [_check_header(name, value, reserved) for name, value in headers]


def _check_header(name: bytes | str, value: bytes | str, reserved: Set[bytes]) -> tuple[bytes, bytes]:
    raw_name = _latin1(name).lower()
    raw_value = _latin1(value).strip(b" \t")  # white space around a value is no part of it
    if not _TOKEN.fullmatch(raw_name):
        raise ValueError(f"header name {name!r} is not an HTTP token")
    if raw_name in reserved:
        raise ValueError(f"header {name!r} is set by the handshake itself")
    if _CONTROL.search(raw_value):
        raise ValueError(f"the value of header {name!r} holds CR, LF, NUL or another control character")
    return raw_name, raw_value


def _latin1(text: bytes | str) -> bytes:
    if not isinstance(text, bytes | str):
        raise TypeError(f"header names and values are str or bytes, not {type(text).__name__}")
    try:
        return text if isinstance(text, bytes) else text.encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError(f"header text {text!r} must be Latin-1") from None
