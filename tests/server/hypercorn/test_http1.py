"""HTTP/1.1 through hypercorn's connections: what each request costs, and what none may cost the others."""

import pytest
import trio

from tests.server.support import (
    make_app,
    running,
)


async def test_a_connection_is_kept_alive_for_several_requests():
    async with running(make_app()) as server, await server.connect() as client:
        for _ in range(3):
            await client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (await client.until(b"hello")).startswith(b"HTTP/1.1 200")


async def test_an_application_that_its_own_response_ends_does_not_keep_the_connection_open():
    """Quart-Trio's hears, while it sends the last event, that the response is over, and cancels the task that sends."""

    async def app(scope, receive, send):
        assert scope["type"] == "http"

        async def until_disconnect():
            while (await receive())["type"] != "http.disconnect":
                pass
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(until_disconnect)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"hello"})

    async with running(app) as server:
        assert (await server.get()).endswith(b"\r\n5\r\nhello\r\n0\r\n\r\n")


@pytest.mark.parametrize("more", [b"\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\xff" * 1000])
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_what_follows_the_last_request_does_not_cost_it_the_answer(more, version):
    async with running(make_app()) as server:
        last = b"GET / HTTP/" + version + b"\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        answer = await server.request(last + more)
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.endswith(b"\r\n\r\nhello")


@pytest.mark.parametrize("first", [b"", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"])
async def test_a_body_of_two_lengths_ends_its_connection(first):
    """A proxy that reads it the other way would take the body for the next request, or the reverse."""
    unclear = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40\r\ntransfer-encoding: chunked\r\n\r\n"
    smuggled = b"0\r\n\r\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with running(make_app()) as server:
        answer = await server.request(first + unclear + smuggled)
    assert answer.count(b"HTTP/1.1 200") == bool(first)
    assert answer.count(b"HTTP/1.1 400") == answer.count(b"HTTP/1.1") - bool(first) == 1
