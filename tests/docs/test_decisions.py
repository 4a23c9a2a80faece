"""The decisions are named where they are kept, and name what is there."""

import re
from pathlib import Path

import pytest

import nexios_trio

ROOT = Path(__file__).parents[2]
SOURCE = Path(next(iter(nexios_trio.__path__)))
PAGES = sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))
CODE = "\n".join(path.read_text(encoding="utf-8") for path in sorted(SOURCE.rglob("*.py")))
PARTS = ("**Question.**", "**Decided.**", "**Measured.**", "**Costs.**", "**Look again**")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def test_numbers_follow_each_other() -> None:
    assert [int(page.name[:3]) for page in PAGES] == list(range(1, len(PAGES) + 1))


@pages
def test_a_page_has_its_parts_in_order(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# {page.name[:3]}: ")
    places = [text.find(part) for part in PARTS]
    assert -1 not in places
    assert places == sorted(places)


@pages
def test_the_code_names_the_page(page: Path) -> None:
    numbers = {match for line in re.findall(r"docs/decisions/.*", CODE) for match in re.findall(r"\b(\d{3})\b", line)}
    assert page.name[:3] in numbers


def test_the_code_names_no_page_that_is_not_there() -> None:
    numbers = {match for line in re.findall(r"docs/decisions/.*", CODE) for match in re.findall(r"\b(\d{3})\b", line)}
    assert numbers <= {page.name[:3] for page in PAGES}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_modules_that_a_page_names_are_there(page: Path) -> None:
    named = set(re.findall(r"`([\w/]+\.py)`", page.read_text(encoding="utf-8")))
    places = (SOURCE, SOURCE.parent, ROOT, ROOT / "tests/documents")
    assert [name for name in sorted(named) if not any((place / name).exists() for place in places)] == []


def test_the_names_that_contributors_are_sent_to_are_there() -> None:
    """Private ones, in the table of CONTRIBUTING: they are renamed without a thought of it."""
    named = set(re.findall(r"`(_\w+)`", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))
    assert named
    assert [name for name in sorted(named) if not re.search(rf"\b{name}\b", CODE)] == []
