"""What a tree of routers comes to, laid out flat: one row for each route, in the order of registration.

A table is built when it is first needed after a change of the tree. A search looks up literal paths in a dict and tries
the patterns registered before the hit, so the first registered row wins, whatever its kind.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar

from .paths import PathPattern

__all__ = ["Table"]

Row = TypeVar("Row")


class Table(Generic[Row]):
    """Rows by path."""

    __slots__ = ("_literals", "_patterns", "rows")

    def __init__(self, rows: Sequence[tuple[PathPattern, Row]]) -> None:
        self.rows: tuple[Row, ...] = tuple(row for _, row in rows)
        self._patterns: list[tuple[int, PathPattern]] = []
        self._literals: defaultdict[str, list[int]] = defaultdict(list)  # indices of rows, ascending
        for index, (pattern, _) in enumerate(rows):
            if pattern.literal is not None:
                self._literals[pattern.literal].append(index)
            else:
                self._patterns.append((index, pattern))

    def matches(self, path: str) -> Iterator[tuple[Row, dict[str, Any]]]:
        """Yield the rows whose path matches, with their parameters, in order of registration."""
        literals = self._literals.get(path, ())
        done = 0
        for index, pattern in self._patterns:
            while done < len(literals) and literals[done] < index:
                yield self.rows[literals[done]], {}
                done += 1
            params = pattern.match(path)
            if params is not None:
                yield self.rows[index], params
        for index in literals[done:]:
            yield self.rows[index], {}
