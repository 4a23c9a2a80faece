"""Who may do what with which groups. Where nothing says yes, the answer is no."""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal

import attrs

from ..groups.group_patterns import GroupPatterns

__all__ = ["Action", "AuthorizeRealtime", "GroupRules", "Rule", "Rules", "check_rule"]

Action = Literal["subscribe", "publish", "presence", "history"]
ACTIONS: Final[tuple[Action, ...]] = ("subscribe", "publish", "presence", "history")

# (client, group) -> whether it may; or the answer for everybody.
Rule = bool | Callable[[Any, str], bool | Awaitable[bool]]
# (client, group, action) -> whether it may
AuthorizeRealtime = Callable[[Any, str, Action], bool | Awaitable[bool]]


@attrs.frozen
class GroupRules:
    """What holds for the groups of one pattern; None: ask the endpoint's `authorize`."""

    subscribe: Rule | None = None
    publish: Rule | None = None
    presence: Rule | None = None
    history: Rule | None = None


class Rules:
    """Those of one endpoint.

    Args:
        authorize: asked where no pattern has a rule; None for no.
    """

    def __init__(self, authorize: AuthorizeRealtime | None) -> None:
        self._authorize = authorize
        self._patterns: GroupPatterns[GroupRules] = GroupPatterns()

    def add(self, pattern: str, rules: GroupRules) -> None:
        """Have these hold for the groups that match, unless a pattern that was added before does."""
        self._patterns.add(pattern, rules)

    async def allow(self, client: Any, group: str, action: Action) -> bool:
        """Tell whether a client may. Anything but True is a no, and so is what fails.

        A checkpoint where the rule is asynchronous. Raises: what the rule raises.
        """
        found = self._patterns.of(group)
        rule: Rule | None = None if found is None else getattr(found, action)
        answer: object
        if rule is None:
            answer = self._authorize is not None and self._authorize(client, group, action)
        else:
            answer = rule(client, group) if callable(rule) else rule
        if inspect.isawaitable(answer):
            answer = await answer
        return answer is True


def check_rule(action: Action, rule: Any) -> Rule | None:
    """Raises: TypeError for what is no rule."""
    if rule is None or isinstance(rule, bool) or callable(rule):
        return rule  # type: ignore[no-any-return]
    raise TypeError(f"{action} is True, False or a function (client, group) -> bool, not {rule!r}")
