"""A handler's outcome as the end of its connection."""

import asyncio
import logging

import pytest
import trio

from nexios_trio.connections.handler_errors import end_after, explain, is_reportable, mistake_in
from nexios_trio.core.lifecycle import Cause, End
from nexios_trio.exceptions import (
    EngineError,
    HandshakeError,
    InvalidJson,
    WebSocketDisconnect,
    WebSocketException,
    WrongFrameType,
)
from tests.wire import house

GONE = WebSocketDisconnect(1001)
ONE, TWO = ZeroDivisionError("secret"), KeyError("two")
NO_JSON = InvalidJson("unexpected character", "{", 1)


def group(*errors):
    return ExceptionGroup("", errors)


@pytest.mark.parametrize(
    ("error", "mistake"),
    [
        (ONE, ONE),
        (GONE, None),
        (group(GONE), None),
        (group(GONE, group(GONE, GONE)), None),
        (group(ONE), ONE),
        (group(group(group(ONE))), ONE),
        (group(GONE, ONE), ONE),
        (group(GONE, group(ONE, GONE)), ONE),
    ],
)
def test_one_mistake_is_unwrapped_and_disconnects_are_none(error, mistake):
    assert mistake_in(error) is mistake


def test_several_mistakes_stay_together():
    mistake = mistake_in(group(GONE, group(ONE, TWO)))
    assert isinstance(mistake, ExceptionGroup)
    assert mistake.exceptions == (ONE, TWO)


@pytest.mark.parametrize(
    ("mistake", "end"),
    [
        (None, End(1000, "", Cause.HANDLER_RETURNED)),
        (ONE, End(1011, "", Cause.HANDLER_ERROR)),
        (group(ONE, TWO), End(1011, "", Cause.HANDLER_ERROR)),
        (WebSocketException(4001, "no"), End(4001, "no", Cause.HANDLER_CLOSED)),
        (WebSocketException(1000), End(1000, "", Cause.HANDLER_CLOSED)),
        (HandshakeError(401, "who?"), End(1008, "who?", Cause.DENIED)),
        (NO_JSON, End(1003, "the message is not JSON", Cause.UNSUPPORTED_DATA)),
        (WrongFrameType("secret"), End(1003, "the message is of the wrong type", Cause.UNSUPPORTED_DATA)),
        (EngineError("secret"), End(1012, "groups are out of reach", Cause.GAP)),
    ],
)
def test_the_end_of_an_open_connection(mistake, end):
    assert end_after(mistake, is_connecting=False, debug=False) == end


def test_a_handler_that_has_not_accepted_has_refused():
    assert end_after(None, is_connecting=True, debug=False) == End.of(Cause.DENIED)


def test_only_debug_shows_what_went_wrong():
    assert end_after(ONE, is_connecting=False, debug=True).reason == "ZeroDivisionError: secret"


def test_a_close_code_that_may_not_be_sent_is_a_failure(caplog):
    assert end_after(WebSocketException(1006), is_connecting=False, debug=False) == End.of(Cause.HANDLER_ERROR)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


@pytest.mark.parametrize(
    ("mistake", "expected"),
    [
        (None, False),
        (ONE, True),
        (group(ONE, TWO), True),
        (WebSocketException(4000), False),
        (HandshakeError(400), False),
        (NO_JSON, False),
        (WrongFrameType(), False),
        (EngineError("no answer"), False),
        (group(NO_JSON, ONE), True),
    ],
)
def test_ways_of_ending_are_not_failures(mistake, expected):
    assert is_reportable(mistake) is expected


async def test_all_whose_groups_are_out_of_reach_come_back_at_different_times(caplog, autojump_clock):
    async def handler(ws):
        await ws.accept()
        raise EngineError("no answer in time")

    ends = []
    async with house() as inside:

        async def connect():
            wire = await inside.connect(handler)
            while not wire.closes:
                await trio.sleep(0.01)
            ends.append((wire.closes, trio.current_time()))

        begun = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(connect)
    assert {str(closes) for closes, _ in ends} == {"[(1012, 'groups are out of reach')]"}
    assert len({round(time, 2) for _, time in ends}) > 10
    assert max(time for _, time in ends) < begun + 2.1
    assert "the handler of '/' cannot go on: no answer in time" in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_who_uses_asyncio_is_told_what_to_change(caplog):
    async def handler(ws):
        await ws.accept()
        await asyncio.sleep(1)

    async with house() as inside:
        assert (await inside.connect(handler)).closes == [(1011, "")]
    assert "runs on Trio, not on asyncio: app.start_soon(f) for asyncio.create_task(f()), trio.sleep" in caplog.text


def test_other_errors_are_left_alone():
    error = RuntimeError("anything else")
    explain(error)
    assert not hasattr(error, "__notes__")
