"""Who is present in a group, followed: what a box gives to those who watch.

The events of a group have versions without holes. Where one is missing, or this watcher was too slow to take them, all
is read anew, and compared with what was told: the differences are told as if they had just happened.
"""

from collections import deque
from typing import Any, Final, Literal
from uuid import UUID

import attrs
import trio

from ..core.message import Message, Position
from ..core.present_user import PresentConnection, PresentUser
from ..engines.base import Engine
from ..engines.presence import PresenceEvent, PresencePage, read_event
from ..exceptions import EngineError
from .member_presence import decode_info

__all__ = ["PresenceChange", "PresenceChanges", "PresentConnection", "PresentUser", "users_on"]

MAX_QUEUED: Final = 1000  # events that a watcher has not taken; beyond, it compares
RETRY_SECONDS: Final = 1.0

ChangeKind = Literal["joined", "left", "updated"]


@attrs.frozen
class PresenceChange:
    """A user has joined a group, or left it, or another info holds.

    Args:
        kind: "joined", "left" or "updated".
        id: of the user, as text; of a connection without a user, the channel's.
        user: the same; None where there is no user.
        info: what was said last by one of the user's connections.
        version: ascending, within an epoch without holes; what was found out by comparing has that of the reading.
    """

    kind: ChangeKind
    id: str
    user: str | None
    info: Any
    version: Position


def users_on(page: PresencePage) -> list[PresentUser]:
    """Return who is present, user by user, in the order in which they came."""
    found: dict[tuple[str | None, str], list[PresentConnection]] = {}
    for client in page.clients:
        key = (client.user, client.client if client.user is None else "")
        found.setdefault(key, []).append(PresentConnection(UUID(client.client), decode_info(client.info)))
    return [
        PresentUser(user or client, user, _info_of(connections), tuple(connections))
        for (user, client), connections in found.items()
    ]


def _info_of(connections: list[PresentConnection]) -> Any:
    return next((each.info for each in reversed(connections) if each.info is not None), None)


class PresenceChanges:
    """`async for change in changes:`, for as long as the block of `watch_presence`. For one task.

    Checkpoint: each. Cancellation: no change is lost.
    """

    def __init__(self, engine: Engine, group: str) -> None:
        self._engine = engine
        self._group = group
        self._users: dict[str, PresentUser] = {}
        self._version: Position | None = None
        self._events: deque[tuple[PresenceEvent, Position]] = deque()
        self._found: deque[PresenceChange] = deque()  # by comparing, and not yet given
        self._is_stale = True  # nothing read, or a hole: what is queued is not enough
        self._news = trio.lowlevel.ParkingLot()

    @property
    def present(self) -> list[PresentUser]:
        """Those who are present after the last change that was given, without their connections."""
        return list(self._users.values())

    def __aiter__(self) -> "PresenceChanges":
        return self

    async def __anext__(self) -> PresenceChange:
        await trio.lowlevel.checkpoint()
        while True:
            if self._is_stale and not self._found:
                await self._compare()
            change = self._next()
            if change is not None:
                return change
            if not self._is_stale:
                await self._news.park()

    async def read(self) -> None:
        """Begin. Checkpoint: always. Raises: EngineError."""
        self._is_stale = False  # what comes from here on is queued
        page = await self._engine.presence(self._group)
        self._version = page.version
        self._users = {user.id: user for user in _without_connections(page)}

    def hear(self, message: Message | None) -> None:
        """Take an event; None: some are missing."""
        if self._is_stale:
            return
        try:
            if message is None or message.position is None or len(self._events) >= MAX_QUEUED:
                raise ValueError("a hole")
            self._events.append((read_event(message), message.position))
        except ValueError:
            self._is_stale = True
            self._events.clear()
        self._news.unpark_all()

    def _next(self) -> PresenceChange | None:
        """Take the next change there is."""
        if self._found:
            return self._apply(self._found.popleft())
        while self._events:
            event, version = self._events.popleft()
            seen = self._version
            if seen is None or version.epoch != seen.epoch or version.offset > seen.offset + 1:
                self._is_stale = True
                self._events.clear()
                return None
            if version.offset == seen.offset + 1:
                self._version = version
                name = event.client if event.user is None else event.user
                return self._apply(PresenceChange(event.kind, name, event.user, decode_info(event.info), version))
        return None

    def _apply(self, change: PresenceChange) -> PresenceChange:
        if change.kind == "left":
            self._users.pop(change.id, None)
        else:
            self._users[change.id] = PresentUser(change.id, change.user, change.info)
        return change

    async def _compare(self) -> None:
        """Read all anew, however long it takes until there is an answer. Checkpoint: always."""
        self._is_stale = False  # what comes from here on is queued again
        try:
            page = await self._engine.presence(self._group)
        except EngineError:
            self._is_stale = True
            await trio.sleep(RETRY_SECONDS)
            return
        except BaseException:
            self._is_stale = True
            raise
        self._version = page.version
        now = {user.id: user for user in _without_connections(page)}
        for name, user in self._users.items():
            if name not in now:
                self._found.append(PresenceChange("left", name, user.user, user.info, page.version))
        for name, user in now.items():
            before = self._users.get(name)
            if before != user:
                kind: ChangeKind = "joined" if before is None else "updated"
                self._found.append(PresenceChange(kind, name, user.user, user.info, page.version))


def _without_connections(page: PresencePage) -> list[PresentUser]:
    return [attrs.evolve(user, connections=()) for user in users_on(page)]
