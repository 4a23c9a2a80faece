"""What an application has registered with an endpoint."""

from collections.abc import Callable, Iterable
from typing import Any

import attrs

from ..core.names import check_group_name
from ..groups.group_patterns import GroupPatterns
from .calls import Call
from .rules import Rules

__all__ = ["Connected", "Registrations"]


def _group_names(groups: Iterable[str]) -> tuple[str, ...]:
    if isinstance(groups, str):
        raise TypeError(f"groups is a list of names, not {groups!r}")
    return tuple(check_group_name(group) for group in groups)


@attrs.frozen
class Connected:
    """What `on_connect` may answer with, where a user alone says too little.

    Args:
        user: whose connection it is; None: nobody's, or the one that a middleware has found.
        data: for the client: its `connected` event has it.
        groups: that the client is subscribed to from now on, without asking.
    """

    user: Any = None
    data: Any = None
    groups: Iterable[str] = attrs.field(default=(), converter=_group_names)

    @classmethod
    def of(cls, answer: Any) -> "Connected":
        """Return what an answer means: anything else is the user."""
        return answer if isinstance(answer, Connected) else cls(answer)


@attrs.define(eq=False)
class Registrations:
    """Those of one endpoint."""

    rules: Rules
    ping_seconds: int
    connect: Call | None = None
    message: Call | None = None
    disconnect: list[Callable[..., Any]] = attrs.field(factory=list)
    publish: GroupPatterns[Call] = attrs.field(factory=GroupPatterns)
    rpcs: dict[str, Call] = attrs.field(factory=dict)
