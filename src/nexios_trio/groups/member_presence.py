"""Which members of groups are present: what a policy says, and what the engine is told of them."""

import math
from collections.abc import Callable
from typing import Any, Final

import attrs

from ..core.json import JsonDefault, decode_json, encode_json
from ..core.names import check_group_name
from ..engines.presence import PresenceEdit
from ..exceptions import LifecycleError
from .box_member import BoxMember
from .group_patterns import GroupPatterns
from .presence_node import PresenceNode

__all__ = ["MAX_INFO_BYTES", "InfoOf", "MemberPresence", "PresencePolicy", "decode_info"]

MAX_INFO_BYTES: Final = 4096  # of JSON, for each connection in each group
MAX_INFO_DEPTH: Final = 300  # of what was encoded here

# Gives what is to be known of a connection that joins: something for JSON, or None.
InfoOf = Callable[[Any], Any]


@attrs.frozen
class PresencePolicy:
    """What holds for groups whose presence is kept."""

    pattern: str
    grace: float  # seconds
    info: InfoOf | None


class MemberPresence:
    """Owned by a box that has such a policy.

    Args:
        node: tells the engine.
        json_default: the box's, which may change.
    """

    def __init__(self, node: PresenceNode, json_default: Callable[[], JsonDefault | None]) -> None:
        self.node = node
        self.policies: GroupPatterns[PresencePolicy] = GroupPatterns()
        self.counts: dict[str, int] = {}  # pattern -> memberships of this node that are present by it
        self._json_default = json_default

    def add(self, pattern: str, grace: float, lease: float, info: InfoOf | None) -> None:
        """Keep the presence of the groups that match. Raises: TypeError, ValueError."""
        if _seconds("grace", grace) < 0:
            raise ValueError(f"grace is 0 seconds or more, not {grace!r}")
        if _seconds("lease", lease) <= 0:
            raise ValueError(f"lease is more than 0 seconds, not {lease!r}")
        if info is not None and not callable(info):
            raise TypeError(f"info is a function (channel) -> something for JSON, or None, not {info!r}")
        self.policies.add(pattern, PresencePolicy(pattern, grace, info))
        self.counts.setdefault(pattern, 0)
        self.node.lease = min(self.node.lease, lease)

    def check_kept(self, group: str) -> str:
        """Return the name of a group whose presence is kept. Raises: ValueError, LifecycleError."""
        check_group_name(group)
        if self.policies.of(group) is None:
            raise LifecycleError(f"nobody keeps the presence of group {group!r}: {HOW_TO_KEEP}")
        return group

    def prepare(self, channel: BoxMember, group: str) -> PresenceEdit | None:
        """Return what is to be said of a channel that is about to join; None where nothing is kept.

        Raises: ValueError, and what the policy's function raises.
        """
        policy = self.policies.of(group)
        if policy is None:
            return None
        info = None if policy.info is None else policy.info(channel)
        return PresenceEdit(group, str(channel.uuid), True, channel.user_key, self._encode(info), policy.grace)

    def enter(self, edit: PresenceEdit) -> None:
        """Say that a channel has joined a group. `left` must follow."""
        self._count(edit.group, 1)
        self.node.enter(edit)

    def left(self, channel: BoxMember, group: str) -> None:
        """Say that a channel has left a group. A no-op where nothing is kept."""
        if self.node.entries and self.node.leave(group, str(channel.uuid)):
            self._count(group, -1)

    def _count(self, group: str, change: int) -> None:
        policy = self.policies.of(group)
        assert policy is not None  # a pattern that matches does so for ever
        self.counts[policy.pattern] += change

    def update(self, channel: BoxMember, group: str, info: Any) -> None:
        """Say something else of a channel that is present. Raises: ValueError, LifecycleError."""
        edit = self.node.entries.get((self.check_kept(group), str(channel.uuid)))
        if edit is None:
            raise LifecycleError(f"channel {channel.uuid} is not present in group {group!r}: it joins first")
        self.node.enter(attrs.evolve(edit, info=self._encode(info)))

    def _encode(self, info: Any) -> str:
        if info is None:
            return ""
        data = encode_json(info, self._json_default())
        if len(data) > MAX_INFO_BYTES:
            raise ValueError(f"the info of a presence has at most {MAX_INFO_BYTES} bytes of JSON, not {len(data)}")
        return data.decode()


def decode_info(info: str) -> Any:
    """Return what was said of a connection; None for nothing."""
    return decode_json(info, MAX_INFO_DEPTH) if info else None


def _seconds(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is a number of seconds, not {type(value).__name__}")
    if not math.isfinite(value):
        raise ValueError(f"{name} is a number of seconds, not {value!r}")
    return value


HOW_TO_KEEP: Final = 'name it with box.keep_presence("room.*"), where the application is made'
