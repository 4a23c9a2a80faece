"""Which groups keep every message, so that whoever was away can be given what was missed."""

import re
from typing import Final

from ..core.names import MAX_NAME_LENGTH
from ..pubsub.history import HistoryLimits

__all__ = ["KeptGroups"]

_PATTERN: Final = re.compile(rf"[A-Za-z0-9_.:@*-]{{1,{MAX_NAME_LENGTH}}}")
MAX_REMEMBERED_NAMES: Final = 4096  # whose limits are known without looking


class KeptGroups:
    """Limits of groups, by patterns of their names. The first pattern that matches holds, as with routes."""

    def __init__(self) -> None:
        self.patterns: list[tuple[re.Pattern[str], HistoryLimits]] = []
        self._limits: dict[str, HistoryLimits | None] = {}

    def add(self, pattern: str, limits: HistoryLimits) -> None:
        """Keep the groups that match. Raises: TypeError, ValueError for what no name can match."""
        if not isinstance(pattern, str):
            raise TypeError(f"a pattern of group names is a str such as 'chat.*', not {type(pattern).__name__}")
        if not _PATTERN.fullmatch(pattern):
            raise ValueError(
                f"invalid pattern {pattern[:40]!a}: accepted are group names in which * stands for any characters,"
                " such as 'chat.*'"
            )
        self.patterns.append((re.compile(".*".join(map(re.escape, pattern.split("*")))), limits))
        self._limits.clear()

    def limits_of(self, group: str) -> HistoryLimits | None:
        """Return what the group keeps; None when it matches nothing."""
        try:
            return self._limits[group]
        except KeyError:
            pass
        found = next((limits for pattern, limits in self.patterns if pattern.fullmatch(group)), None)
        if len(self._limits) >= MAX_REMEMBERED_NAMES:  # names may come from peers
            self._limits.clear()
        self._limits[group] = found
        return found
