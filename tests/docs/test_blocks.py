"""Every `python` fence of the documents runs; `CONTRIBUTING.md` has the rules."""

import inspect
import re
import sys
from collections.abc import Iterator
from inspect import signature
from pathlib import Path
from types import ModuleType

import pytest
from markdown_it import MarkdownIt

from nexios_trio.testing import cancel_everywhere, run

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]

# Fences that would show Python without running it.
ESCAPES = re.compile(r"(py|python3|pycon|\{(code|code-block|sourcecode|testcode|doctest)\}\s*(py.*)?)$|python\b.+")

SAVED = re.compile(r"\bSave it as `(\w+)\.py`")


def fences(text: str, offset: int = 0) -> Iterator[tuple[int, str, str]]:
    """(line where the code starts, counted from 0; info string; code), directives opened up."""
    for token in MarkdownIt().parse(text):
        if token.type != "fence" or token.map is None:
            continue
        line = offset + token.map[0] + 1
        yield line, token.info.strip(), token.content
        if token.info.startswith("{"):
            yield from fences(token.content, line)


def run_page(name: str, text: str, file: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Run the `python` fences of one page as one module; tracebacks show the page's own lines.

    What the page wants saved as `chat.py` is imported as `chat` further down, and is that module, too.
    """
    module = ModuleType(name)
    module.__file__ = file
    for each in (name, *SAVED.findall(text)):
        monkeypatch.setitem(sys.modules, each, module)
    for line, info, code in fences(text):
        if info == "python":
            exec(compile("\n" * line + code, file, "exec"), vars(module))
    return module


def run_tests(module: ModuleType) -> None:
    """Run the page's tests, as pytest with `trio_mode` would; `autojump_clock` is the one fixture."""
    for name, test in list(vars(module).items()):
        if inspect.isasyncgenfunction(test) and name.startswith("test_"):
            cancel_everywhere(test)
        elif inspect.iscoroutinefunction(test) and name.startswith("test_"):
            run(test, *signature(test).parameters)
        elif name.startswith("test_"):
            test()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_page_runs(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = page.read_text(encoding="utf-8")
    assert [(line, info) for line, info, _ in fences(text) if ESCAPES.match(info)] == []
    run_tests(run_page(f"page_{page.stem}", text, str(page), monkeypatch))


def test_blocks_of_a_page_form_one_module(monkeypatch: pytest.MonkeyPatch) -> None:
    note = "````{note}\n```python\nb = a + 1\n```\n````\n"
    text = f"# Page\n\n```python\na = 20\n```\n\n{note}\n```text\nnot Python\n```\n"
    module = run_page("page_planted", text, "planted.md", monkeypatch)
    assert module.b == 21


def test_a_wrong_block_is_caught_at_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        run_page("page_planted", "# Page\n\n```python\na = 1\na / 0\n```\n", "planted.md", monkeypatch)
    assert (caught.traceback[-1].lineno, str(caught.traceback[-1].path)[-10:]) == (4, "planted.md")


def test_a_test_that_fails_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "```python\nasync def test_planted(autojump_clock):\n    assert autojump_clock is None\n```\n"
    module = run_page("page_planted", text, "planted.md", monkeypatch)
    with pytest.raises(AssertionError):
        run_tests(module)


@pytest.mark.parametrize("info", ["py", "python3", "{code-block} python", "{code-block}", "python no-run"])
def test_a_block_that_would_not_run_is_caught(info: str) -> None:
    assert ESCAPES.match(info)


@pytest.mark.parametrize("info", ["python", "text", "console", "{literalinclude} ../examples/a.py", "{toctree}"])
def test_other_fences_are_left_alone(info: str) -> None:
    assert not ESCAPES.match(info)
