"""Pages of other sites do not get in."""

from typing import Any

import pytest

from nexios_trio.application import NexiosApp
from nexios_trio.middleware import OriginMiddleware
from nexios_trio.middleware.origin import explain_origin, origin_problem
from nexios_trio.routing import WebsocketRoute
from nexios_trio.websockets import WebSocket
from tests.asgi import connect


def problem(origin: str | None, host: str | None = "example.com", allowed: Any = (), required: bool = False) -> bool:
    headers = [] if host is None else [(b"host", host.encode())]
    if origin is not None:
        headers.append((b"origin", origin.encode("latin-1")))
    return origin_problem({"headers": headers}, allowed, required=required) is not None


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://example.com", "example.com"),
        ("https://example.com", "example.com"),
        ("https://example.com:443", "example.com"),
        ("https://example.com", "example.com:443"),
        ("http://example.com:80", "EXAMPLE.com"),
        ("HTTP://Example.COM", "example.com"),
        ("http://localhost:8000", "localhost:8000"),
        ("http://[::1]:8000", "[::1]:8000"),
        ("http://münchen.example".encode().decode("latin-1"), "münchen.example"),
    ],
)
def test_our_own_pages(origin: str, host: str) -> None:
    assert not problem(origin, host)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://evil.example", "example.com"),
        ("http://example.com:8080", "example.com"),
        ("http://example.com", "example.com:8080"),
        ("https://example.com.evil.example", "example.com"),
        ("https://evil.example/example.com", "example.com"),
        ("https://example.com@evil.example", "example.com"),
        ("https://evil.example#example.com", "example.com"),
        ("https://sub.example.com", "example.com"),
        ("null", "example.com"),
        ("null", "null"),
        ("", "example.com"),
        ("example.com", "example.com"),
        ("file://", "example.com"),
        ("chrome-extension://example.com", "example.com"),
        ("https://example.com https://example.com", "example.com"),
        ("https://example.com, https://evil.example", "example.com"),
        ("https://example.com", None),
        ("https://", ""),
    ],
)
def test_other_pages(origin: str, host: str | None) -> None:
    assert problem(origin, host)


@pytest.mark.parametrize(
    ("scheme", "origin", "expected"),
    [
        ("wss", "https://example.com", False),
        ("wss", "http://example.com", True),
        ("wss", "http://example.com:443", True),
        ("ws", "http://example.com", False),
        ("ws", "https://example.com", False),  # a proxy that nobody told us to trust may take the TLS off
        ("wss", "wss://example.com", True),
        ("ws", "ws://example.com", True),
    ],
)
def test_a_page_that_came_without_tls_is_another_site(scheme: str, origin: str, expected: bool) -> None:
    """Whoever can change such a page could otherwise use its visitors' cookies over TLS."""
    headers = [(b"host", b"example.com"), (b"origin", origin.encode())]
    assert (origin_problem({"scheme": scheme, "headers": headers}, ()) is not None) is expected
    assert origin_problem({"scheme": scheme, "headers": headers}, ["http://example.com", origin]) is None


def test_more_than_one() -> None:
    for name in (b"origin", b"Origin"):
        headers = [(b"host", b"a"), (b"origin", b"http://a"), (name, b"http://a")]
        assert origin_problem({"headers": headers}, ["*"]) == "more than one Origin header"
    assert origin_problem({"headers": [(b"host", b"a"), (b"host", b"b"), (b"origin", b"http://a")]}, ())


def test_allowed_ones() -> None:
    assert not problem("https://app.example", allowed=["https://app.example"])
    assert not problem("https://app.example:443", allowed=["https://app.example"])
    assert problem("http://app.example", allowed=["https://app.example"])
    assert problem("https://app.example:8443", allowed=["https://app.example"])
    assert problem("null", allowed=["https://app.example"])
    assert not problem("chrome-extension://abc", allowed=["chrome-extension://abc"])


def test_any() -> None:
    for origin in "https://evil.example", "null", "file://":
        assert not problem(origin, allowed=["*"])


def test_none_is_a_program() -> None:
    assert not problem(None)
    assert problem(None, required=True)
    assert problem(None, required=True, allowed=["*"])
    assert not problem("http://example.com", required=True)


async def test_as_middleware_it_is_stricter_than_the_settings() -> None:
    async def handler(ws: WebSocket) -> None:
        await ws.accept()

    guard = OriginMiddleware("https://partner.example", require_origin=True)
    app = NexiosApp(routes=[WebsocketRoute("/", handler, [guard])], allowed_origins="*")
    for origin, is_welcome in ((b"https://partner.example", True), (b"https://evil.example", False), (None, False)):
        async with connect(app, headers=[] if origin is None else [(b"origin", origin)]) as client:
            if is_welcome:
                await client.accepted()
            else:
                assert await client.denied() == 403


def test_an_origin_to_allow_that_is_none() -> None:
    with pytest.raises(ValueError, match="scheme://host"):
        OriginMiddleware(["example.com"])


@pytest.mark.parametrize(
    ("given", "begins"),
    [
        (["https://a.example"], "Origin https://a.example is another site than Host b.example (wss); allow it with "),
        (["null"], "Origin null is no site's: "),
        (["http://a", "http://b"], "more than one Origin header: http://a, http://b"),
        ([], "an Origin header is required: set require_origin=False"),
        (["https://a\x1b[31m"], "Origin https://a\\x1b[31m is "),
    ],
)
def test_the_log_says_what_to_do(given: list[str], begins: str) -> None:
    headers = [(b"host", b"b.example"), *((b"origin", origin.encode("latin-1")) for origin in given)]
    scope = {"scheme": "wss", "headers": headers}
    found = origin_problem(scope, (), required=True)
    assert found is not None
    assert explain_origin(scope, found).startswith(begins)
