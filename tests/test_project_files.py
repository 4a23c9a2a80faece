"""What contributors and machines read about the project says the same as the project."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import nexios_trio

ROOT = Path(__file__).parents[1]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
YAML = [ROOT / ".pre-commit-config.yaml", *sorted((ROOT / ".github").rglob("*.yml"))]


def targets(documented: bool) -> set[str]:
    """The Makefile's targets; the documented ones are those that `make help` lists."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z-]+):(?!=)" + (r".*## " if documented else ""), text, re.MULTILINE))


def commands(text: str) -> set[str]:
    """The targets of every `make ...` in code, inline or in a `console` fence."""
    return set(re.findall(r"(?:`|\$ |^)make ([a-z-]+)", text, re.MULTILINE))


@pytest.mark.parametrize(
    "file", ["CONTRIBUTING.md", "README.md", "SECURITY.md", "docs/releasing.md", "docs/guides/performance.md"]
)
def test_commands_are_targets(file: str) -> None:
    named = commands((ROOT / file).read_text(encoding="utf-8"))
    assert named
    assert named - targets(documented=True) == set()


def test_every_target_is_explained_to_contributors() -> None:
    assert targets(documented=True) - commands(CONTRIBUTING) - {"help"} == set()


def test_every_target_is_phony_or_a_file() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert phony is not None
    assert targets(documented=False) == set(phony[1].split())


@pytest.mark.parametrize("file", YAML, ids=lambda path: path.name)
def test_yaml_is_valid_and_names_no_address(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert isinstance(yaml.safe_load(text), dict)
    assert "://" not in text


def test_the_workflow_runs_on_every_python_that_is_claimed() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8"))
    tested = workflow["jobs"]["test"]["strategy"]["matrix"]["python"]
    prefix = "Programming Language :: Python :: 3."
    classifiers = PYPROJECT["project"]["classifiers"]
    claimed = [name.rpartition(" ")[2] for name in classifiers if name.startswith(prefix)]
    assert tested == claimed
    assert PYPROJECT["project"]["requires-python"] == f">={claimed[0]}"


def test_hooks_run_tools_of_the_environment() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    tools = {re.split(r"\W", requirement)[0] for requirement in PYPROJECT["project"]["optional-dependencies"]["dev"]}
    for repository in config["repos"]:
        for hook in repository["hooks"]:
            program = hook["entry"].split()[0]
            assert program.startswith(".venv/bin/")
            assert program.rpartition("/")[2] in tools


def test_the_version_is_one() -> None:
    assert PYPROJECT["project"]["version"] == nexios_trio.__version__


def test_addresses_are_all_placeholders_or_none() -> None:
    """A release with one real address and four placeholders would be one that somebody forgot."""
    addresses = PYPROJECT["project"]["urls"].values()
    assert len({"placeholder" in address for address in addresses}) == 1
    assert len(set(addresses)) == len(addresses)


def test_fragments_are_of_the_kinds_that_their_guide_names() -> None:
    kinds = {kind["directory"] for kind in PYPROJECT["tool"]["towncrier"]["type"]}
    guide = (ROOT / "changes/README.md").read_text(encoding="utf-8")
    line = re.search(r"^- `KIND`: (.*)\.$", guide, re.MULTILINE)
    assert line is not None
    assert set(re.findall(r"`(\w+)`", line[1])) == kinds
