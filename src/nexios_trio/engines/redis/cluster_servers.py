"""The servers of a Cluster, as `cluster` knows them, and what stands for the link to all of them."""

from typing import Protocol, cast

import attrs
import trio

from .address import Place
from .client import RedisClient
from .link import LinkLost, RedisLink, Then, Word, ignore

__all__ = ["ClusterLink", "ClusterServer", "HeldSlot"]


@attrs.define(eq=False)
class ClusterServer:
    """A primary.

    Args:
        slots: those of ours that it has.
    """

    place: Place
    client: RedisClient
    slots: set[int] = attrs.Factory(set)
    scope: trio.CancelScope = attrs.Factory(trio.CancelScope)

    @property
    def link(self) -> RedisLink | None:
        link = self.client.link
        return link if link is not None and link.lost is None else None


@attrs.define(eq=False)
class HeldSlot:
    """A slot of which nothing is asked at the moment."""

    until: float
    is_quiet: bool = False  # nothing is on its way any more
    goes_to: Place | None = None


class Router(Protocol):
    """Who knows the servers."""

    def server_of(self, key: bytes) -> ClusterServer | None:
        """Return who has it."""
        ...

    def reach(self, key: bytes) -> ClusterServer | None:
        """Return who has it, if that may be asked now."""
        ...

    def heard(self, server: ClusterServer, key: bytes, then: Then) -> Then:
        """Return `then`, before which the answer is heard."""
        ...


class ClusterLink:
    """What the owner of the client takes for its link: each command goes to the server that has the key."""

    def __init__(self, cluster: Router) -> None:
        self._cluster = cluster

    def post(self, *words: Word, then: Then = ignore) -> None:
        channel = cast(bytes, words[1])
        server = self._cluster.reach(channel)
        if server is None or server.link is None:
            then(LinkLost("there is no link to the server that has it"))
        else:
            server.link.post(*words, then=self._cluster.heard(server, channel, then))

    def subscribe(self, channel: bytes, then: Then = ignore) -> None:
        server = self._cluster.reach(channel)
        if server is not None and server.link is not None:
            server.link.subscribe(channel, self._cluster.heard(server, channel, then))

    def unsubscribe(self, channel: bytes, then: Then = ignore) -> None:
        server = self._cluster.server_of(channel)
        if server is not None and server.link is not None:
            server.link.unsubscribe(channel, then)
