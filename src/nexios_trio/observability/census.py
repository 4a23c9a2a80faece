"""What there is at present, and what has been counted: read when somebody asks, and not before.

Most of it is numbers that are there. What has to be added up over all connections is so in slices, with a checkpoint
between: with ten thousand connections nobody waits longer than for one slice.
"""

from collections import Counter
from typing import Any, Final

import attrs
import trio

from ..connections.runtime import Runtime
from ..connections.session import Session
from ..core.lifecycle import Phase
from ..engines.base import EngineState
from ..transports.send_queue import DeliveryCounts
from ..transports.server_context import ServerCounts

__all__ = ["Census", "take_census"]

CONNECTIONS_PER_SLICE: Final = 250  # between two checkpoints: half a millisecond


@attrs.define
class Census:
    """The numbers of one application, and of the server that it is in."""

    connections: Counter[str] = attrs.field(factory=Counter)  # by lane
    handshakes: int = 0  # that are not answered yet
    accepted: dict[str, int] = attrs.field(factory=dict)  # by lane
    refused: dict[tuple[str, int | None], int] = attrs.field(factory=dict)  # by cause and HTTP status
    ended: dict[str, int] = attrs.field(factory=dict)  # by cause
    groups: int = 0
    channels: int = 0
    members: int = 0
    presences: dict[str, int] = attrs.field(factory=dict)  # by the pattern of `keep_presence`
    lost_leases: int = 0
    published: int = 0
    delivered: int = 0
    undelivered: DeliveryCounts = attrs.field(factory=DeliveryCounts)
    waiting_peers: int = 0
    waiting_messages: int = 0
    waiting_bytes: int = 0
    longest_wait: float = 0.0  # seconds for which a peer has taken nothing
    engine: EngineState = EngineState.UP
    server: ServerCounts | None = None


async def take_census(runtime: Runtime) -> Census:
    """Read and add up. Checkpoint: always."""
    await trio.lowlevel.checkpoint()
    census, box = Census(), runtime.box
    await _look_at_sessions(census, list(runtime.sessions))
    for number, counts in enumerate(box.delivery_counts()):
        if number % CONNECTIONS_PER_SLICE == CONNECTIONS_PER_SLICE - 1:
            await trio.lowlevel.checkpoint()
        census.undelivered.add(counts)
    counted = runtime.counts
    census.accepted, census.refused, census.ended = dict(counted.accepted), dict(counted.refused), dict(counted.ended)
    census.groups, census.members = len(box._index), box._index.size
    census.channels = len(box._channels)
    census.presences, census.lost_leases = box.presence_counts()
    census.published, census.delivered = box._published, box.broadcaster.deliveries
    census.engine = box.engine.state
    server = runtime.server
    if server is not None and server.overview.count is not None:
        census.server = server.overview.count()
    return census


async def _look_at_sessions(census: Census, sessions: list[Any]) -> None:
    for number, session in enumerate(sessions):
        if number % CONNECTIONS_PER_SLICE == CONNECTIONS_PER_SLICE - 1:
            await trio.lowlevel.checkpoint()
        if not session.is_released:
            _look_at(census, session, trio.current_time())


def _look_at(census: Census, session: Session, now: float) -> None:
    transport = session.transport
    if transport.lifecycle.phase is Phase.CONNECTING:
        census.handshakes += 1
        return
    census.connections[transport.name] += 1
    queued = transport.statistics()
    if not queued.queued_messages:
        return
    census.waiting_peers += 1
    census.waiting_messages += queued.queued_messages
    census.waiting_bytes += queued.queued_bytes
    since = transport.waiting_since()
    if since is not None:
        census.longest_wait = max(census.longest_wait, now - since)
