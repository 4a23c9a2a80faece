"""Values as people read them, and tables."""

import os
from collections.abc import Sequence
from math import inf
from typing import Any, Final

import click

from ..core.overflow import Policy

__all__ = ["colored", "human", "show_table"]

_SIZES: Final = ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB"))
_TIMES: Final = ((86400, "days"), (3600, "h"), (60, "min"))


def human(value: Any, unit: str) -> str:
    """Return a setting's value; times and sizes in the largest unit that they are a whole number of: 64 KiB, 20 s."""
    match value:
        case None | bool():
            return str(value)
        case float() | int() if unit == "seconds":
            return _seconds(value)
        case int() if unit.startswith("bytes"):
            return _bytes(value) + unit.removeprefix("bytes").replace(" per second", "/s")
        case Policy():
            return value.name
        case tuple():
            return ", ".join(map(str, value)) or "none"
        case _ if callable(value):
            return str(getattr(value, "__qualname__", type(value).__qualname__))
        case _:
            return str(value)


def _seconds(value: float) -> str:
    if value == inf:
        return "never"
    for size, name in _TIMES:
        if value >= size and value % size == 0:
            return f"{value / size:g} {name}"
    return f"{value:g} s"


def _bytes(value: int) -> str:
    for size, name in _SIZES:
        if value >= size and value % size == 0:
            return f"{value // size} {name}"
    return f"{value} B"


def colored() -> bool | None:
    """For click's `color`: no colour where NO_COLOR is set, otherwise whether it is a terminal decides."""
    return False if os.environ.get("NO_COLOR") else None


def show_table(headings: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()) -> None:
    """Print a table on standard output.

    Args:
        notes: one for each row, on a line of its own below it.
    """
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    click.secho(_line(headings, widths), bold=True, color=colored())
    for index, row in enumerate(rows):
        click.echo(_line(row, widths))
        if notes:
            click.secho(f"  {notes[index]}", dim=True, color=colored())


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()
