"""The opening request: what is ours, what is in order, and what the answer says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.http11 import Response
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from nexios_trio.server.request_head import BadUpgrade, http_response, is_upgrade, parse_upgrade, read_upgrade

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # of the RFC
FIELDS = {
    "Host": "example.com",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}


def head(target="/chat?a=1", *more, line=None, **changes):
    """A request; `changes` replaces fields (_ for -), None removes them; `more` adds lines."""
    fields: dict[str, str | None] = {**FIELDS}
    for name, value in changes.items():
        fields[name.replace("_", "-")] = value
    lines = [line or f"GET {target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join([*lines, *more]).encode("latin-1") + b"\r\n\r\n"


def refused(data, **options):
    assert is_upgrade(data)
    for read in (read_upgrade, parse_upgrade):
        with pytest.raises(BadUpgrade) as caught:
            read(data, **options)
    response = caught.value.response
    assert response.startswith(b"HTTP/1.1 %d " % caught.value.status)
    assert b"\r\nconnection: close\r\n" in response
    return caught.value.status


# ---------------------------------------------------------------- whose it is


@pytest.mark.parametrize(
    "data",
    [
        head(),
        head(Upgrade="WebSocket"),
        head(Upgrade=" websocket"),
        head(Upgrade="websocket", Connection=None),
        head(Upgrade=None).replace(b"\r\n\r\n", b"\r\nuPGRADE:websocket\r\n\r\n"),
    ],
)
def test_upgrades_are_ours(data):
    assert is_upgrade(data)


@pytest.mark.parametrize(
    "data",
    [
        head(Upgrade=None),
        head(Upgrade="h2c"),
        head(line="POST / HTTP/1.1"),
        head("/?x=upgrade:websocket", Upgrade=None),
        head(Upgrade=None, X_Upgrade="websocket"),
        b"PRI * HTTP/2.0\r\n\r\n",
        b"",
    ],
)
def test_everything_else_is_not(data):
    assert not is_upgrade(data)


# ---------------------------------------------------------------- in order


def test_what_is_read():
    upgrade = parse_upgrade(head("/a%20b/%C3%A9?x=%41&y", "X-Name:  value \t", "X-Latin: \xe9"))
    assert upgrade.accept == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert (upgrade.subprotocols, upgrade.deflate) == ([], False)
    scope = upgrade.scope(client=("192.0.2.1", 5))
    assert (scope["type"], scope["http_version"], scope["client"]) == ("websocket", "1.1", ("192.0.2.1", 5))
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/a b/é", b"/a%20b/%C3%A9", b"x=%41&y")
    assert scope["headers"][0] == (b"host", b"example.com")
    assert scope["headers"][-2:] == [(b"x-name", b"value"), (b"x-latin", b"\xe9")]
    assert scope["extensions"] == {"websocket.http.response": {}}
    assert scope["subprotocols"] == []


def test_repeated_headers_stay_apart_and_in_order():
    upgrade = parse_upgrade(head("/", "Cookie: a=1", "X: 1", "cookie: b=2"))
    assert [value for name, value in upgrade.headers if name == b"cookie"] == [b"a=1", b"b=2"]


def test_subprotocols_of_all_headers():
    upgrade = parse_upgrade(head("/", "Sec-WebSocket-Protocol: chat, superchat", "Sec-WebSocket-Protocol: v2"))
    assert upgrade.subprotocols == ["chat", "superchat", "v2"]


@pytest.mark.parametrize("connection", ["keep-alive, Upgrade", "upgrade", "UPGRADE,x"])
def test_connection_is_a_list(connection):
    parse_upgrade(head(Connection=connection))


# ---------------------------------------------------------------- not in order


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"Connection": None}, 400),
        ({"Connection": "close"}, 400),
        ({"Connection": "Upgr\xe4de"}, 400),
        ({"Upgrade": "websocket, h2c"}, 400),
        ({"Upgrade": "websocketeer"}, 400),
        ({"Sec_WebSocket_Key": None}, 400),
        ({"Sec_WebSocket_Key": "short"}, 400),
        ({"Sec_WebSocket_Key": "dG9vIHNob3J0"}, 400),
        ({"Sec_WebSocket_Key": "\xff\xfe"}, 400),
        ({"Sec_WebSocket_Version": None}, 426),
        ({"Sec_WebSocket_Version": "8"}, 426),
        ({"Host": None}, 400),
        ({"Host": ""}, 400),
        ({"Host": "\xff"}, 400),
        ({"Host": "a b"}, 400),
        ({"Host": "a/b"}, 400),
        ({"Host": "user@a"}, 400),
        ({"Sec_WebSocket_Protocol": "ch\xe4t"}, 400),
        ({"Sec_WebSocket_Protocol": "a b"}, 400),
        ({"Content_Length": "5"}, 400),
        ({"Transfer_Encoding": "chunked"}, 501),
        ({"line": "GET / HTTP/1.0"}, 400),
        ({"line": "GET / HTTP/2.0"}, 400),
        ({"line": "GET /"}, 400),
        ({"line": "GET /two words HTTP/1.1"}, 400),
        ({"target": "http://example.com/"}, 400),
        ({"target": "example.com:80"}, 400),
        ({"target": "*"}, 400),
        ({"target": "/caf\xe9"}, 400),
        ({"target": "/?\x1b[31m"}, 400),
        ({"target": "/\x7f"}, 400),
        ({"target": ""}, 400),
    ],
)
def test_a_bad_request_is_refused(changes, status):
    target = changes.pop("target", "/")
    assert refused(head(target, **changes)) == status


@pytest.mark.parametrize(
    "line",
    [
        "Host: other.example",
        f"Sec-WebSocket-Key: {KEY}",
        "Sec-WebSocket-Version: 13",
        "Origin: a\r\nOrigin: b",
        "no colon",
        " folded: line",
        "na me: x",
        "name : x",
        "name: \x01",
        "name: \x00",
        ": empty",
        "n\xe4me: x",
    ],
)
def test_a_bad_header_is_refused(line):
    assert refused(head("/", line)) in (400, 426)


@pytest.mark.parametrize(
    "line",
    [
        "Sec-WebSocket-Protocol: token, c2VjcmV0/Zg==",
        "Sec-WebSocket-Key: c2VjcmV0",
        "Sec-WebSocket-Version: c2VjcmV0",
        "Sec-WebSocket-Extensions: c2VjcmV0/;",
        "Upgrade: websocket, c2VjcmV0",
        "Connection: c2VjcmV0/",
    ],
)
def test_a_refusal_does_not_repeat_what_may_be_a_secret(line):
    name = line.partition(":")[0]
    with pytest.raises(BadUpgrade) as caught:
        parse_upgrade(head("/", line, **({} if "tocol" in name else {name.replace("-", "_"): None})), compression=True)
    assert str(caught.value) == f"the {name} header is not in order\n"
    assert b"c2VjcmV0" not in caught.value.response


@pytest.mark.parametrize("line", ["Cookie: " + "a" * 12_000, *["\r\n".join(f"x{n}: y" for n in range(100))]])
def test_a_large_head_is_in_order(line):
    """How large it may be as a whole is checked before."""
    parse_upgrade(head("/", line))
    parse_upgrade(head("/?" + "a" * 12_000))


def test_too_many_headers():
    assert refused(head("/", *(f"x{number}: y" for number in range(200)))) == 431


def test_426_says_what_is_spoken():
    with pytest.raises(BadUpgrade) as caught:
        parse_upgrade(head(Sec_WebSocket_Version="8"))
    assert b"\r\nsec-websocket-version: 13\r\n" in caught.value.response


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_noise_is_refused_in_order(first, second):
    """Whatever a client sends, nothing but BadUpgrade comes out."""
    for data in (
        b"GET " + first + b" HTTP/1.1\r\nUpgrade: websocket\r\n" + second + b"\r\n\r\n",
        head("/", first.decode("latin-1"), second.decode("latin-1")),
        head(Sec_WebSocket_Key=first.decode("latin-1"), Sec_WebSocket_Protocol=second.decode("latin-1")),
        head(Sec_WebSocket_Extensions=first.decode("latin-1"), Connection=second.decode("latin-1")),
    ):
        try:
            upgrade = parse_upgrade(data, compression=True)
        except BadUpgrade:
            continue
        upgrade.scope()
        upgrade.answer(None, [])


# ---------------------------------------------------------------- compression


DEFLATE = "permessage-deflate"


@pytest.mark.parametrize(
    ("offer", "is_taken"),
    [
        (DEFLATE, True),
        (f"{DEFLATE}; client_max_window_bits", True),
        (f"{DEFLATE}; client_max_window_bits=8", True),
        (f'{DEFLATE}; client_max_window_bits="15"', True),
        (f"{DEFLATE}; server_no_context_takeover; client_no_context_takeover", True),
        (f"{DEFLATE}; client_max_window_bits=15; server_max_window_bits=15", True),  # what wsproto offers
        (f"{DEFLATE}; server_max_window_bits=14", False),
        (f"{DEFLATE}; server_max_window_bits", False),
        (f"{DEFLATE}; server_max_window_bits=10, {DEFLATE}", True),
        (f"x-other; a=b, {DEFLATE}", True),
        ("x-webkit-deflate-frame", False),
        # not in order, so declined (RFC 7692, 7.1)
        (f"{DEFLATE}; client_max_window_bits=abc", False),
        (f"{DEFLATE}; client_max_window_bits=7", False),
        (f"{DEFLATE}; client_max_window_bits=08", False),
        (f"{DEFLATE}; client_max_window_bits=16", False),
        (f"{DEFLATE}; server_no_context_takeover=1", False),
        (f"{DEFLATE}; client_no_context_takeover; client_no_context_takeover", False),
        (f"{DEFLATE}; unknown", False),
    ],
)
def test_offers_of_compression(offer, is_taken):
    data = head(Sec_WebSocket_Extensions=offer)
    assert parse_upgrade(data, compression=True).deflate is is_taken
    assert not parse_upgrade(data).deflate


def test_offers_in_several_headers():
    lines = ("Sec-WebSocket-Extensions: x", f"Sec-WebSocket-Extensions: {DEFLATE}")
    assert parse_upgrade(head("/", *lines), compression=True).deflate


@pytest.mark.parametrize("offer", ["permessage-deflate; =", "\xff", ";", "a b"])
def test_a_malformed_offer_is_refused_where_it_is_read(offer):
    data = head(Sec_WebSocket_Extensions=offer)
    assert refused(data, compression=True) == 400
    assert not parse_upgrade(data).deflate


# ---------------------------------------------------------------- the answers


def test_the_library_s_client_takes_our_answer():
    for compression in (True, False):
        client = ClientProtocol(
            parse_uri("ws://example.com/chat"),
            subprotocols=[Subprotocol("v1"), Subprotocol("v2")],
            extensions=[ClientPerMessageDeflateFactory(client_max_window_bits=True)],
        )
        client.send_request(client.connect())
        upgrade = parse_upgrade(b"".join(client.data_to_send()), compression=compression)
        assert upgrade.subprotocols == ["v1", "v2"]
        client.receive_data(upgrade.answer("v2", [(b"x-extra", b"1"), (b"set-cookie", b"a=b")]))
        [response] = client.events_received()
        assert client.handshake_exc is None
        assert isinstance(response, Response)
        assert (response.status_code, response.headers["X-Extra"]) == (101, "1")
        assert client.subprotocol == "v2"
        assert len(client.extensions) == compression


def test_the_plain_answer():
    answer = parse_upgrade(head()).answer(None, [])
    assert answer == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    )


@pytest.mark.parametrize(("status", "phrase"), [(403, b"Forbidden"), (503, b"Service Unavailable"), (499, b"Refused")])
def test_responses(status, phrase):
    response = http_response(status, [(b"content-type", b"text/plain"), (b"Content-Length", b"99")], b"no")
    first, *fields = response.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert first == b"HTTP/1.1 %d %s" % (status, phrase)
    headers = Headers([(name, value) for name, _, value in (field.decode().partition(": ") for field in fields)])
    assert headers["content-length"] == "2"  # ours, which is right
    assert headers["connection"] == "close"
    assert headers["content-type"] == "text/plain"
    assert "date" in headers
    assert response.endswith(b"\r\n\r\nno")
