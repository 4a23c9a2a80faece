"""Requests that are read in one pass: which ones, and that the whole parser reads the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexios_trio.server import ordinary_head
from nexios_trio.server.ordinary_head import MAX_SHARED_BYTES, MAX_SHARED_LINES, read_ordinary_head
from nexios_trio.server.request_head import BadUpgrade, is_upgrade, parse_upgrade, read_upgrade

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # of the RFC
NECESSARY = (
    ("Host", "example.com"),
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", KEY),
    ("Sec-WebSocket-Version", "13"),
)
CHROMIUM = """\
GET /chat?room=1 HTTP/1.1
Host: 127.0.0.1:8000
Connection: Upgrade
Pragma: no-cache
Cache-Control: no-cache
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36
Upgrade: websocket
Origin: http://127.0.0.1:8000
Sec-WebSocket-Version: 13
Accept-Encoding: gzip, deflate, br, zstd
Accept-Language: en-US,en;q=0.9
Cookie: session=abc
Sec-WebSocket-Key: bWFrZSBjb3N0IGNvdW50cw==
Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits
Sec-WebSocket-Protocol: v2, v1
"""
FIREFOX = """\
GET / HTTP/1.1
Host: example.com
User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0
Accept: */*
Accept-Language: en-US,en;q=0.5
Sec-WebSocket-Version: 13
Origin: https://example.com
Sec-WebSocket-Extensions: permessage-deflate
Sec-WebSocket-Key: bWFrZSBjb3N0IGNvdW50cw==
Connection: keep-alive, Upgrade
Sec-Fetch-Mode: websocket
Upgrade: websocket
"""
NGINX = """\
GET / HTTP/1.1
Upgrade: websocket
Connection: upgrade
Host: example.com
X-Forwarded-For: 192.0.2.1
Sec-WebSocket-Version: 13
Sec-WebSocket-Key: bWFrZSBjb3N0IGNvdW50cw==
"""


def head(*fields, line="GET / HTTP/1.1"):
    return "\r\n".join([line, *(f"{name}: {value}" for name, value in fields), "", ""]).encode("latin-1")


def changed(name, value):
    """The necessary fields, of which one has another value, or is missing."""
    return head(*((n, value if n == name else v) for n, v in NECESSARY if n != name or value is not None))


@pytest.mark.parametrize("text", [CHROMIUM, FIREFOX, NGINX], ids=["chromium", "firefox", "nginx"])
def test_what_browsers_and_proxies_send_is_ordinary(text):
    data = f"{text}\n".replace("\n", "\r\n").encode()
    found = read_ordinary_head(data)
    assert found is not None
    assert found == parse_upgrade(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        head(*NECESSARY, line="GET /"),
        head(*NECESSARY, line="GET / HTTP/1.0"),
        head(*NECESSARY, line="POST / HTTP/1.1"),
        head(*NECESSARY, line="GET http://example.com/ HTTP/1.1"),
        head(*NECESSARY, line="GET /caf\xe9 HTTP/1.1"),
        head(*NECESSARY)[:-2],
        head(*NECESSARY) + b"x",
        head(*NECESSARY).replace(b"\r\n", b"\n"),
        head(*NECESSARY).replace(b"\r\nUpgrade", b"\nUpgrade"),
        head(*NECESSARY, (" folded", "x")),
        head(*NECESSARY, ("name ", "x")),
        head(*NECESSARY, ("name", "a\x00b")),
        head(*NECESSARY, ("name", "a\rb")),
        head(*NECESSARY, ("Host", "other.example")),
        head(*NECESSARY, ("hOST", "other.example")),
        head(*NECESSARY, ("Cookie", "a=1"), ("cookie", "b=2")),
        head(*NECESSARY, ("Content-Length", "0")),
        head(*NECESSARY, ("Transfer-Encoding", "chunked")),
        head(*NECESSARY, ("Sec-WebSocket-Protocol", "")),
        head(*NECESSARY, ("Sec-WebSocket-Protocol", "a b")),
        head(*NECESSARY, ("Sec-WebSocket-Protocol", "a,,b")),
        head(*NECESSARY, *((f"x-{number}", "y") for number in range(128))),
        *(changed(name, None) for name, _ in NECESSARY),
        *(changed(name, "") for name, _ in NECESSARY),
        changed("Host", "user@example.com"),
        changed("Upgrade", "websocket, h2c"),
        changed("Connection", "close"),
        changed("Sec-WebSocket-Version", "8"),
        changed("Sec-WebSocket-Key", "c2hvcnQ="),
        changed("Sec-WebSocket-Key", KEY + "="),
        changed("Sec-WebSocket-Key", KEY[:-3] + "R=="),
    ],
    ids=str,
)
def test_what_is_rare_or_wrong_is_for_the_whole_parser(data):
    assert read_ordinary_head(data) is None


def test_the_whole_parser_answers_for_what_is_not_ordinary():
    upgrade = read_upgrade(head(*NECESSARY, ("Cookie", "a=1"), ("cookie", "b=2")))
    assert upgrade is not None
    assert [value for name, value in upgrade.headers if name == b"cookie"] == [b"a=1", b"b=2"]
    with pytest.raises(BadUpgrade):
        read_upgrade(changed("Host", "user@example.com"))
    assert read_upgrade(head(("Host", "example.com"))) is None


@pytest.mark.parametrize("compression", [True, False])
def test_a_malformed_offer_is_refused_where_it_is_read(compression):
    data = head(*NECESSARY, ("Sec-WebSocket-Extensions", "a b"))
    assert read_ordinary_head(data) is not None
    if compression:
        with pytest.raises(BadUpgrade) as caught:
            read_upgrade(data, compression=True)
        assert str(caught.value) == "the Sec-WebSocket-Extensions header is not in order\n"
    else:
        assert read_upgrade(data) == parse_upgrade(data)


TEXTS = st.text(st.characters(codec="latin-1"), max_size=12)
NAMES = st.sampled_from(
    [name for name, _ in NECESSARY]
    + ["Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "Origin", "Cookie", "Content-Length", "Transfer-Encoding"]
)
VALUES = TEXTS | st.sampled_from(
    [value for _, value in NECESSARY]
    + ["keep-alive, Upgrade", "WebSocket", "v1, v2", "v1,v2", " v1\t", "permessage-deflate", "0", KEY[:-3] + "R=="]
)
CASES = st.sampled_from([str, str.lower, str.upper])


@given(st.data())
def test_what_is_read_in_one_pass_is_what_the_whole_parser_reads(data):
    fields = [(data.draw(CASES)(name), value) for name, value in data.draw(st.permutations(NECESSARY))]
    for name, value in data.draw(st.lists(st.tuples(NAMES | TEXTS, VALUES), max_size=3)):
        where = data.draw(st.integers(0, len(fields) - 1))
        fields[where : where + data.draw(st.integers(0, 1))] = [(name, value)]
    target = data.draw(st.sampled_from(["/", "/a%20b?c=d", "/\x7f", "/?\xe9", "*"]) | TEXTS)
    whole = head(*fields, line=f"GET {target} HTTP/1.1")
    ordinary = read_ordinary_head(whole)
    if ordinary is not None:
        assert is_upgrade(whole)
        assert ordinary == parse_upgrade(whole)


def _with(name: str, value: str) -> dict[bytes, bytes]:
    lines = "".join(f"{key}: {text}\r\n" for key, text in (*NECESSARY, (name, value)))
    upgrade = read_ordinary_head(f"GET / HTTP/1.1\r\n{lines}\r\n".encode())
    assert upgrade is not None
    return dict(upgrade.headers)


def test_lines_that_clients_send_alike_are_shared_and_secrets_are_not():
    first, second = _with("User-Agent", "one of many"), _with("User-Agent", "one of many")
    assert first[b"user-agent"] is second[b"user-agent"]
    for name, value in (
        ("Cookie", "token=abc"),
        ("Authorization", "Bearer abc"),
        ("User-Agent", "x" * MAX_SHARED_BYTES),
    ):
        assert _with(name, value)[name.lower().encode()] == value.encode()
        assert not [line for line in ordinary_head._shared if value.encode() in line]
    assert not [line for line in ordinary_head._shared if KEY.encode() in line]


def test_whoever_sends_others_each_time_fills_nothing():
    for number in range(2 * MAX_SHARED_LINES):
        assert _with("User-Agent", str(number))[b"user-agent"] == str(number).encode()
    assert len(ordinary_head._shared) <= MAX_SHARED_LINES
