"""The transition table, and the one end of a connection."""

import string
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexios_trio.core.close_codes import is_sendable
from nexios_trio.core.lifecycle import TRANSITIONS, Cause, End, Lifecycle, Occurrence, Phase

ENDING = (Phase.CLOSING, Phase.CLOSED)
PATHS = {
    Phase.CONNECTING: [],
    Phase.OPEN: [Occurrence.ACCEPT],
    Phase.CLOSING: [Occurrence.ACCEPT, Occurrence.LOCAL_CLOSE],
    Phase.CLOSED: [Occurrence.LOST],
}


def in_phase(phase):
    lifecycle = Lifecycle()
    for occurrence in PATHS[phase]:
        lifecycle.advance(occurrence)
    assert lifecycle.phase is phase
    return lifecycle


def test_a_new_connection_is_connecting_without_an_end():
    assert (Lifecycle().phase, Lifecycle().end) == (Phase.CONNECTING, None)


def test_the_table_names_every_occurrence():
    assert set(TRANSITIONS) == set(Occurrence)


@pytest.mark.parametrize(("occurrence", "phase"), list(product(Occurrence, Phase)))
def test_the_table_is_carried_out(occurrence, phase):
    lifecycle = in_phase(phase)
    end_before = lifecycle.end
    after = TRANSITIONS[occurrence].get(phase)
    if after is None:
        with pytest.raises(RuntimeError, match=f"{occurrence.value} is not allowed .* {phase.value}; accepted"):
            lifecycle.advance(occurrence)
        assert (lifecycle.phase, lifecycle.end) == (phase, end_before)
    else:
        assert lifecycle.advance(occurrence) is (after is not phase)
        assert lifecycle.phase is after


@pytest.mark.parametrize(
    ("phase", "occurrence", "after"),
    [
        (Phase.CONNECTING, Occurrence.ACCEPT, Phase.OPEN),
        (Phase.CONNECTING, Occurrence.DENY, Phase.CLOSED),
        (Phase.CONNECTING, Occurrence.LOCAL_CLOSE, Phase.CLOSED),
        (Phase.CONNECTING, Occurrence.PEER_CLOSE, Phase.CLOSED),
        (Phase.OPEN, Occurrence.LOCAL_CLOSE, Phase.CLOSING),
        (Phase.OPEN, Occurrence.PEER_CLOSE, Phase.CLOSING),
        (Phase.CLOSING, Occurrence.PEER_CLOSE, Phase.CLOSING),
        (Phase.CLOSING, Occurrence.CLOSED_CLEANLY, Phase.CLOSED),
        (Phase.OPEN, Occurrence.KILL, Phase.CLOSED),
        (Phase.CLOSING, Occurrence.LOST, Phase.CLOSED),
        # the program cannot know that the peer just left
        (Phase.CLOSING, Occurrence.ACCEPT, Phase.CLOSING),
        (Phase.CLOSED, Occurrence.ACCEPT, Phase.CLOSED),
    ],
)
def test_moves_that_callers_rely_on(phase, occurrence, after):
    lifecycle = in_phase(phase)
    lifecycle.advance(occurrence)
    assert lifecycle.phase is after


@pytest.mark.parametrize(
    ("phase", "occurrence"),
    [
        (Phase.OPEN, Occurrence.ACCEPT),
        (Phase.OPEN, Occurrence.DENY),
        (Phase.CONNECTING, Occurrence.CLOSED_CLEANLY),
        (Phase.OPEN, Occurrence.CLOSED_CLEANLY),
    ],
)
def test_mistakes_raise_and_name_the_accepted_moves(phase, occurrence):
    with pytest.raises(RuntimeError, match="accepted now: .*kill"):
        in_phase(phase).advance(occurrence)


@given(st.lists(st.tuples(st.sampled_from(Occurrence), st.none() | st.builds(End.of, st.sampled_from(Cause)))))
def test_invariants_hold_on_every_path(steps):
    lifecycle = Lifecycle()
    first_end = None
    order = list(Phase)
    for occurrence, end in steps:
        before = lifecycle.phase
        try:
            changed = lifecycle.advance(occurrence, end)
        except RuntimeError:
            changed = False
            assert before not in TRANSITIONS[occurrence]
        assert changed is (lifecycle.phase is not before)
        assert order.index(lifecycle.phase) >= order.index(before)  # never back
        assert (lifecycle.end is not None) is (lifecycle.phase in ENDING)
        if first_end is None:
            first_end = lifecycle.end
            if changed and end is not None and lifecycle.phase in ENDING:
                assert first_end is end
        assert lifecycle.end is first_end


@pytest.mark.parametrize(
    ("occurrence", "code", "cause"),
    [
        (Occurrence.DENY, 1006, "denied"),
        (Occurrence.LOCAL_CLOSE, 1000, "local_close"),
        (Occurrence.PEER_CLOSE, 1005, "peer_closed"),
        (Occurrence.LOST, 1006, "peer_lost"),
        (Occurrence.KILL, 1006, "aborted"),
    ],
)
def test_an_end_that_nobody_explained(occurrence, code, cause):
    lifecycle = Lifecycle()
    lifecycle.advance(occurrence)
    assert lifecycle.end == End(code, "", Cause(cause))


def test_repr_shows_phase_and_end():
    assert repr(in_phase(Phase.OPEN)) == "<Lifecycle open>"
    assert "peer_lost" in repr(in_phase(Phase.CLOSED)).lower()


@pytest.mark.parametrize("cause", list(Cause))
def test_causes_are_labels_with_a_code(cause):
    assert set(cause.value) <= set(string.ascii_lowercase + "_")
    assert str(cause) == f"{cause}" == cause.value
    code = cause.close_code
    assert is_sendable(code) or code in (1002, 1005, 1006)


def test_codes_that_the_contract_names():
    expected = {"overflow": 1013, "server_shutdown": 1012, "handler_error": 1011, "message_too_big": 1009}
    expected |= {"unauthorized": 4001, "not_found": 4404, "protocol_error": 1002, "invalid_data": 1007}
    expected |= {"unsupported_data": 1003, "rate_limited": 1008, "handler_returned": 1000}
    assert {name: Cause(name).close_code for name in expected} == expected


def test_an_end_of_a_cause_takes_another_code():
    assert End.of(Cause.HANDLER_CLOSED, "no", 4002) == End(4002, "no", Cause.HANDLER_CLOSED)
    assert End.of(Cause.LOCAL_CLOSE, code=0).code == 0


def test_a_protocol_over_websocket_has_codes_of_its_own():
    lifecycle = Lifecycle()
    lifecycle.translate_ends(lambda end: End(3000 + end.code, end.reason, end.cause))
    assert lifecycle.translated(End.of(Cause.GAP)).code == 4012
    lifecycle.advance(Occurrence.ACCEPT)
    lifecycle.advance(Occurrence.LOCAL_CLOSE, End.of(Cause.OVERFLOW, "too slow"))
    assert lifecycle.end == End(4013, "too slow", Cause.OVERFLOW)
