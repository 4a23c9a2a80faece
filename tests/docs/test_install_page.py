"""The install page offers what there is."""

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[2]
EXTRAS = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
MODULES = {"opentelemetry_api": "opentelemetry"}  # of packages that are imported by another name
FOR_DEVELOPERS = {"dev", "docs", "plots"}


def test_every_extra_that_is_offered_exists_and_is_used() -> None:
    page = (PROJECT / "docs/tutorial/01-install.md").read_text()
    offered = set(re.findall(r"\[(\w+)\]['`]", page))
    assert offered == set(EXTRAS) - FOR_DEVELOPERS
    source = "\n".join(path.read_text() for path in (PROJECT / "src").rglob("*.py"))
    for extra in offered:
        packages = [re.split(r"[^\w-]", requirement)[0].replace("-", "_") for requirement in EXTRAS[extra]]
        names = [MODULES.get(package, package) for package in packages]
        assert any(re.search(rf"^\s*(import|from) {name}\b", source, re.MULTILINE) for name in names), extra
