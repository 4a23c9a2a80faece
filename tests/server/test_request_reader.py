"""Requests that come slowly, or not at all."""

from typing import Any

from tests.server.support import (
    make_app,
    running,
    settings,
    upgrade,
)

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n"


def make_target() -> Any:
    """An application with applications' mistakes in it, in plain ASGI where ours would not let one make them."""
    app = make_app()
    mistakes = {
        "/unoffered": {"type": "websocket.accept", "subprotocol": "never-offered"},
        "/split": {"type": "websocket.accept", "headers": [(b"x-one", b"1\r\nx-two: 2")]},
        "/fail": {"type": "nonsense"},
        "/nonsense": {"type": "http.response.start", "status": 200, "headers": [(b"bad name", b"\r\n")]},
    }

    async def target(scope: Any, receive: Any, send: Any) -> None:
        if scope.get("path") in mistakes:
            await receive()
            await send(mistakes[scope["path"]])
        elif scope.get("path") == "/bad-close":
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": 99_999})
        else:
            await app(scope, receive, send)

    return target


async def test_who_has_not_said_anything_is_let_go():
    async with running(make_app()) as server, await server.connect() as client:
        await client.send(b"GET / HT")
        async with await server.connect() as other:  # so that the first is surely accepted
            await other.handshake()
        server.stop()
        assert await client.rest() == b""


async def test_a_request_that_comes_byte_by_byte():
    async with running(make_target()) as server, await server.connect() as client:
        for byte in upgrade():
            await client.send(bytes([byte]))
        assert (await client.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")


async def test_slow_requests_are_ended():
    """Neither a request that does not come, nor half of one, holds a connection for long."""
    async with running(make_target(), None, settings(handshake_timeout=0.05)) as server:
        assert await server.request(b"") == b""
        assert (await server.request(GET)).startswith(b"HTTP/1.1 408")
