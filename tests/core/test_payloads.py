"""Payload types, and what each makes of a payload."""

import pytest

from nexios_trio.core.payloads import PayloadTypeEnum, encode, payload_type

JSON, TEXT, BYTES = PayloadTypeEnum


@pytest.mark.parametrize(
    ("given_", "kind"), [("json", JSON), ("text", TEXT), ("bytes", BYTES), (JSON, JSON), (TEXT.value, TEXT)]
)
def test_a_payload_type_is_named_by_a_str_or_an_enum_member(given_, kind):
    assert payload_type(given_) is kind


@pytest.mark.parametrize("wrong", ["xml", "", "JSON", None, 1, b"json"])
def test_a_wrong_payload_type_names_the_accepted_ones(wrong):
    with pytest.raises(ValueError, match="'json', 'text', 'bytes'"):
        payload_type(wrong)


def test_payload_types_are_strings():
    assert JSON == "json"
    assert f"{TEXT}" == "text"


@pytest.mark.parametrize(
    ("kind", "payload", "is_text", "data"),
    [
        (JSON, {"a": 1}, True, b'{"a":1}'),
        (JSON, "hi", True, b'"hi"'),
        (JSON, None, True, b"null"),
        (JSON, b"\xff", False, b"\xff"),
        (TEXT, "hi", True, b"hi"),
        (TEXT, {"a": 1}, True, b'{"a":1}'),
        (TEXT, 7, True, b"7"),
        (TEXT, memoryview(b"\xff"), False, b"\xff"),
        (BYTES, b"\xff", False, b"\xff"),
        (BYTES, bytearray(b"\xff"), False, b"\xff"),
        (BYTES, "ä", False, "ä".encode()),
        (BYTES, {"a": 1}, False, b'{"a":1}'),
    ],
)
def test_regression_wrong_types_went_to_asgi(kind, payload, is_text, data):
    frame = encode(payload, kind)
    assert (frame.text, frame.payload) == (is_text, data)


@pytest.mark.parametrize("kind", PayloadTypeEnum)
def test_a_lone_surrogate_has_no_encoding(kind):
    with pytest.raises(ValueError, match="surrogate"):
        encode("\ud800", kind)
