"""The glossary has each word once, and its words for code are in the code."""

import ast
import re
from pathlib import Path

import nexios_trio

ROOT = Path(__file__).parents[2]
SOURCE = Path(next(iter(nexios_trio.__path__)))
GLOSSARY = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")


def words() -> list[str]:
    """The first column of every table, as it is written."""
    rows = re.findall(r"^\| ([^|]+?) \|", GLOSSARY, re.MULTILINE)
    return [word for cell in rows if cell != "Word" for word in cell.split(", ")]


def names() -> set[str]:
    """Every name that the package defines, gives a value or takes as a parameter, without leading underscores."""
    found: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                    found.add(name.lstrip("_"))
                case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                    found.add(name.lstrip("_"))
    return found


def test_every_word_is_there_once() -> None:
    listed = words()
    assert len(listed) > 50
    assert sorted(word for word in set(listed) if listed.count(word) > 1) == []


def test_words_for_code_are_in_the_code() -> None:
    """A word in `backticks` is the name of something; whoever renames that, or drops it, changes its line."""
    code = {word.strip("`") for word in words() if word.startswith("`")}
    assert len(code) > 10
    assert code - names() == set()
