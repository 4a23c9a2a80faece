"""Positions of one epoch are in order; two epochs do not compare."""

from operator import ge, gt, le, lt

import pytest

from nexios_trio.core.message import Position


def test_positions_of_one_epoch_are_in_order():
    first, second = Position(1, "a"), Position(2, "a")
    assert first < second <= Position(2, "a")
    assert second > first >= Position(1, "a")
    assert not first > second
    assert sorted([second, first]) == [first, second]


@pytest.mark.parametrize("compare", [lt, le, gt, ge])
def test_positions_of_two_epochs_do_not_compare(compare):
    with pytest.raises(TypeError, match="epoch"):
        compare(Position(1, "a"), Position(2, "b"))


@pytest.mark.parametrize("compare", [lt, le, gt, ge])
def test_a_position_does_not_compare_with_anything_else(compare):
    with pytest.raises(TypeError):
        compare(Position(1, "a"), 1)


def test_equality_knows_the_epoch():
    assert Position(1, "a") == Position(1, "a") != Position(1, "b")
    assert len({Position(1, "a"), Position(1, "b"), Position(1, "a")}) == 2
