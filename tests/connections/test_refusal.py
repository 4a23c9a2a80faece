"""Errors that other frameworks taught people to raise say what the peer is told, and are no failures."""

import logging
from typing import Any

import pytest
import starlette.exceptions
import starlette.websockets
import trio

from nexios_trio.core.lifecycle import Cause
from nexios_trio.exceptions import HandshakeError, NotAuthorized, WebSocketException, WrongFrameType
from nexios_trio.http import HTTPException
from nexios_trio.websockets import Channel, WebSocketConsumer
from tests.wire import house, settle


def raising(error: Exception, *, accept: bool) -> Any:
    async def endpoint(ws: Any) -> None:
        if accept:
            await ws.accept()
        raise error

    return endpoint


def failures(caplog: Any) -> list[Any]:
    return [record for record in caplog.records if record.levelno > logging.INFO]


def response(wire: Any) -> tuple[int, dict[bytes, bytes], bytes]:
    start, *rest = wire.events
    return start["status"], dict(start["headers"]), b"".join(event["body"] for event in rest)


async def test_before_accept_status_detail_and_headers_are_as_raised(caplog: Any) -> None:
    error = HTTPException(401, "log in first", {"WWW-Authenticate": "Bearer"})
    async with house() as inside:
        status, headers, body = response(await inside.connect(raising(error, accept=False)))
    assert (status, body) == (401, b"log in first")
    assert headers[b"www-authenticate"] == b"Bearer"
    assert headers[b"content-length"] == b"12"
    assert failures(caplog) == []


@pytest.mark.parametrize(
    ("error", "status", "body", "kind"),
    [
        (HTTPException(404), 404, b"Not Found", b"text/plain; charset=utf-8"),
        (HTTPException(503, "täglich"), 503, "täglich".encode(), b"text/plain; charset=utf-8"),
        (HTTPException(422, detail={"field": "x"}), 422, b'{"field":"x"}', b"application/json"),  # type: ignore[arg-type]
        (HTTPException(400, "<p>", {"content-type": "text/html"}), 400, b"<p>", b"text/html"),
        (HTTPException(307, "", {"location": "/there"}), 307, b"", b"text/plain; charset=utf-8"),
        (HTTPException(400, "x", {"content-length": "5"}), 400, b"x", b"text/plain; charset=utf-8"),
    ],
)
async def test_what_the_peer_gets(caplog: Any, error: Any, status: int, body: bytes, kind: bytes) -> None:
    async with house() as inside:
        seen = response(await inside.connect(raising(error, accept=False)))
    assert (seen[0], seen[2], seen[1][b"content-type"]) == (status, body, kind)
    assert seen[1][b"content-length"] == b"%d" % len(body)
    assert failures(caplog) == []


@pytest.mark.parametrize(
    "error",
    [
        HTTPException(200, "fine"),
        HTTPException(101, "switch"),
        HTTPException(204),
        HTTPException(700, "?"),
        HTTPException(401, "x", {"bad header": "x"}),
        HTTPException(401, "x", {"x": "a\r\nset-cookie: b"}),
    ],
)
async def test_what_no_refusal_can_be_is_a_failure(caplog: Any, error: Any) -> None:
    async with house() as inside:
        wire = await inside.connect(raising(error, accept=False))
    assert wire.status == 500
    (record,) = failures(caplog)
    assert record.exc_info[1] is error


@pytest.mark.parametrize(("status", "code"), [(401, 4401), (403, 4403), (429, 4429), (500, 4500), (503, 4503)])
async def test_after_accept_the_close_code_says_the_status(caplog: Any, status: int, code: int) -> None:
    async with house() as inside:
        wire = await inside.connect(raising(HTTPException(status, "no " * 99), accept=True))
    assert wire.closes == [(code, ("no " * 99)[:123])]
    assert failures(caplog) == []


async def test_in_a_task_of_the_connection(caplog: Any) -> None:
    async def task() -> None:
        raise HTTPException(401, "log in first")

    async def endpoint(ws: Any) -> None:
        await ws.accept()
        ws.start_soon(task)
        await trio.sleep_forever()

    async with house() as inside:
        assert (await inside.connect(endpoint)).closes == [(4401, "log in first")]
    assert failures(caplog) == []


async def test_in_a_consumer(caplog: Any) -> None:
    codes = []

    class Consumer(WebSocketConsumer):
        async def on_connect(self, websocket: Any) -> None:
            raise HTTPException(401, "log in first")

        async def on_disconnect(self, websocket: Any, close_code: int) -> None:
            codes.append(close_code)

    class Later(Consumer):
        async def on_connect(self, websocket: Any) -> None:
            await websocket.accept()
            raise HTTPException(401, "log in first")

    async with house() as inside:
        assert (await inside.connect(Consumer())).status == 401
        assert (await inside.connect(Later())).closes == [(4401, "log in first")]
    assert codes == [4401, 4401]
    assert failures(caplog) == []


