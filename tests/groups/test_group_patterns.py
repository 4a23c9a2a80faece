"""Groups that keep every message: chosen by patterns of their names."""

import pytest

from nexios_trio.groups.group_patterns import MAX_REMEMBERED_NAMES, GroupPatterns
from nexios_trio.pubsub.history import HistoryLimits

FEW, MANY = HistoryLimits(max_messages=3), HistoryLimits(max_messages=30)


def test_a_star_stands_for_any_characters():
    kept = GroupPatterns()
    kept.add("chat.*", FEW)
    kept.add("*:log", MANY)
    found = {name: kept.of(name) for name in ("chat.", "chat.a.b", "chatx", "a:log", "log", "my.chat.a")}
    assert found == {"chat.": FEW, "chat.a.b": FEW, "chatx": None, "a:log": MANY, "log": None, "my.chat.a": None}


def test_the_first_pattern_holds_and_later_ones_are_seen():
    kept = GroupPatterns()
    kept.add("chat.lobby", FEW)
    assert kept.of("chat.a") is None
    kept.add("chat.*", MANY)
    assert (kept.of("chat.a"), kept.of("chat.lobby")) == (MANY, FEW)


@pytest.mark.parametrize(
    ("pattern", "error"),
    [(None, TypeError), ("", ValueError), ("chat ?", ValueError), ("x" * 101, ValueError), ("a\n", ValueError)],
)
def test_a_pattern_that_no_name_can_match_is_refused(pattern, error):
    with pytest.raises(error, match="pattern"):
        GroupPatterns().add(pattern, FEW)


def test_names_of_peers_do_not_fill_the_memory():
    kept = GroupPatterns()
    kept.add("chat.*", FEW)
    for number in range(2 * MAX_REMEMBERED_NAMES + 7):
        kept.of(f"chat.{number}")
    assert len(kept._found) <= MAX_REMEMBERED_NAMES
    assert kept.of("chat.0") is FEW
