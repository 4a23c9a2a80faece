"""A file of the package fits on a few screens, a function on one."""

import ast
from pathlib import Path

import nexios_trio

SOURCE = Path(next(iter(nexios_trio.__path__)))
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 45


def test_files_are_short() -> None:
    counts = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCE.rglob("*.py")}
    assert {path.as_posix(): count for path, count in counts.items() if count > MAX_FILE_LINES} == {}


def test_functions_are_short() -> None:
    """From `def` to the last line, docstring and decorators left out."""
    found = {}
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                docstring = len(ast.get_docstring(node, clean=False).splitlines()) if ast.get_docstring(node) else 0
                if (lines := node.end_lineno - node.lineno + 1 - docstring) > MAX_FUNCTION_LINES:
                    found[f"{path.as_posix()}:{node.lineno} {node.name}"] = lines
    assert found == {}
