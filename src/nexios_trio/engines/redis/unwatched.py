"""What publishers of this node were told of groups that it does not watch: it may be the only one that knows.

After a restart or a fail-over that has lost the last messages, the nodes that watch a group may have seen no more than
what is left, and notice nothing. Whoever has told a publisher of more makes a mark (`scripts`).
"""

from collections import OrderedDict
from functools import partial
from typing import Any, Final

from ...core.message import Position
from ...exceptions import EngineError
from .client import Reach, RedisClient
from .keys import LIFE_MS, RedisKeys
from .repair import MARKED

__all__ = ["Unwatched"]

MAX_GROUPS: Final = 10_000
UNCHECKED: Final = ""  # no server's run id


class Unwatched:
    """Owned by an engine."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self.keys = RedisKeys("")
        self._positions: OrderedDict[str, Position] = OrderedDict()  # the newest last
        self._run_id = UNCHECKED

    def note(self, group: str, position: Position) -> None:
        """Publishers, or members, were given that."""
        before = self._positions.get(group)
        if before is not None and before.epoch == position.epoch and before > position:
            return
        self._positions[group] = position
        self._positions.move_to_end(group)
        if len(self._positions) > MAX_GROUPS:
            self._positions.popitem(last=False)

    def check(self, reach: Reach) -> None:
        """There is a new link: unless it is to the same run of one server, look what that has."""
        server = self._client.server
        if server is not None and server.run_id == self._run_id:
            return
        self._run_id = UNCHECKED if server is None else server.run_id
        for group, position in list(self._positions.items()):
            if not reach(self.keys.channel(group)):
                continue
            args = (self.keys.nonce, LIFE_MS, position.epoch, position.offset, 0, 0)
            self._client.run_script("history", self.keys.of_group(group), args, partial(self._checked, group, position))

    def _checked(self, group: str, position: Position, answer: Any) -> None:
        if isinstance(answer, EngineError):
            self._run_id = UNCHECKED
            return
        epoch, _, _, goes_on, _, fork = answer[:6]
        if self._positions.get(group) != position:
            return
        if goes_on:
            self._positions[group] = Position(position.offset, bytes(epoch).decode())
            return
        del self._positions[group]
        if fork == MARKED:
            return
        meta, _ = self.keys.of_group(group)
        self._client.run_script("mark", [meta], (self.keys.channel(group), epoch))
