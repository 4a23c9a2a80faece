"""The transition table, the one end of a connection, close codes and reasons."""

import string
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexios_trio.core.close_codes import MAX_REASON_BYTES, check_close_code, check_reason, clip_reason, is_sendable
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


SENDABLE = {1000, 1001, 1003, *range(1007, 1014), *range(3000, 5000)}


def test_sendable_codes():
    assert {code for code in range(-1, 10_000) if is_sendable(code)} == SENDABLE


@given(st.sampled_from(sorted(SENDABLE)) | st.integers(-1, 10_000) | st.integers())
def test_close_codes(code):
    if code in SENDABLE:
        assert check_close_code(code) == code
    else:
        with pytest.raises(ValueError, match=r"accepted: 1000, 1001, 1003, 1007 to 1013, 3000 to 4999"):
            check_close_code(code)


@pytest.mark.parametrize("code", [None, "1000", 1000.0, True])
def test_a_close_code_is_an_int(code):
    with pytest.raises(TypeError, match="a close code is an int"):
        check_close_code(code)


@given(st.text(max_size=60) | st.text("aü€😀", min_size=25, max_size=130))
def test_reasons_by_their_bytes(reason):
    if len(reason.encode("utf-8")) <= MAX_REASON_BYTES:
        assert check_reason(reason) == clip_reason(reason) == reason
    else:
        with pytest.raises(ValueError, match="up to 123 bytes"):
            check_reason(reason)


@given(st.text(st.characters(), max_size=200))
def test_clipping_gives_the_longest_whole_beginning(reason):
    clipped = clip_reason(reason)
    whole = reason.encode("utf-8", "replace").decode()
    assert whole.startswith(clipped)
    assert len(clipped.encode()) <= MAX_REASON_BYTES
    if clipped != whole:
        assert len(whole[: len(clipped) + 1].encode()) > MAX_REASON_BYTES
    assert check_reason(clipped) == clipped


def test_reasons_of_other_kinds():
    assert check_reason(None) == clip_reason(None) == ""
    assert clip_reason("a\ud800b") == "a?b"
    with pytest.raises(ValueError, match="surrogates"):
        check_reason("\ud800")
    with pytest.raises(TypeError, match="not bytes"):
        check_reason(b"bye")
