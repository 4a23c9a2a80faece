"""What reverse proxies say about the client: `X-Forwarded-For` and `X-Forwarded-Proto`.

Anybody can send these headers. They are believed when the peer is a trusted proxy, and its predecessors in the list as
long as they are trusted too: the client is the rightmost address that is not. A peer on a Unix socket has no address;
it is trusted if any proxy is.
"""

from collections.abc import MutableMapping, Sequence
from typing import Any

from ..config.validators import Network
from .accept import parse_ip

__all__ = ["believe_proxies", "is_trusted"]


def is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    """Tell whether the address is that of a trusted proxy."""
    ip = parse_ip(address)
    return ip is not None and any(ip in network for network in trusted)


def believe_proxies(scope: MutableMapping[str, Any], trusted: Sequence[Network]) -> None:
    """Put the client's own address and scheme into an ASGI scope, as far as trusted proxies tell them."""
    if not trusted:
        return
    peer = scope["client"]
    if peer is not None and not is_trusted(peer[0], trusted):
        return
    for hop in reversed(_values(scope, b"x-forwarded-for")):
        ip = parse_ip(_host(hop))
        if ip is None:
            break
        scope["client"] = (str(ip), 0)
        if not any(ip in network for network in trusted):
            break
    schemes = _values(scope, b"x-forwarded-proto")
    if schemes and schemes[-1].lower() in ("http", "https", "ws", "wss"):
        is_secure = schemes[-1].lower() in ("https", "wss")
        plain = "ws" if scope["type"] == "websocket" else "http"
        scope["scheme"] = plain + "s" * is_secure


def _values(scope: MutableMapping[str, Any], name: bytes) -> list[str]:
    """The elements of a list header, which may come in several lines."""
    joined = b",".join(value for key, value in scope["headers"] if key == name)
    return [word for part in joined.decode("latin-1").split(",") if (word := part.strip())]


def _host(hop: str) -> str:
    """Without the port that some proxies add."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop
