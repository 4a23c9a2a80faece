"""The codes, what clients make of them, and what stands for our own causes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexios_trio.core.lifecycle import PEER_LOST, Cause, End
from nexios_trio.realtime.protocol.codes import (
    CLOSE_CODES,
    CloseCode,
    ErrorCode,
    UnsubscribeCode,
    close_end,
    safe_reason,
)
from nexios_trio.realtime.protocol.parts import Error

NEVER_SENT = {Cause.PEER_CLOSED, Cause.PEER_LOST, Cause.ABORTED, Cause.DENIED}


def test_every_cause_that_reaches_a_peer_has_a_code():
    assert set(CLOSE_CODES) == set(Cause) - NEVER_SENT


@pytest.mark.parametrize("cause", sorted(set(Cause) - NEVER_SENT))
def test_a_peer_is_told_codes_of_the_protocol(cause):
    end = close_end(End.of(cause, "why"))
    assert 3000 <= end.code < 4000
    assert (end.cause, end.reason) == (cause, "why")
    assert close_end(end) == end


@pytest.mark.parametrize(
    ("cause", "comes_back"),
    [
        (Cause.OVERFLOW, True),
        (Cause.GAP, True),
        (Cause.SERVER_SHUTDOWN, True),
        (Cause.HEARTBEAT_TIMEOUT, True),
        (Cause.HANDLER_ERROR, True),
        (Cause.EXPIRED, True),
        (Cause.UNAUTHORIZED, False),
        (Cause.PROTOCOL_ERROR, False),
        (Cause.MESSAGE_TOO_BIG, False),
        (Cause.INVALID_DATA, False),
    ],
)
def test_who_comes_back_by_itself(cause, comes_back):
    assert (close_end(End.of(cause)).code < 3500) is comes_back


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (End.of(Cause.LOCAL_CLOSE), 3000),
        (End(4100, "", Cause.LOCAL_CLOSE), 4100),
        (End(1008, "", Cause.LOCAL_CLOSE), 1008),
        (End(3503, "", Cause.HANDLER_CLOSED), 3503),
        (End.of(Cause.GAP, "a group cannot be joined now", 1013), 3010),
        (End.of(Cause.EXPIRED, "", 4001), 4001),
        (PEER_LOST, 1006),
    ],
    ids=str,
)
def test_what_an_application_chose_stays(end, code):
    assert close_end(end).code == code


@pytest.mark.parametrize("reason", ["42", "true", "null", '"ok"', "{}", "[1]", " 7 ", "-1e5", '"\\ud800"', "NaN"])
def test_no_reason_is_json(reason):
    sent = safe_reason(reason)
    assert reason.strip() in sent
    with pytest.raises(ValueError):
        json.loads(sent)


@given(st.text(max_size=200))
def test_a_reason_fits_and_is_no_json(reason):
    sent = safe_reason(reason)
    assert len(sent.encode()) <= 123
    with pytest.raises(ValueError):
        json.loads(sent)


def test_ordinary_reasons_stay():
    assert safe_reason("too slow") == "too slow"
    assert safe_reason("") == ""


def test_errors_say_what_their_code_means():
    assert ErrorCode.PERMISSION_DENIED.error() == Error(103, "permission denied")
    assert ErrorCode.BAD_REQUEST.error("limit: below 300") == Error(107, "limit: below 300")
    assert [code.code for code in ErrorCode if code.error().temporary] == [100, 111, 113]
    assert [code.code for code in ErrorCode] == list(range(100, 114))


def test_codes_are_in_the_range_of_what_they_mean():
    assert [code for code in UnsubscribeCode if code >= 2500] == [2500, 2501, 2502]
    assert {code.name for code in CloseCode if code >= 3500} == {
        "INVALID_TOKEN",
        "BAD_REQUEST",
        "STALE",
        "FORCED",
        "CONNECTION_LIMIT",
        "CHANNEL_LIMIT",
        "WRONG_ENCODING",
        "DENIED",
        "NOT_AVAILABLE",
        "TOO_MANY_ERRORS",
    }
