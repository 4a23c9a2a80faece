"""The index of the public API: read, resolved, and rendered as the tables of the page "From Nexios to nexios_trio"."""

import importlib
import inspect
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("api-index.toml")
NEW = "new"


def load() -> dict[str, Any]:
    return tomllib.loads(FILE.read_text(encoding="utf-8"))


def entries(index: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for topic in index["topic"]:
        yield from topic["entry"]


def names_of(entry: dict[str, Any]) -> list[str]:
    """The names of an entry, a star resolved."""
    if entry["names"] == ["*"]:
        return sorted(importlib.import_module(entry["module"]).__all__)
    return list(entry["names"])


def exists(module: str, name: str) -> bool:
    """Whether `name`, or the member in "Class.member", is there; members that are set in a method count."""
    owner = importlib.import_module(module)
    outer, _, member = name.partition(".")
    if not hasattr(owner, outer):
        return False
    if not member:
        return True
    cls = getattr(owner, outer)
    if hasattr(cls, member) or member in {key for base in cls.__mro__ for key in vars(base).get("__annotations__", {})}:
        return True
    sources = (inspect.getsource(base) for base in cls.__mro__ if base.__module__.startswith("nexios_trio."))
    return any(f"self.{member} = " in source or f"self.{member}: " in source for source in sources)


def render(index: dict[str, Any]) -> str:
    """The page's tables, as Markdown."""
    return "\n\n".join([_documents(index), *map(_topic, index["topic"])])


def _documents(index: dict[str, Any]) -> str:
    rows = [f"| {number} | {title} |" for number, title in index["documents"].items()]
    return "\n".join(["| | Nexios' page |", "|---|---|", *rows])


def _topic(topic: dict[str, Any]) -> str:
    known = [entry for entry in topic["entry"] if entry["from"] != NEW]
    new = [entry for entry in topic["entry"] if entry["from"] == NEW]
    lines = [f"## {topic['title']}"]
    if known:
        lines += ["", "| Name | From | The same | Different, and why |", "|---|---|---|---|"]
        lines += [
            f"| {_shown(entry)} | {', '.join(entry['from'])} | {entry['same']} | {_difference(entry)} |"
            for entry in known
        ]
    if new:
        lines += ["", "| New | |", "|---|---|", *(f"| {_shown(entry)} | {entry['what']} |" for entry in new)]
    return "\n".join(lines)


def _shown(entry: dict[str, Any]) -> str:
    if entry["names"] == ["*"]:
        return f"all of `{entry['module']}`"
    return ", ".join(f"`{name}`" for name in entry["names"])


def _difference(entry: dict[str, Any]) -> str:
    return f"{entry['differs']} *{entry['why']}*" if "differs" in entry else ""
