"""Heartbeats are sent, answers are swallowed, the silent are closed."""

import math
from typing import Any

import pytest
import trio

from nexios_trio.application import NexiosApp
from nexios_trio.middleware import HeartbeatMiddleware
from nexios_trio.routing import WebsocketRoute
from nexios_trio.websockets import WebSocket
from tests.asgi import connect

BEAT = '{"type":"heartbeat"}'


async def echo(ws: WebSocket) -> None:
    await ws.accept()
    async for message in ws:
        if isinstance(message, str):
            await ws.send_text(message)


async def push_only(ws: WebSocket) -> None:
    await ws.accept()
    await trio.sleep_forever()


def beating(handler: Any = echo, **options: Any) -> NexiosApp:
    return NexiosApp(routes=[WebsocketRoute("/", handler, [HeartbeatMiddleware(**options)])])


HOUR = 3600


@pytest.mark.parametrize("handler", [echo, push_only])
async def test_a_silent_peer_is_closed(autojump_clock: Any, handler: Any) -> None:
    async with connect(beating(handler, interval=10, timeout=30), patience=HOUR) as client:
        await client.accepted()
        start = trio.current_time()
        texts = []
        while (event := await client.event())["type"] == "websocket.send":
            texts.append(event["text"])
        assert (event["code"], event["reason"]) == (4000, "no sign of life")
        assert set(texts) == {BEAT}
        assert 30 <= trio.current_time() - start <= 40


@pytest.mark.parametrize("handler", [echo, push_only])
@pytest.mark.parametrize("answer", [BEAT, '{ "type": "heartbeat" }', "anything", b"\0"])
async def test_a_peer_that_answers_stays(autojump_clock: Any, handler: Any, answer: str | bytes) -> None:
    async with connect(beating(handler, interval=10, timeout=30), patience=HOUR) as client:
        await client.accepted()
        beats = 0
        while beats < 20:
            event = await client.event()
            assert event["type"] == "websocket.send"
            if event["text"] == BEAT:
                beats += 1
                await client.send(answer)
            else:
                assert event["text"] == answer == "anything"


async def test_the_handler_never_sees_answers(autojump_clock: Any) -> None:
    async with connect(beating(interval=1000, timeout=2000), patience=HOUR) as client:
        await client.accepted()
        for text in (BEAT, "[]", '{"type":"heartbeat","x":1}', BEAT + " " * 100, "{"):
            await client.send(text)
        assert [await client.text() for _ in range(4)] == ["[]", '{"type":"heartbeat","x":1}', BEAT + " " * 100, "{"]


async def test_without_an_end(autojump_clock: Any) -> None:
    async with connect(beating(push_only, interval=1, timeout=math.inf, message="ping"), patience=HOUR) as client:
        await client.accepted()
        for _ in range(100):
            assert (await client.event())["text"] == '"ping"'


async def test_it_waits_for_accept(autojump_clock: Any) -> None:
    async def late(ws: WebSocket) -> None:
        await trio.sleep(3)
        await ws.accept()
        await ws.receive_text()

    async with connect(beating(late, interval=1, timeout=2)) as client:
        await client.accepted()
        assert await client.text() == BEAT


async def test_it_ends_with_the_handler(autojump_clock: Any) -> None:
    async def short(ws: WebSocket) -> None:
        await ws.accept()

    async with connect(beating(short)) as client:
        await client.accepted()
        assert await client.closed() == (1000, "")


@pytest.mark.parametrize(
    "options", [{"interval": 0}, {"interval": math.inf}, {"interval": 5, "timeout": 5}, {"timeout": math.nan}]
)
def test_wrong_arguments(options: Any) -> None:
    with pytest.raises(ValueError, match="seconds above"):
        HeartbeatMiddleware(**options)


def test_a_message_that_is_not_json() -> None:
    with pytest.raises(ValueError, match="JSON"):
        HeartbeatMiddleware(message=object())
