"""Which pages a browser may open a connection from.

Browsers send cookies along with a WebSocket handshake whatever page starts it, and no preflight asks first: without
this check any page on the web acts as the user (cross-site WebSocket hijacking). Applications check every handshake.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from ..config.validators import origins
from ..connections.websocket import WebSocket
from ..logs import printable
from .chain import Next

__all__ = ["OriginMiddleware", "explain_origin", "origin_problem"]

_ORIGIN: Final = re.compile(r"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]+\]|[^\s/?#@:\[\]]+)(?::([0-9]{1,5}))?")
MAX_LOGGED_CHARACTERS: Final = 100  # of a header that anybody can send
_DEFAULT_PORTS: Final = {"http": "80", "ws": "80", "https": "443", "wss": "443"}


def origin_problem(scope: Mapping[str, Any], allowed: Collection[str], *, required: bool = False) -> str | None:
    """Return why the handshake's origin is refused, or None.

    The origin has to be our own (its host and port are those of the Host header, and it is https where the connection
    is known to be wss), or one of `allowed`, where ``*`` stands for any. Several origins are always refused; none comes
    from programs, which may say what they like.
    """
    given = _header(scope, b"origin")
    if not given:
        return "an Origin header is required" if required else None
    if len(given) > 1:
        return "more than one Origin header"
    if "*" in allowed:
        return None
    origin = _parse(given[0])
    if origin is None:
        return "the Origin is null, or none"
    if any(_parse(other) == origin for other in allowed):
        return None
    hosts = _header(scope, b"host")
    scheme = origin[0]
    # ws is not known to be plain: a proxy that nobody told us to trust may take the TLS off.
    own = ("https",) if scope.get("scheme") == "wss" else ("http", "https")
    if len(hosts) == 1 and scheme in own and _parse(f"{scheme}://{hosts[0]}") == origin:
        return None
    return "the Origin is another site"


def explain_origin(scope: Mapping[str, Any], problem: str) -> str:
    """Return the problem for the log: with what was compared, and what to do about it."""
    origins = _header(scope, b"origin")
    shown, host = (printable(", ".join(values), MAX_LOGGED_CHARACTERS) for values in (origins, _header(scope, b"host")))
    if not origins:
        return f"{problem}: set require_origin=False to let programs in, too"
    if len(origins) > 1:
        return f"{problem}: {shown}"
    if _parse(origins[0]) is None:
        return f"Origin {shown} is no site's: a page from a file, or in a sandbox; only allowed_origins=* lets it in"
    return (
        f"Origin {shown} is another site than Host {host} ({scope.get('scheme')}); allow it with "
        f"allowed_origins={shown}, or, where a proxy stands in front, let it pass Host on "
        "(nginx: proxy_set_header Host $http_host)"
    )


def _header(scope: Mapping[str, Any], name: bytes) -> list[str]:
    return [value.decode("latin-1").strip().lower() for key, value in scope["headers"] if key.lower() == name]


def _parse(origin: str) -> tuple[str, str, str | None] | None:
    """Scheme, host and port; the port is filled in where the scheme has one."""
    found = _ORIGIN.fullmatch(origin)
    if found is None:
        return None
    scheme, host, port = found.groups()
    return scheme, host, port or _DEFAULT_PORTS.get(scheme)


class OriginMiddleware:
    """Refuse, with HTTP 403, handshakes from pages of other sites, on some routes more strictly than the settings do.

    Args:
        allowed_origins: besides our own host, as in ``https://example.com``; ``*`` for any.
        require_origin: refuse programs, which send no Origin, too.
    Raises: ValueError.
    """

    def __init__(self, allowed_origins: str | Iterable[str] = (), *, require_origin: bool = False) -> None:
        self._allowed = origins(allowed_origins)
        self._required = require_origin

    async def __call__(self, websocket: WebSocket, call_next: Next) -> Any:
        problem = origin_problem(websocket.scope, self._allowed, required=self._required)
        if problem is None:
            return await call_next(websocket)
        return await websocket.deny(403, reason=explain_origin(websocket.scope, problem))
