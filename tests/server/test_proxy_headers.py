"""Whom we believe about the client."""

from ipaddress import ip_network

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from nexios_trio.server.proxy_headers import believe_proxies, is_trusted
from tests.server.support import Raw, config, make_app, running, settings

TRUSTED = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


def scope_of(peer, *forwarded, proto=(), kind="websocket"):
    headers = [(b"x-forwarded-for", value) for value in forwarded]
    headers += [(b"x-forwarded-proto", value) for value in proto]
    scheme = "ws" if kind == "websocket" else "http"
    return {"type": kind, "client": (peer, 1) if peer else None, "scheme": scheme, "headers": headers}


def client_of(peer, *forwarded):
    scope = scope_of(peer, *forwarded)
    believe_proxies(scope, TRUSTED)
    return scope["client"]


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", [b"198.51.100.7"], ("192.0.2.1", 1)),  # anybody can say so
        ("10.0.0.1", [b"198.51.100.7"], ("198.51.100.7", 0)),
        ("::ffff:10.0.0.1", [b"198.51.100.7"], ("198.51.100.7", 0)),
        ("fd00::1", [b"2001:db8::7"], ("2001:db8::7", 0)),
        ("10.0.0.1", [b"6.6.6.6, 198.51.100.7, 10.0.0.2"], ("198.51.100.7", 0)),  # the left is what the client said
        ("10.0.0.1", [b"6.6.6.6", b"198.51.100.7"], ("198.51.100.7", 0)),  # several lines are one list
        ("10.0.0.1", [b"10.0.0.3, 10.0.0.2"], ("10.0.0.3", 0)),
        ("10.0.0.1", [b"198.51.100.7:4711"], ("198.51.100.7", 0)),
        ("10.0.0.1", [b"[2001:db8::7]:4711"], ("2001:db8::7", 0)),
        ("10.0.0.1", [b"6.6.6.6, unknown"], ("10.0.0.1", 1)),
        ("10.0.0.1", [b"6.6.6.6, unknown, 10.0.0.2"], ("10.0.0.2", 0)),
        ("10.0.0.1", [b"\xff\x00"], ("10.0.0.1", 1)),
        ("10.0.0.1", [b" , ,"], ("10.0.0.1", 1)),
        ("10.0.0.1", [], ("10.0.0.1", 1)),
        (None, [b"198.51.100.7"], ("198.51.100.7", 0)),  # a Unix socket, next to trusted proxies
    ],
)
def test_the_client_is_the_rightmost_untrusted_address(peer, forwarded, client):
    assert client_of(peer, *forwarded) == client


@given(st.lists(st.binary()), st.ip_addresses().map(str))
def test_no_header_makes_a_stranger_believed(values, peer):
    expected = (peer, 1)
    if not is_trusted(peer, TRUSTED):
        assert client_of(peer, *values) == expected


@given(st.lists(st.binary()), st.sampled_from([b"198.51.100.7", b"203.0.113.9"]))
def test_what_the_client_says_cannot_hide_what_the_proxy_says(values, said_by_proxy):
    values = [value.replace(b"\n", b"") for value in values]
    assert client_of("10.0.0.1", *values, said_by_proxy) == (said_by_proxy.decode(), 0)


@pytest.mark.parametrize(
    ("kind", "proto", "scheme"),
    [
        ("websocket", [b"https"], "wss"),
        ("websocket", [b"wss"], "wss"),
        ("http", [b"https"], "https"),
        ("http", [b"https", b"http"], "http"),
        ("http", [b"gopher"], "http"),
        ("http", [], "http"),
    ],
)
def test_the_scheme(kind, proto, scheme):
    scope = scope_of("10.0.0.1", proto=proto, kind=kind)
    believe_proxies(scope, TRUSTED)
    assert scope["scheme"] == scheme


def test_without_trust_nothing_is_believed():
    scope = scope_of(None, b"198.51.100.7", proto=[b"https"])
    believe_proxies(scope, ())
    assert (scope["client"], scope["scheme"]) == (None, "ws")


async def test_both_lanes_see_the_same_client(tmp_path):
    app = make_app()

    @app.ws_route("/client")
    async def client(ws):
        await ws.accept()
        await ws.send_json([ws.client.host, ws.url.scheme])

    path = str(tmp_path / "server.sock")
    headers = ("X-Forwarded-For: 198.51.100.7", "X-Forwarded-Proto: https")
    for trusted, is_believed in (("127.0.0.1", True), ("10.0.0.1", False)):
        server_config = config(bind=["127.0.0.1:0", f"unix:{path}"])
        async with running(app, server_config, settings(trusted_proxies=trusted)) as server:
            async with await server.connect() as raw:
                await raw.handshake("/client", *headers)
                assert await raw.frame() == (1, b'["198.51.100.7","wss"]' if is_believed else b'["127.0.0.1","ws"]')
            http = await server.get("/client", *headers)
            assert http.endswith(b'["198.51.100.7","https"]' if is_believed else b'["127.0.0.1","http"]')
            async with Raw(await trio.open_unix_socket(path)) as raw:
                await raw.handshake("/client", *headers)
                assert await raw.frame() == (1, b'["198.51.100.7","wss"]')
