"""Connections in a window, messages in a bucket."""

import logging
import math
from typing import Any

import pytest
import trio

from nexios_trio.application import NexiosApp
from nexios_trio.middleware import ConnectionRateLimitMiddleware, MessageRateLimitMiddleware
from nexios_trio.routing import WebsocketRoute
from nexios_trio.websockets import WebSocket
from tests.asgi import connect


async def echo(ws: WebSocket) -> None:
    await ws.accept()
    async for message in ws.iter_text():
        await ws.send_text(message)


def limited(middleware: Any, **settings: Any) -> NexiosApp:
    return NexiosApp(routes=[WebsocketRoute("/", echo, [middleware])], **settings)


async def test_messages_up_to_the_burst_and_then_at_the_rate(autojump_clock: Any) -> None:
    async with connect(limited(MessageRateLimitMiddleware(rate=2, burst=3))) as client:
        await client.accepted()
        for text in "abc":
            await client.send(text)
            assert await client.text() == text
        for text in "def":
            await trio.sleep(0.5)
            await client.send(text)
            assert await client.text() == text


async def test_one_message_too_many(autojump_clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with connect(limited(MessageRateLimitMiddleware(rate=1, burst=2))) as client:
        await client.accepted()
        for _ in range(3):
            await client.send("x")
        assert [await client.text(), await client.text()] == ["x", "x"]
        assert await client.closed() == (1008, "too many messages")
    assert not caplog.records


async def test_connections_do_not_share_a_bucket(autojump_clock: Any) -> None:
    app = limited(MessageRateLimitMiddleware(rate=1, burst=1))
    for _ in range(3):
        async with connect(app) as client:
            await client.accepted()
            await client.send("x")
            assert await client.text() == "x"


async def test_connections_in_a_window(autojump_clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "nexios_trio.connection")
    app = limited(ConnectionRateLimitMiddleware(2, 10))

    async def attempt(address: str = "192.0.2.1") -> tuple[int, str] | None:
        async with connect(app, client=(address, 1)) as client:
            await client.accepted()
            await client.send("x")
            event = await client.event()
            return None if event["type"] == "websocket.send" else (event["code"], event["reason"])

    too_many = (4002, "too many connections")
    assert [await attempt() for _ in range(4)] == [None, None, too_many, too_many]
    assert "ended with 4002: the peer came, or sent, too often: too many connections; raise the limits" in caplog.text
    assert await attempt("192.0.2.2") is None
    await trio.sleep(10.1)
    assert [await attempt() for _ in range(3)] == [None, None, too_many]


async def test_clients_behind_a_trusted_proxy_are_told_apart() -> None:
    app = limited(ConnectionRateLimitMiddleware(1), trusted_proxies=["192.0.2.0/24"])

    async def closes(forwarded: bytes) -> bool:
        async with connect(app, headers=[(b"x-forwarded-for", forwarded)]) as client:
            await client.accepted()
            await client.send("x")
            event: dict[str, Any] = await client.event()
            return bool(event["type"] == "websocket.close")

    assert [await closes(b"198.51.100.1"), await closes(b"198.51.100.2")] == [False, False]
    assert await closes(b"203.0.113.9, 198.51.100.1")


async def test_another_key() -> None:
    app = limited(ConnectionRateLimitMiddleware(1, key=lambda ws: ws.query_params.get("user", "")))
    for target, kind in (("/?user=a", "send"), ("/?user=b", "send"), ("/?user=a", "close")):
        async with connect(app, target) as client:
            await client.accepted()
            await client.send("x")
            assert (await client.event())["type"] == f"websocket.{kind}"


def test_what_is_remembered_is_bounded() -> None:
    limit = ConnectionRateLimitMiddleware(1, 60, max_clients=100)
    for number in range(1000):
        assert limit.admit(str(number), number / 1000)
    assert len(limit._times) == 100
    assert not limit.admit("999", 1)
    assert limit.admit("0", 1)  # forgotten


@pytest.mark.parametrize(
    "make",
    [
        lambda: MessageRateLimitMiddleware(rate=0),
        lambda: MessageRateLimitMiddleware(rate=math.nan),
        lambda: MessageRateLimitMiddleware(burst=0),
        lambda: ConnectionRateLimitMiddleware(0),
        lambda: ConnectionRateLimitMiddleware(time_window=-1),
        lambda: ConnectionRateLimitMiddleware(time_window=math.inf),
        lambda: ConnectionRateLimitMiddleware(max_clients=0),
    ],
)
def test_wrong_arguments(make: Any) -> None:
    with pytest.raises(ValueError, match="must be"):
        make()


async def is_refused(app: NexiosApp, forwarded: bytes, **scope: Any) -> bool:
    async with connect(app, headers=[(b"x-forwarded-for", forwarded)], **scope) as client:
        await client.accepted()
        await client.send("x")
        event: dict[str, Any] = await client.event()
        return bool(event["type"] == "websocket.close")


async def test_a_network_of_ipv6_is_one_client() -> None:
    """Whoever has one address of a /64 has them all."""
    app = limited(ConnectionRateLimitMiddleware(10), trusted_proxies=["192.0.2.0/24"])
    refused = [await is_refused(app, b"[2001:db8:0:7:%x::1]:4711" % number) for number in range(20)]
    assert refused == [False] * 10 + [True] * 10


async def test_who_has_no_address_is_not_counted_as_one_client(caplog: Any) -> None:
    """Behind a Unix socket that nobody is trusted on, everybody would be."""
    app = limited(ConnectionRateLimitMiddleware(1))
    assert [await is_refused(app, b"198.51.100.1", client=None) for _ in range(3)] == [False] * 3
    assert caplog.text.count("trusted_proxies=unix") == 1


def test_times_go_on_from_one_run_of_trio_to_the_next() -> None:
    """Each run's clock begins somewhere else: nobody is refused for longer, or let in sooner, than the window says."""
    for other in (1000.0, 1e6, -1e6):
        limit = ConnectionRateLimitMiddleware(2, 60)
        assert [_admits_in_a_run(limit, 1000.0) for _ in range(3)] == [True, True, False]
        assert not _admits_in_a_run(limit, other)
        assert _admits_in_a_run(limit, other, later=61.0)


class ClockThatBegins(trio.abc.Clock):
    """A run's clock, which begins at a time of its own and stands still."""

    def __init__(self, begins: float) -> None:
        self._now = begins

    def start_clock(self) -> None:
        pass

    def current_time(self) -> float:
        return self._now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        return 0.0 if deadline <= self._now else 999.0


def _admits_in_a_run(limit: ConnectionRateLimitMiddleware, begins: float, later: float = 0.0) -> bool:
    async def admit() -> bool:
        return limit.admit("a", trio.current_time() + later)

    return trio.run(admit, clock=ClockThatBegins(begins))
