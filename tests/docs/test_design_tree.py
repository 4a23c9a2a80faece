"""docs/guides/design.md shows every folder and module of the package, and the layers that the layer test holds."""

import ast
import re
from functools import cache
from pathlib import Path

import nexios_trio
from tests.test_layers import LAYERS

ROOT = Path(__file__).parents[2]
SOURCE = Path(next(iter(nexios_trio.__path__)))
DESIGN = (ROOT / "docs/guides/design.md").read_text(encoding="utf-8")

# What modules were called before they had a name of their field.
METAPHORS = {"roster", "attachment", "interposed", "farewell", "survival", "remains", "lane", "relay", "witness"}
METAPHORS |= {"guest", "inside", "stuck"}


def shown() -> list[tuple[str, str]]:
    """(path below the package, what it is) of each line of the page's tree."""
    fence = re.search(r"^```text\nnexios_trio/\n(.*?)^```", DESIGN, re.MULTILINE | re.DOTALL)
    assert fence is not None, "the page shows a tree that begins with nexios_trio/"
    entries: list[tuple[str, str]] = []
    folders: list[str] = []
    for line in fence[1].splitlines():
        match = re.fullmatch(r"((?:  )+)([\w.]+/?)(?: +(.+))?", line)
        assert match is not None, f"not a line of the tree: {line!r}"
        depth = len(match[1]) // 2
        del folders[depth - 1 :]
        entries.append(("".join(folders) + match[2], match[3] or ""))
        if match[2].endswith("/"):
            folders.append(match[2])
    return entries


@cache
def on_disk() -> dict[str, str]:
    """Path below the package -> the first line of its docstring, of each folder and module. `__init__.py` is its folder."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE).as_posix().removesuffix("__init__.py")
        if name:
            found[name] = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]
    return found


def test_every_folder_and_module_has_its_line() -> None:
    found, listed = on_disk(), [path for path, _ in shown()]
    missing = [f"{path}  {found[path]}" for path in found if path not in listed]
    extra = [path for path in listed if path not in found]
    assert (missing, extra) == ([], []), "lines missing from, or not to be in, the tree of docs/guides/design.md"
    assert len(set(listed)) == len(listed)


def test_every_line_says_what_it_is() -> None:
    assert [path for path, what in shown() if not what] == []


def test_the_layers_are_those_of_the_layer_test() -> None:
    """A row is a layer; a dot stands between names that do not know each other, a comma between those that may."""
    table = re.search(r"^\| Layer \|.*\n\|---\|.*\n((?:\|.*\n)+)", DESIGN, re.MULTILINE)
    assert table is not None
    rows = [
        [set(re.findall(r"`(\w+)`", cell)) for cell in row.split("|")[1].split("·")] for row in table[1].splitlines()
    ]
    assert rows == [list(layer) for layer in LAYERS]


def test_modules_have_names_of_the_field() -> None:
    parts = {part for path in on_disk() for part in path.removesuffix(".py").strip("/").split("/")}
    assert parts & METAPHORS == set()
