"""What holds for groups by patterns of their names: which keep their messages, and which keep who is present."""

import re
from typing import Final, Generic, TypeVar

from ..core.names import MAX_NAME_LENGTH, is_reserved

__all__ = ["GroupPatterns"]

T = TypeVar("T")

_PATTERN: Final = re.compile(rf"[A-Za-z0-9_.:@*-]{{1,{MAX_NAME_LENGTH}}}")
MAX_REMEMBERED_NAMES: Final = 4096  # for which it is known without looking


class GroupPatterns(Generic[T]):
    """Values by patterns of group names. The first pattern that matches holds, as with routes."""

    def __init__(self) -> None:
        self.rules: list[tuple[str, T]] = []  # as they were given
        self.patterns: list[tuple[re.Pattern[str], T]] = []
        self._found: dict[str, T | None] = {}

    def add(self, pattern: str, value: T) -> None:
        """Have it hold for the groups that match. Raises: TypeError, ValueError for what no name can match."""
        if not isinstance(pattern, str):
            raise TypeError(f"a pattern of group names is a str such as 'chat.*', not {type(pattern).__name__}")
        if not _PATTERN.fullmatch(pattern):
            raise ValueError(
                f"invalid pattern {pattern[:40]!a}: accepted are group names in which * stands for any characters,"
                " such as 'chat.*'"
            )
        self.rules.append((pattern, value))
        self.patterns.append((re.compile(".*".join(map(re.escape, pattern.split("*")))), value))
        self._found.clear()

    def of(self, group: str) -> T | None:
        """Return what holds for the group; None when it matches nothing, as the package's own groups do."""
        try:
            return self._found[group]
        except KeyError:
            pass
        found = None
        if not is_reserved(group):
            found = next((value for pattern, value in self.patterns if pattern.fullmatch(group)), None)
        if len(self._found) >= MAX_REMEMBERED_NAMES:  # names may come from peers
            self._found.clear()
        self._found[group] = found
        return found