# ---------------------------------------------------------------- Starlette's other errors


async def test_starlettes_websocket_exception_is_ours(caplog: Any) -> None:
    error = starlette.exceptions.WebSocketException(4003, "no")
    async with house() as inside:
        assert (await inside.connect(raising(error, accept=True))).closes == [(4003, "no")]
        assert (await inside.connect(raising(error, accept=False))).status == 403
    assert failures(caplog) == []


async def test_starlettes_disconnect_is_ours(caplog: Any) -> None:
    error = starlette.websockets.WebSocketDisconnect(1001)
    async with house() as inside:
        assert (await inside.connect(raising(error, accept=True))).closes == [(1000, "")]
    assert failures(caplog) == []


# ---------------------------------------------------------------- groups of equal errors


class Own(HTTPException):
    """As FastAPI has one."""


EQUAL = [
    ([WebSocketException(4001, "no"), WebSocketException(4001, "no")], (4001, "no")),
    ([WebSocketException(1008, "not allowed to join"), NotAuthorized("join", "a")], (1008, "not allowed to join")),
    ([NotAuthorized("join", "a"), NotAuthorized("join", "b")], (1008, "not allowed to join")),
    ([starlette.exceptions.WebSocketException(4001, "no"), WebSocketException(4001, "no")], (4001, "no")),
    ([HTTPException(401, "no"), Own(401, "no")], (4401, "no")),
    ([WrongFrameType("a"), WrongFrameType("b")], (1003, "the message is of the wrong type")),
    ([HandshakeError(401, "who?"), HandshakeError(401, "who?")], (1008, "who?")),
]


@pytest.mark.parametrize(("errors", "close"), EQUAL)
@pytest.mark.parametrize("nested", [False, True])
async def test_equal_ones_close_as_one(caplog: Any, errors: Any, close: Any, nested: bool) -> None:
    group = ExceptionGroup("", [*errors, ExceptionGroup("", errors)] if nested else errors)
    async with house() as inside:
        assert (await inside.connect(raising(group, accept=True))).closes == [close]
    assert failures(caplog) == []


@pytest.mark.parametrize(
    "errors",
    [
        [WebSocketException(4001, "no"), WebSocketException(4002, "no")],
        [WebSocketException(4001, "no"), WebSocketException(4001, "other")],
        [WebSocketException(4001, "no"), ZeroDivisionError()],
        [HTTPException(401, "a"), HTTPException(403, "a")],
    ],
)
async def test_different_ones_are_a_failure(caplog: Any, errors: Any) -> None:
    async with house() as inside:
        assert (await inside.connect(raising(ExceptionGroup("", errors), accept=True))).closes == [(1011, "")]
    assert len(failures(caplog)) == 1


async def test_two_tasks_that_are_refused_at_once(caplog: Any) -> None:
    async def endpoint(ws: Any) -> None:
        await ws.accept()
        together = trio.Event()

        async def task() -> None:
            await together.wait()
            raise WebSocketException(4001, "no")

        for _ in range(3):
            ws.start_soon(task)
        await ws.receive()
        together.set()
        await trio.sleep_forever()

    async with house() as inside:
        wire = await inside.connect(endpoint)
        wire.say("now")
        await settle()
        assert wire.closes == [(4001, "no")]
    assert failures(caplog) == []


async def test_the_end_of_a_refusal_says_so(caplog: Any) -> None:
    caplog.set_level(logging.DEBUG)
    async with house() as inside:
        await inside.connect(raising(HTTPException(401, "log in first"), accept=False))
        await inside.connect(raising(HTTPException(401, "log in first"), accept=True))
    ends = [record for record in caplog.records if hasattr(record, "cause")]
    assert [(record.cause, record.reason) for record in ends] == [(Cause.DENIED.value, "log in first")] * 2
    assert [record.getMessage() for record in ends] == [
        "refused with 401: log in first",
        "ended with 4401: log in first",
    ]


async def test_event_handlers_are_left_alone(caplog: Any) -> None:
    """What a handler of a channel raises is reported there, and closes nothing."""

    async def endpoint(ws: Any) -> None:
        channel = Channel(ws)

        @channel.on_connect
        async def refuse(channel: Any) -> None:
            raise HTTPException(401)

        await ws.accept()

    async with house() as inside:
        assert (await inside.connect(endpoint)).closes == [(1000, "")]
    assert len(failures(caplog)) == 1
