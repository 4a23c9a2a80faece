"""The counts of `make faults` see what they are there for."""

import pytest

from nexios_trio.core.position import Position
from tests.faults.count import Came, Member, Sent, count


def sent(number: int, epoch: str = "a", **more: object) -> Sent:
    return Sent(1, number, "group", Position(number, epoch), tries=1, known_at=number, **more)


def member(*numbers: int | str) -> Member:
    """One that was given these; "gap 2" is a gap after 2, "back" a return without everything."""
    made = Member("member", "group")
    for number in numbers:
        if isinstance(number, int):
            made.add(Came(1, number, Position(number, "a")))
        elif number == "back":
            made.add_return(made.size, False, 0)
        else:
            after = int(number.split()[1])
            made.add_gap(f"a:{after}", f"a:{after + 2}", 0)
    return made


SENT = [sent(number) for number in range(1, 6)]


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ((1, 2, 3, 4, 5), {}),
        ((1, 2, 4, 5), {"silent": 1}),
        ((1, 2, 3, 4), {"silent": 1}),
        ((), {"silent": 5}),
        ((1, 2, 3, 3, 4, 5), {"doubled": 1, "misordered": 1}),
        ((1, 3, 2, 4, 5), {"misordered": 2}),
        ((1, 2, "gap 2", 5), {"announced": 1}),
        ((1, 2, "gap 2", 3, 5), {"announced": 1, "silent": 1}),
        ((1, 2, 5, "gap 2"), {"announced": 1}),  # its notice is late
        (("gap 0", 3, 5), {"announced": 1, "silent": 1}),
        ((1, "back", 4, 5), {"announced": 1}),
        ((1, "gap 1", "gap 1", 4, 5), {"announced": 2, "retold": 1}),
    ],
)
def test_what_is_wrong_is_counted(given, wrong):
    result = count([member(*given)], SENT)
    found = {
        name: getattr(result, name)
        for name in ("silent", "doubled", "misordered", "announced", "retold")
        if getattr(result, name)
    }
    assert found == wrong
    assert result.is_sound is not bool(set(wrong) - {"announced"})


def test_what_is_not_known_is_counted_apart():
    fates = [sent(1), Sent(1, 2, "group", None, tries=2), Sent(1, 3, "group", None, tries=1, is_refused=True), sent(4)]
    assert str(count([member(1, 4)], fates)).endswith("unknown 1 refused 1 phantom 0 retold 0")
    assert count([member(1, 4, 2)], fates).misordered == 1  # by its position; by its number it may be late
    assert count([member(1, 3, 4)], fates).phantom == 1


def test_members_have_the_same_message_at_one_position():
    other = member(1, 2, 3, 4)
    other.add(Came(2, 1, Position(5, "a")))
    assert count([member(1, 2, 3, 4, 5), other], [*SENT, Sent(2, 1, "group", Position(5, "a"), 1)]).misordered == 1


def test_a_notice_is_about_what_was_there_when_it_came():
    """What is left of it comes first: the hole is behind the notice."""
    late = Member("member", "group")
    late.add(Came(1, 1, Position(1, "a")))
    late.add_gap("a:1", "b:1", 3.5)
    late.add(Came(1, 2, Position(2, "b")))
    assert count([late], [sent(1), sent(2), sent(3)]).silent == 0
    assert count([late], [sent(1), sent(2), sent(4)]).silent == 1
