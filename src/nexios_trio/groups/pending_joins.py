"""Joins that wait for the engine to watch their group: nobody awaits them."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Final

from ..core.lifecycle import Cause, End
from ..engines.base import Receipt
from ..exceptions import NexiosError, QuotaExceeded
from .box_member import BoxMember
from .engine_client import EngineClient, Watch

__all__ = ["PendingJoins"]

logger = logging.getLogger("nexios_trio.box")

CANNOT_JOIN: Final = End.of(Cause.GAP, "a group cannot be joined now", 1013)

Join = Callable[[BoxMember, str], object]


class PendingJoins:
    """Those of one box.

    Invariant: a channel is here with a group, or in the group, or neither.
    """

    def __init__(self) -> None:
        # By channel and name. Read from outside, for speed; changed here alone.
        self.groups: dict[BoxMember, dict[str, tuple[EngineClient, Watch]]] = {}

    def of(self, channel: BoxMember) -> frozenset[str]:
        """Return the groups that it is about to join."""
        return frozenset(self.groups.get(channel, ()))

    def begin(self, client: EngineClient, channel: BoxMember, group: str, join: Join) -> None:
        """Call `join` as soon as the group is watched; or end its connection, with 1013 where it cannot be."""
        watch = client.begin_joining(group)
        self.groups.setdefault(channel, {})[group] = client, watch
        settled = partial(self._settled, channel, group, watch, channel.identity, join)
        if watch.receipt.is_settled:
            settled(watch.receipt)
        else:
            watch.receipt.then(settled)

    def discard(self, channel: BoxMember, group: str) -> bool:
        """Do not join; False where nothing is pending."""
        groups = self.groups.get(channel, {})
        if group not in groups:
            return False
        client, watch = groups.pop(group)
        if not groups:
            del self.groups[channel]
        client.end_joining(group, watch)
        return True

    def discard_all(self, channel: BoxMember) -> None:
        """Join nothing that is pending."""
        for group in self.of(channel):
            self.discard(channel, group)

    def _settled(
        self, channel: BoxMember, group: str, watch: Watch, identity: object, join: Join, receipt: Receipt
    ) -> None:
        """The engine watches the group, or cannot. Called by the engine: nothing is raised."""
        pending = self.groups.get(channel, {}).get(group)
        if pending is None or pending[1] is not watch:
            return
        try:
            if receipt.error is not None:
                logger.warning("a channel could not join group %s: %s", group, receipt.error)
                channel.fail_join(CANNOT_JOIN)
            elif channel.identity is identity:
                join(channel, group)
        except QuotaExceeded as error:  # the user's other channels have joined meanwhile
            logger.warning("channel %s does not join group %s: %s", channel.uuid, group, error)
            channel.fail_join(End.of(Cause.RATE_LIMITED, error.reason))
        except NexiosError as error:  # it is over, or has expired, meanwhile
            logger.info("channel %s does not join group %s: %s", channel.uuid, group, error)
        except Exception:
            logger.exception("channel %s could not join group %s", channel.uuid, group)
        finally:
            self.discard(channel, group)
