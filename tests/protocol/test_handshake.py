"""What an application may answer a handshake with."""

import pytest
from starlette.datastructures import Headers

from nexios_trio.protocol.handshake import check_headers, check_subprotocol


def test_a_subprotocol_has_to_be_offered():
    check_subprotocol(None, [])
    check_subprotocol("b", ["a", "b"])
    for wrong in ("c", "A", ""):
        with pytest.raises(ValueError, match="offered: 'a', 'b'"):
            check_subprotocol(wrong, ["a", "b"])
    with pytest.raises(ValueError, match="offered: none"):
        check_subprotocol("a", [])


@pytest.mark.parametrize(
    ("headers", "checked"),
    [
        (None, []),
        ({}, []),
        ({"X-A": "ä"}, [(b"x-a", b"\xe4")]),
        ([(b"Set-Cookie", b"a=1"), ("set-cookie", "b=2")], [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]),
        (Headers({"x": "1"}), [(b"x", b"1")]),
        ({"x": " \tspaces around\t "}, [(b"x", b"spaces around")]),
        ({"x": ""}, [(b"x", b"")]),
    ],
)
def test_headers_as_asgi_wants_them(headers, checked):
    assert check_headers(headers) == checked


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x", "a\r\nset-cookie: b"),
        ("x", "a\nb"),
        ("x", "a\0"),
        ("x", "\x1b[31m"),
        ("x", b"\x7f"),
        ("x y", "a"),
        ("", "a"),
        ("x:", "a"),
        ("x\r\n", "a"),
        ("ö", "a"),
        ("x", "€"),
        ("Sec-WebSocket-Accept", "a"),
        (b"sec-websocket-protocol", b"a"),
        ("Connection", "close"),
        ("Content-Length", "1"),
        ("transfer-encoding", "chunked"),
    ],
)
def test_what_http_forbids_or_the_handshake_sets_is_refused(name, value):
    with pytest.raises(ValueError, match="header"):
        check_headers([(name, value)])


@pytest.mark.parametrize(("name", "value"), [("x", None), ("x", 1), (1, "x")])
def test_headers_are_text_or_bytes(name, value):
    with pytest.raises(TypeError, match="str or bytes"):
        check_headers([(name, value)])
