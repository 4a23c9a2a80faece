"""The ASGI scope of a client's opening request."""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, unquote, urlencode

__all__ = ["HeaderValues", "QueryValues", "make_scope"]

HeaderValues = Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]
QueryValues = str | Mapping[str, Any] | Iterable[tuple[str, Any]]

_SAFE = "/%:@!$&'()*+,;=~-._"  # legal in a path; an escape that is there stays


def make_scope(
    url: str,
    headers: HeaderValues,
    query: QueryValues,
    cookies: Mapping[str, str] | None,
    subprotocols: list[str],
    client: tuple[str, int],
) -> dict[str, Any]:
    """Make what a server tells the application about a WebSocket handshake."""
    if not url.startswith("/"):
        raise ValueError(f"url must be a path that begins with '/', not {url!r}")
    path, _, text = url.partition("?")
    raw_path = quote(path, safe=_SAFE)
    extra = query if isinstance(query, str) else urlencode(list(_pairs(query)), doseq=True)
    return {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": unquote(raw_path),
        "raw_path": raw_path.encode(),
        "query_string": "&".join(part for part in (text, extra) if part).encode(),
        "root_path": "",
        "headers": _headers(headers, cookies, subprotocols),
        "client": client,
        "server": ("testserver", 80),
        "subprotocols": subprotocols,
        "extensions": {"websocket.http.response": {}},
    }


def _headers(
    headers: HeaderValues, cookies: Mapping[str, str] | None, subprotocols: list[str]
) -> list[tuple[bytes, bytes]]:
    given = [(_bytes(name).lower(), _bytes(value)) for name, value in _pairs(headers)]
    names = {name for name, _ in given}
    usual = [
        (b"host", b"testserver"),
        (b"connection", b"Upgrade"),
        (b"upgrade", b"websocket"),
        (b"sec-websocket-version", b"13"),
        (b"sec-websocket-key", b"dGVzdGluZyBhIHNlcnZlcg=="),
    ]
    if subprotocols:
        usual.append((b"sec-websocket-protocol", ", ".join(subprotocols).encode()))
    if cookies:
        usual.append((b"cookie", "; ".join(f"{name}={value}" for name, value in cookies.items()).encode()))
    return [header for header in usual if header[0] not in names] + given


def _pairs(values: Any) -> Iterable[tuple[Any, Any]]:
    return values.items() if isinstance(values, Mapping) else values


def _bytes(value: str | bytes) -> bytes:
    return value.encode("latin-1") if isinstance(value, str) else value
