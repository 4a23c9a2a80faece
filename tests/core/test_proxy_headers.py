"""Forwarding headers are a claim, believed only from trusted proxies, from the right."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexios_trio import Settings
from nexios_trio.core.proxy_headers import UNIX, believe_proxies, client_key, client_of, is_trusted, limit_key

TRUSTED = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


def scope_of(peer, *forwarded, proto=(), host=(), kind="websocket"):
    headers = [(b"host", b"inside:8000"), *((b"x-forwarded-for", value) for value in forwarded)]
    headers += [(b"X-Forwarded-Proto", value) for value in proto]
    headers += [(b"x-forwarded-host", value) for value in host]
    scheme = "ws" if kind == "websocket" else "http"
    return {"type": kind, "client": (peer, 1) if peer else None, "scheme": scheme, "headers": headers}


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", [b"198.51.100.7"], ("192.0.2.1", 1)),  # anybody can say so
        ("10.0.0.1", [b"198.51.100.7"], ("198.51.100.7", 0)),
        ("::ffff:10.0.0.1", [b"198.51.100.7"], ("198.51.100.7", 0)),
        ("::ffff:192.0.2.1", [], ("192.0.2.1", 1)),  # an IPv4 client of an IPv6 socket
        ("fd00::1", [b"2001:db8::7"], ("2001:db8::7", 0)),
        ("fd00::1%eth0", [b"2001:db8::7"], ("2001:db8::7", 0)),
        ("10.0.0.1", [b"6.6.6.6, 198.51.100.7, 10.0.0.2"], ("198.51.100.7", 0)),  # the left is what the client said
        ("10.0.0.1", [b"6.6.6.6", b"198.51.100.7"], ("198.51.100.7", 0)),  # several lines are one list
        ("10.0.0.1", [b"10.0.0.3, 10.0.0.2"], ("10.0.0.3", 0)),
        ("10.0.0.1", [b"198.51.100.7:4711"], ("198.51.100.7", 0)),
        ("10.0.0.1", [b"198.51.100.7, 10.0.0.2:80"], ("198.51.100.7", 0)),
        ("10.0.0.1", [b"[2001:db8::7]:4711"], ("2001:db8::7", 0)),
        ("10.0.0.1", [b"[2001:db8::7]"], ("2001:db8::7", 0)),
        ("10.0.0.1", [b"::ffff:198.51.100.7"], ("198.51.100.7", 0)),
        ("10.0.0.1", [b"::ffff:c633:6407"], ("198.51.100.7", 0)),  # the same
        ("10.0.0.1", [b"198.51.100.7, ::ffff:10.0.0.2"], ("198.51.100.7", 0)),
        ("10.0.0.1", [b"6.6.6.6, unknown"], ("10.0.0.1", 1)),
        ("10.0.0.1", [b"6.6.6.6, unix:"], ("10.0.0.1", 1)),  # what nginx says of a peer on a Unix socket
        ("10.0.0.1", [b"6.6.6.6, unknown, 10.0.0.2"], ("10.0.0.2", 0)),
        ("10.0.0.1", [b"\xff\x00"], ("10.0.0.1", 1)),
        ("10.0.0.1", [b" , ,"], ("10.0.0.1", 1)),
        ("10.0.0.1", [], ("10.0.0.1", 1)),
        ("testclient", [b"198.51.100.7"], ("testclient", 1)),  # Starlette's
        (None, [b"198.51.100.7"], ("198.51.100.7", 0)),  # a Unix socket, next to trusted proxies
        ("", [b"198.51.100.7"], ("198.51.100.7", 0)),  # as some servers say it
    ],
)
def test_the_client_is_the_rightmost_untrusted_address(peer, forwarded, client):
    scope = scope_of(peer, *forwarded)
    assert client_of(scope, TRUSTED) == client
    believe_proxies(scope, TRUSTED)
    assert client_of(scope, TRUSTED) == client  # whoever asks again


@given(st.lists(st.binary()), st.ip_addresses().map(str))
def test_no_header_makes_a_stranger_believed(values, peer):
    if not is_trusted(peer, TRUSTED):
        scope = scope_of(peer, *values, proto=values, host=values)
        assert client_of(scope, TRUSTED) == client_of(scope_of(peer), ())
        before = dict(scope)
        believe_proxies(scope, TRUSTED)
        assert scope == before


@given(st.lists(st.binary()), st.sampled_from([b"198.51.100.7", b"203.0.113.9"]))
def test_what_the_client_says_cannot_hide_what_the_proxy_says(values, said_by_proxy):
    values = [value.replace(b"\n", b"") for value in values]
    assert client_of(scope_of("10.0.0.1", *values, said_by_proxy), TRUSTED) == (said_by_proxy.decode(), 0)


@pytest.mark.parametrize(
    ("kind", "proto", "scheme"),
    [
        ("websocket", [b"https"], "wss"),
        ("websocket", [b"wss"], "wss"),
        ("http", [b"HTTPS"], "https"),
        ("http", [b"https", b"http"], "http"),
        ("http", [b"gopher"], "http"),
        ("http", [], "http"),
    ],
)
def test_the_scheme(kind, proto, scheme):
    scope = scope_of("10.0.0.1", proto=proto, kind=kind)
    believe_proxies(scope, TRUSTED)
    assert scope["scheme"] == scheme


@pytest.mark.parametrize(
    ("said", "host"),
    [
        ([b"chat.example.com"], b"chat.example.com"),
        ([b"evil.example, chat.example.com:8443"], b"chat.example.com:8443"),
        ([b"evil.example", b"[2001:db8::1]:8443"], b"[2001:db8::1]:8443"),
        ([b"chat.example.com/x"], b"inside:8000"),
        ([b"\xff"], b"inside:8000"),
        ([b""], b"inside:8000"),
        ([], b"inside:8000"),
    ],
)
def test_the_host(said, host):
    scope = scope_of("10.0.0.1", host=said)
    believe_proxies(scope, TRUSTED)
    assert [value for name, value in scope["headers"] if name == b"host"] == [host]


def test_without_trust_nothing_is_believed():
    for peer in (None, "10.0.0.1"):
        scope = scope_of(peer, b"198.51.100.7", proto=[b"https"], host=[b"x"])
        before = dict(scope)
        believe_proxies(scope, ())
        assert scope == before
        assert client_of(scope, ()) == before["client"]


def test_peers_on_unix_sockets_alone_can_be_trusted():
    trusted = Settings(trusted_proxies="unix").trusted_proxies
    assert trusted == (UNIX,)
    assert client_of(scope_of(None, b"198.51.100.7"), trusted) == ("198.51.100.7", 0)
    assert client_of(scope_of("127.0.0.1", b"198.51.100.7"), trusted) == ("127.0.0.1", 1)
    assert client_of(scope_of(None, b"6.6.6.6, 198.51.100.7"), trusted) == ("198.51.100.7", 0)


def test_a_mapped_network_is_the_one_it_stands_for():
    assert is_trusted("10.1.2.3", Settings(trusted_proxies="::ffff:10.0.0.0/104").trusted_proxies)


def test_limits_count_a_network_of_ipv6_as_one():
    assert limit_key("2001:db8:0:7::1") == limit_key("2001:db8:0:7:ffff::1") != limit_key("2001:db8:0:8::1")
    assert limit_key("fe80::1%eth0") == limit_key("fe80::2%eth0")
    assert limit_key("::ffff:192.0.2.1") == limit_key("192.0.2.1") != limit_key("192.0.2.2")
    assert limit_key("testclient") == "testclient"


def test_whom_limits_count():
    assert client_key(scope_of("10.0.0.1", b"2001:db8::7"), TRUSTED) == limit_key("2001:db8::7")
    assert client_key(scope_of(None), TRUSTED) is None  # nobody tells the clients apart
