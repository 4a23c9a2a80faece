import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexios_trio.core.json import MAX_DEPTH, decode_json, encode_json, is_deeper
from nexios_trio.core.message import Message
from nexios_trio.exceptions import InvalidJson

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=30,
)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


@given(json_values, st.integers(1, 6))
def test_depth(value, limit):
    assert is_deeper(value, limit) == (depth_of(value) > limit)


@given(json_values)
def test_what_is_encoded_is_decoded(value):
    assert decode_json(encode_json(value), MAX_DEPTH) == value


def test_the_limit_is_exact_for_lists_and_objects():
    assert decode_json("[" * 5 + "]" * 5, 5) == [[[[[]]]]]
    for text in ("[" * 6 + "]" * 6, '{"a":' * 6 + "1" + "}" * 6, b"[" * 6 + b"]" * 6):
        with pytest.raises(InvalidJson, match="more than 5 levels deep"):
            decode_json(text, 5)


def test_brackets_in_strings_and_next_to_each_other_are_no_depth():
    assert decode_json(json.dumps("[" * 1000), 2) == "[" * 1000
    assert len(decode_json("[" + "[]," * 999 + "[]]", 2)) == 1000


@pytest.mark.parametrize("bomb", ["[" * 100_000, "[" * 1000 + "]" * 1000, "NaN", "Infinity", "1e999", '"\\ud800"', ""])
def test_no_bomb_is_more_than_a_decode_error(bomb):
    with pytest.raises(InvalidJson):
        decode_json(bomb, 128)


def test_bytes_that_are_not_utf8_say_so():
    with pytest.raises(InvalidJson) as caught:
        decode_json(b'"\xff"', 128)
    assert isinstance(caught.value.__cause__, UnicodeDecodeError)


def test_what_many_could_not_read_is_not_encoded():
    assert encode_json(nested(MAX_DEPTH))
    for value in (nested(MAX_DEPTH + 1), nested(900), {2**70: nested(MAX_DEPTH + 1)}, nested(100_000)):
        with pytest.raises(ValueError, match="deep"):
            encode_json(value)


def test_a_history_is_readable_from_deep_down():
    """Decoding a message once recursed as deep as its payload."""
    message = Message(nested(MAX_DEPTH), 0.0)

    def down(frames: int) -> Any:
        return down(frames - 1) if frames else message.payload

    assert down(500) == nested(MAX_DEPTH)


def test_a_small_encoding_takes_no_more_memory_than_it_has_bytes():
    """orjson's own keep a buffer of 4 KiB each."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        kept = [encode_json([number]) for number in range(1000)]
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / len(kept) < 200
