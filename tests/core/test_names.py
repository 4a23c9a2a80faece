"""Group names: what passes, what does not, and that an error says what would."""

import enum
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexios_trio.core.names import MAX_NAME_LENGTH, _checked, check_group_name

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:@-"


class Room(str, enum.Enum):
    LOBBY = "lobby"


@given(st.text(ALPHABET, min_size=1, max_size=MAX_NAME_LENGTH))
def test_every_name_of_the_alphabet_is_accepted_unchanged(name):
    assert check_group_name(name) == name


@given(st.text(max_size=3) | st.text(max_size=150))
def test_accepted_exactly_if_ascii_alphabet_and_length(name):
    valid = 1 <= len(name) <= MAX_NAME_LENGTH and set(name) <= set(ALPHABET)
    if valid:
        assert check_group_name(name) == name
    else:
        with pytest.raises(ValueError, match=r"1 to 100 characters of A-Z a-z 0-9 _ \. : @ -"):
            check_group_name(name)


@pytest.mark.parametrize("name", ["", "room\n", "room ", "a/b", "raum-ü", "٣", "a" * 101, "\x00", "{a}", "\ud800"])
def test_refused_each_time(name):
    for _ in range(2):  # a failure is not cached as a success
        with pytest.raises(ValueError, match="invalid group name"):
            check_group_name(name)


@pytest.mark.parametrize("name", [None, 7, b"room", ["room"], {"room"}])
def test_a_wrong_type_is_named(name):
    with pytest.raises(ValueError, match=f"not {type(name).__name__}"):
        check_group_name(name)


def test_an_enum_member_becomes_its_value():
    _checked.cache_clear()
    assert type(check_group_name(Room.LOBBY)) is str
    assert check_group_name(Room.LOBBY) == "lobby"


def test_an_error_repeats_only_the_beginning_and_only_ascii():
    with pytest.raises(ValueError) as caught:
        check_group_name("\x1b[31m" + "ü" * 100_000)
    assert len(str(caught.value)) < 500
    assert re.fullmatch(r"[ -~]*", str(caught.value))


def test_the_cache_is_bounded():
    for number in range(10_000):
        check_group_name(f"room.{number}")
    assert _checked.cache_info().currsize <= 4096
