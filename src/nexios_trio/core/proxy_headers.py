"""Who a connection comes from, where reverse proxies stand in between.

Anybody can send `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host`. They are believed when the peer is a
trusted proxy, and its predecessors in the list as long as they are trusted too: the client is the rightmost address
that is not, the scheme and the host are what the nearest proxy says, which writes last. A peer on a Unix socket has no
address; it is trusted if any proxy is, or ``unix`` alone.

Reading them a second time changes nothing: a server of ours and the application may both do it.
"""

import re
from collections.abc import Mapping, MutableMapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, Final, Literal

__all__ = [
    "UNIX",
    "Address",
    "Network",
    "Proxy",
    "believe_proxies",
    "client_key",
    "client_of",
    "is_trusted",
    "limit_key",
    "parse_ip",
    "plain_address",
]

Network = IPv4Network | IPv6Network
Proxy = Network | Literal["unix"]
Address = tuple[str, int]

UNIX: Final[Literal["unix"]] = "unix"  # stands for every peer on a Unix socket

_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")
_SECURE: Final = {"http": False, "https": True, "ws": False, "wss": True}


def client_of(scope: Mapping[str, Any], trusted: Sequence[Proxy]) -> Address | None:
    """The client's address and port: the peer's or, behind `trusted` proxies, what they say, with port 0.

    None for a peer on a Unix socket that nobody speaks for.
    """
    peer = _peer(scope)
    if not _speaks_for_others(peer, trusted):
        return peer
    client = peer
    for hop in reversed(_values(scope, b"x-forwarded-for")):
        ip = parse_ip(_without_port(hop))
        if ip is None:
            break
        client = (str(ip), 0)
        if not _is_among(ip, trusted):
            break
    return client


def believe_proxies(scope: MutableMapping[str, Any], trusted: Sequence[Proxy]) -> None:
    """Put the client's address, scheme and host into an ASGI scope, as far as trusted proxies tell them."""
    if not trusted or not _speaks_for_others(_peer(scope), trusted):
        return
    scope["client"] = client_of(scope, trusted)
    schemes = _values(scope, b"x-forwarded-proto")
    if schemes and schemes[-1].lower() in _SECURE:
        plain = "ws" if scope["type"] == "websocket" else "http"
        scope["scheme"] = plain + "s" * _SECURE[schemes[-1].lower()]
    hosts = _values(scope, b"x-forwarded-host")
    if hosts and _HOST.fullmatch(hosts[-1]):
        others = [(name, value) for name, value in scope["headers"] if name.lower() != b"host"]
        scope["headers"] = [(b"host", hosts[-1].encode("latin-1")), *others]


def is_trusted(address: str | None, trusted: Sequence[Proxy]) -> bool:
    """Tell whether a peer is a trusted proxy; None stands for one on a Unix socket."""
    if address is None:
        return bool(trusted)
    ip = parse_ip(address) if trusted else None
    return ip is not None and _is_among(ip, trusted)


def client_key(scope: Mapping[str, Any], trusted: Sequence[Proxy]) -> str | None:
    """Return what limits count a connection for: see `limit_key`. None where nobody tells the clients apart."""
    client = client_of(scope, trusted)
    return None if client is None else limit_key(client[0])


def limit_key(address: str) -> str:
    """Return what limits count an address for: an IPv6 one as its /64, for whoever has one of those has them all."""
    ip = parse_ip(address)
    if isinstance(ip, IPv6Address):
        return str(IPv6Network((int(ip) >> 64 << 64, 64)))
    return address if ip is None else str(ip)


def parse_ip(text: str) -> IPv4Address | IPv6Address | None:
    """The address, without its zone; an IPv4 client of an IPv6 socket is an IPv4 client. None for no address."""
    try:
        ip = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return ip.ipv4_mapped or ip if isinstance(ip, IPv6Address) else ip


def plain_address(address: Any) -> Address | None:
    """Host and port of a socket's end, an IPv4-mapped host as IPv4; None for a Unix socket, which has neither."""
    if not isinstance(address, tuple | list) or not address[0]:
        return None
    host, port = address[:2]
    ip = parse_ip(host) if ":" in host else None
    return (str(ip) if isinstance(ip, IPv4Address) else host), port


def _peer(scope: Mapping[str, Any]) -> Address | None:
    return plain_address(scope.get("client"))


def _speaks_for_others(peer: Address | None, trusted: Sequence[Proxy]) -> bool:
    return is_trusted(None if peer is None else peer[0], trusted)


def _is_among(ip: IPv4Address | IPv6Address, trusted: Sequence[Proxy]) -> bool:
    return any(proxy != UNIX and ip in proxy for proxy in trusted)


def _values(scope: Mapping[str, Any], name: bytes) -> list[str]:
    """The elements of a list header, which may come in several lines."""
    joined = b",".join(value for key, value in scope["headers"] if key.lower() == name)
    return [word for part in joined.decode("latin-1").split(",") if (word := part.strip())]


def _without_port(hop: str) -> str:
    """Without the port that some proxies add."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop
