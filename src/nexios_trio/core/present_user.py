"""Who is present in a group, as applications and backends are told."""

from typing import Any
from uuid import UUID

import attrs

__all__ = ["PresentConnection", "PresentUser"]


@attrs.frozen
class PresentConnection:
    """One connection that is present.

    Args:
        id: of its channel.
        info: what was said of it.
    """

    id: UUID
    info: Any


@attrs.frozen
class PresentUser:
    """A user who is present in a group; or a connection without a user, which is one by itself.

    Args:
        id: of the user, as text; of a connection without a user, the channel's.
        user: the same; None where there is no user.
        info: what was said last by one of the connections that are there.
        connections: those, except in what a watch gives. While the grace of the last one runs, it is among them.
    """

    id: str
    user: str | None
    info: Any
    connections: tuple[PresentConnection, ...] = ()
