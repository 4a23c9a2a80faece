"""The import graph of the package: imports go to the left, the pure packages are, nothing goes in a circle.

Every import statement counts, also inside a function and under `TYPE_CHECKING`.
"""

import ast
import graphlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import nexios_trio

PACKAGE = "nexios_trio"
SOURCE = Path(next(iter(nexios_trio.__path__)))

# From left to right. The cells of one layer do not know each other; the names in one cell do.
LAYERS: tuple[tuple[set[str], ...], ...] = (
    ({"exceptions", "status", "logs", "asgi_types"},),
    ({"core"},),
    ({"config"}, {"protocol"}, {"pubsub"}),
    ({"transports"}, {"engines"}),
    ({"groups"}, {"publisher"}),
    ({"connections"},),
    ({"channels"}, {"middleware"}, {"validation"}, {"observability"}),
    ({"routing", "http"},),
    ({"consumer"}, {"realtime"}),
    ({"websockets"},),
    ({"application"},),
    ({"server", "serving"}, {"testing"}),
    ({"cli"},),
    ({"__main__"},),
)
# name -> (rank of its layer, its cell)
PLACES = {name: (rank, cell) for rank, layer in enumerate(LAYERS) for cell in layer for name in cell}

# Decisions and data: no trio, no I/O, no clock.
PURE = ("core", "config", "protocol", "pubsub", "realtime.protocol")
PURE_LIBRARIES = {"attr", "attrs", "orjson", "websockets"}
# The parts of the standard library that do I/O, wait, read a clock or start something.
PURE_FORBIDDEN = {
    *(
        "asyncio",
        "concurrent",
        "http",
        "io",
        "logging",
        "multiprocessing",
        "os",
        "pathlib",
        "sched",
        "select",
    ),
    *("selectors", "signal", "socket", "ssl", "subprocess", "tempfile", "threading", "time", "urllib"),
}


def read_package() -> dict[str, str]:
    """Module name -> source text, for every module of the package."""
    modules = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = [PACKAGE, *path.relative_to(SOURCE).with_suffix("").parts]
        modules[".".join(parts).removesuffix(".__init__")] = path.read_text(encoding="utf-8")
    return modules


def imports(name: str, modules: dict[str, str]) -> Iterator[tuple[int, str]]:
    """(line, imported module) for every import statement of one module, absolute."""
    is_package = any(other.startswith(f"{name}.") for other in modules)
    for node in ast.walk(ast.parse(modules[name])):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                levels = node.level - is_package
                base = name.split(".")[: -levels or None]
                source = ".".join([*base, source]).rstrip(".")
            for alias in node.names:
                member = f"{source}.{alias.name}"
                yield node.lineno, member if member in modules else source


def place(name: str) -> tuple[int, set[str]]:
    """The rank and the cell of a module of the package; the façade stands to the right of everything."""
    if name == PACKAGE:
        return len(LAYERS), {PACKAGE}
    part = name.split(".")[1]
    if part not in PLACES:
        raise LookupError(f"{name} has no layer yet: give {part!r} its place in LAYERS")
    return PLACES[part]


def bad_imports(modules: dict[str, str]) -> list[str]:
    """One line for each import that goes to the right or across."""
    found = []
    for name in modules:
        rank, cell = place(name)
        for line, target in imports(name, modules):
            if target.split(".")[0] != PACKAGE:
                continue
            target_rank, target_cell = place(target)
            if target_rank > rank or (target_rank == rank and target_cell is not cell):
                found.append(f"{name}:{line} imports {target}, which is not to its left")
            elif name != PACKAGE and target == PACKAGE:
                found.append(f"{name}:{line} imports the façade")
    return found


def impure_imports(modules: dict[str, str]) -> list[str]:
    """One line for each import in a pure package that brings in trio, I/O or a clock."""
    found = []
    for name in modules:
        if not f"{name}.".startswith(tuple(f"{PACKAGE}.{pure}." for pure in PURE)):
            continue
        for line, target in imports(name, modules):
            top = target.split(".")[0]
            known = top in sys.stdlib_module_names or top in PURE_LIBRARIES or top == PACKAGE
            if top in PURE_FORBIDDEN or not known:
                found.append(f"{name}:{line} imports {target}, but this package is pure")
    return found


def cycle(modules: dict[str, str]) -> list[str]:
    """The modules of one import cycle, or nothing."""
    graph = {name: {t for _, t in imports(name, modules) if t in modules} for name in modules}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def test_imports_go_to_the_left() -> None:
    assert bad_imports(read_package()) == []


def test_pure_packages_are_pure() -> None:
    assert impure_imports(read_package()) == []


def test_no_cycles() -> None:
    assert cycle(read_package()) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("core.messages", "from nexios_trio.websockets import channels"),
        ("core.messages", "def f():\n    import nexios_trio.transports.asgi"),
        (
            "core.messages",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from nexios_trio import cli",
        ),
        ("core.messages", "from ..application import NexiosApp"),
        ("engines.memory", "from nexios_trio.transports import base"),
        ("websockets.base", "from nexios_trio import NexiosApp"),
        ("serving.drain", "import nexios_trio.testing"),
    ],
)
def test_a_planted_import_is_caught(name: str, text: str) -> None:
    modules = read_package()
    planted = modules | {f"{PACKAGE}.{name}": text}
    new = set(bad_imports(planted)) - set(bad_imports(modules))
    assert len(new) == 1
    assert new.pop().startswith(f"{PACKAGE}.{name}:")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cli", "from nexios_trio.serving import run"),
        ("routing", "from nexios_trio import http, status"),
        ("transports.direct", "from nexios_trio.core.message import Frame\nimport trio"),
        ("websockets.channels", "from . import base\nfrom ..core import groups"),
    ],
)
def test_a_good_import_passes(name: str, text: str) -> None:
    names = ("http", "status", "core", "core.groups", "websockets", "websockets.base")
    modules = {f"{PACKAGE}.{other}": "" for other in names}
    assert bad_imports(modules | {f"{PACKAGE}.{name}": text}) == []


@pytest.mark.parametrize(
    "text", ["import trio", "from time import monotonic", "import socket", "import hypercorn.config"]
)
@pytest.mark.parametrize("package", ["core", "realtime.protocol"])
def test_a_planted_impurity_is_caught(package: str, text: str) -> None:
    assert len(impure_imports({f"{PACKAGE}.{package}.planted": text})) == 1


def test_a_planted_cycle_is_caught() -> None:
    planted = {
        f"{PACKAGE}.core.a": "from nexios_trio.core.b import B",
        f"{PACKAGE}.core.b": "from nexios_trio.core import c",
        f"{PACKAGE}.core.c": "def late():\n    from . import a",
        f"{PACKAGE}.core": "",
    }
    assert {name.split(".")[-1] for name in cycle(planted)} == {"a", "b", "c"}


def test_a_new_module_needs_a_place() -> None:
    with pytest.raises(LookupError, match="give 'attic' its place in LAYERS"):
        bad_imports({f"{PACKAGE}.attic": ""})
