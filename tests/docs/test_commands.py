"""Every `nexios-trio` command of the documents is one that the command line takes."""

import re
import shlex
from pathlib import Path

import click
import pytest

from nexios_trio.cli import main

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
# As a line of a session, a unit, or what stands in a sentence.
COMMAND = re.compile(r"(?:^\$ |^ExecStart=\S*/|`)(?:python -m )?nexios[-_]trio (\w[^`\n]*)", re.M)
COMMANDS = [(page, found) for page in PAGES for found in COMMAND.findall(page.read_text(encoding="utf-8"))]


def parse(line: str) -> None:
    """Raise what the command would say of its arguments. Nothing is loaded."""
    name, *arguments = shlex.split(line, comments=True)
    assert isinstance(main, click.Group)
    command = main.get_command(click.Context(main), name)
    assert command is not None, f"there is no command {name}"
    command.make_parser(click.Context(command)).parse_args(arguments)


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=[f"{page.name}: {line}" for page, line in COMMANDS])
def test_a_command_of_a_page(page: Path, line: str) -> None:
    parse(line)


@pytest.mark.parametrize("line", ["run main:app --no-such-option", "serve main:app", "run main:app -b"])
def test_a_wrong_one_is_noticed(line: str) -> None:
    with pytest.raises((click.UsageError, AssertionError)):
        parse(line)


def test_there_are_some() -> None:
    assert len(COMMANDS) > 15
