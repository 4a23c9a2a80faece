"""What the ways not taken cost can be measured, and each has its page."""

from pathlib import Path

import attrs
import pytest

from benchmarks import alternatives
from benchmarks.alternatives import CHOICES, measured, table

PAGES = Path(__file__).parents[2] / "docs/decisions"


def test_every_choice_has_its_page() -> None:
    for choice in CHOICES:
        assert len(list(PAGES.glob(f"{choice.decision}-*.md"))) == 1


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: f"{choice.decision} {choice.unit}")
def test_both_sides_can_be_measured(choice: alternatives.Choice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alternatives, "MEMBERS", 3)
    monkeypatch.setattr(alternatives, "OBJECTS", 20_000)
    assert choice.taken[1]() >= 0.0
    assert choice.other[1]() > 0.0


def test_the_table_shows_both_and_their_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    choice = attrs.evolve(CHOICES[0], taken=("so", lambda: 0.5), other=("not so", lambda: 2.0))
    monkeypatch.setattr(alternatives, "CHOICES", (choice,))
    cells = [cell.strip() for cell in table(measured(rounds=1)).splitlines()[2].split("|")[1:-1]]
    assert cells == ["001", choice.unit, "so", "0.50", "not so", "2.00", "4.0"]
