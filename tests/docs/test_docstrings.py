"""Docstrings: a function's begins with what it does, and where a name comes from stands in docs/api-index.toml alone."""

import ast
from functools import cache
from pathlib import Path

import nexios_trio

SOURCE = Path(next(iter(nexios_trio.__path__))).parent
# "What the peer is told" describes a value; "Return what the peer is told" says what the function does.
QUESTIONS = {"What", "How", "Whether", "Which", "Who", "Whom", "Whose", "Why", "Where", "When"}

Node = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@cache
def docstrings() -> list[tuple[str, Node, str]]:
    """(where, node, docstring) of everything in the package and the plugin that has one."""
    found: list[tuple[str, Node, str]] = []
    for path in sorted([*SOURCE.glob("nexios_trio/**/*.py"), *SOURCE.glob("nexios_trio_pytest/**/*.py")]):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, Node) and (text := ast.get_docstring(node)):
                found.append((f"{path.relative_to(SOURCE)}:{getattr(node, 'lineno', 1)}", node, text))
    return found


def test_functions_begin_with_what_they_do() -> None:
    found = [
        f"{where}: {text.splitlines()[0]}"
        for where, node, text in docstrings()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and text.split()[0].strip(",:;") in QUESTIONS
    ]
    assert found == []


def test_sources_are_in_the_api_index() -> None:
    assert [where for where, _, text in docstrings() if "Source: " in text] == []
