"""What the groups of an application keep, as its nodes say it at a Redis or Valkey server: for publishers past them."""

import json
import re
from collections.abc import Sequence
from typing import Any

import attrs

from ...pubsub.history import HistoryLimits
from ..base import KeptRule

__all__ = ["KeptGroups", "pack_kept", "read_kept"]


def pack_kept(rules: Sequence[KeptRule]) -> str:
    """Return rules as JSON."""
    return json.dumps([[pattern, attrs.asdict(limits)] for pattern, limits in rules])


def read_kept(data: bytes) -> "KeptGroups":
    """Read what `pack_kept` wrote; what a newer release says beside that is not looked at. Raises: ValueError."""
    known = {field.name for field in attrs.fields(HistoryLimits)}
    rows: list[tuple[str | None, dict[str, Any]]] = json.loads(data)
    return KeptGroups(
        [(pattern, HistoryLimits(**{k: v for k, v in limits.items() if k in known})) for pattern, limits in rows]
    )


class KeptGroups:
    """Limits by groups. Raises: ValueError for rules that are none."""

    def __init__(self, rules: Sequence[KeptRule]) -> None:
        self._saved = next((limits for pattern, limits in rules if pattern is None), None)
        self._patterns = [
            (re.compile(".*".join(map(re.escape, pattern.split("*")))), limits)
            for pattern, limits in rules
            if pattern is not None
        ]

    def limits_of(self, group: str, is_saved: bool) -> HistoryLimits | None:
        """Return within which limits a message is kept; None: not at all.

        Args:
            is_saved: it asks for that.
        """
        found = next((limits for pattern, limits in self._patterns if pattern.fullmatch(group)), None)
        return self._saved if found is None and is_saved else found
