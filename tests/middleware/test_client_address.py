"""Forwarding headers are a claim, believed only from trusted proxies, from the right."""

from ipaddress import ip_network

import pytest

from nexios_trio.middleware.client_address import client_address

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.1"], "192.0.2.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.5, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.5", "198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["198.51.100.1, nonsense"], "10.0.0.1"),
        ("10.0.0.1", ["<script>, 10.0.0.2"], "10.0.0.2"),
        ("fd00::1", ["2001:db8::1"], "2001:db8::1"),
        ("", ["198.51.100.1"], ""),
        (None, ["198.51.100.1"], ""),
    ],
)
def test_who_is_the_client(peer: str | None, forwarded: list[str], expected: str) -> None:
    headers = [(b"host", b"x"), *((b"X-Forwarded-For", value.encode()) for value in forwarded)]
    scope = {"client": None if peer is None else (peer, 1), "headers": headers}
    assert client_address(scope, PROXIES) == expected


def test_nobody_is_trusted_by_default() -> None:
    scope = {"client": ("10.0.0.1", 1), "headers": [(b"x-forwarded-for", b"198.51.100.1")]}
    assert client_address(scope, ()) == "10.0.0.1"
