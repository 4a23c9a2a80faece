"""The last response to a connection that is not served."""

import pytest
from trio.testing import MockClock

from nexios_trio.core.causes import ServerRefusal
from nexios_trio.server.connection_limits import AcceptedConnection
from nexios_trio.server.lingering_close import LINGER_SECONDS, MAX_LINGERING, LingeringCloses
from tests.transports.support import Peer, connected, open_lane, settle


@pytest.fixture
def clock():
    return MockClock()


async def test_the_response_arrives_though_more_was_sent_than_is_read(clock):
    ours, theirs = connected(small=False)
    peer = Peer(theirs)
    async with open_lane() as lane:
        await peer.send(b"x" * 100_000)
        LingeringCloses(lane.poller, lane.timers).refuse(AcceptedConnection(ours, None, None), ServerRefusal.TOO_MANY)
        assert (await peer.head()).startswith(b"HTTP/1.1 503 ")
        assert await peer.end() == "eof"
        assert peer.buffer == b"too many connections\n"
        peer.hang_up()
        await settle()
        assert ours.fileno() == -1


async def test_a_peer_that_does_not_hang_up_is_waited_for_a_moment(clock):
    ours, theirs = connected(small=False)
    with theirs:
        async with open_lane() as lane:
            LingeringCloses(lane.poller, lane.timers).refuse(
                AcceptedConnection(ours, None, None), ServerRefusal.TOO_MANY
            )
            await settle()
            assert ours.fileno() != -1
            clock.jump(LINGER_SECONDS + 0.1)
            await settle()
            assert ours.fileno() == -1


async def test_only_so_many_are_waited_for(clock):
    pairs = [connected(small=False) for _ in range(MAX_LINGERING + 2)]
    async with open_lane() as lane:
        closes = LingeringCloses(lane.poller, lane.timers)
        for ours, _ in pairs:
            closes.refuse(AcceptedConnection(ours, None, None), ServerRefusal.TOO_MANY)
        await settle()
        assert [ours.fileno() != -1 for ours, _ in pairs] == [True] * MAX_LINGERING + [False] * 2
        closes.close()
        assert all(ours.fileno() == -1 for ours, _ in pairs)
        assert len(lane.poller) == 0
    for _, theirs in pairs:
        theirs.settimeout(5)
        assert theirs.recv(100).startswith(b"HTTP/1.1 503 ")
        theirs.close()


async def test_a_peer_that_has_left_costs_nothing(clock):
    ours, theirs = connected(small=False)
    Peer(theirs).reset()
    async with open_lane() as lane:
        LingeringCloses(lane.poller, lane.timers).refuse(AcceptedConnection(ours, None, None), ServerRefusal.TOO_MANY)
        await settle()
        assert ours.fileno() == -1
        assert len(lane.poller) == 0
