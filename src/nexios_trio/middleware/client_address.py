"""Which address a connection comes from, where reverse proxies stand in between."""

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from ..config.validators import Network

__all__ = ["client_address"]


def client_address(scope: Mapping[str, Any], trusted_proxies: Sequence[Network]) -> str:
    """The address of the client: the peer's or, behind `trusted_proxies`, what they say in X-Forwarded-For.

    That header is read from the right, where the nearest proxy writes; the first address that is not a trusted proxy's
    is the client's. What stands left of it is the client's own claim.
    """
    client = scope.get("client")
    address: str = client[0] if client else ""
    if not trusted_proxies or not _is_trusted(address, trusted_proxies):
        return address
    for claim in reversed(_forwarded(scope)):
        if not _is_address(claim):
            return address
        address = claim
        if not _is_trusted(claim, trusted_proxies):
            return address
    return address


def _forwarded(scope: Mapping[str, Any]) -> list[str]:
    values = [value.decode("latin-1") for name, value in scope["headers"] if name.lower() == b"x-forwarded-for"]
    return [claim.strip() for value in values for claim in value.split(",")]


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_trusted(text: str, trusted_proxies: Sequence[Network]) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False  # such as a Unix socket's empty address
    return any(address in network for network in trusted_proxies)
