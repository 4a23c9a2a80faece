"""Close codes and reasons that an application may send."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexios_trio.core.close_codes import (
    MAX_REASON_BYTES,
    check_close_code,
    check_reason,
    clip_reason,
    is_sendable,
)

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
