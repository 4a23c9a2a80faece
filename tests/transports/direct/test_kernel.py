"""What the kernel may hold for a peer: little, where the overflow policy has to see what waits."""

import socket

import pytest

from nexios_trio.config.settings import Settings
from nexios_trio.core.lifecycle import Cause, End
from nexios_trio.core.message import text_frame
from nexios_trio.core.overflow import conflate, drop_latest, max_lag
from nexios_trio.pubsub.group import Group
from nexios_trio.transports.direct.states import State
from nexios_trio.transports.progress import unsent_bytes
from tests.rawframes import CLOSE
from tests.transports.direct.support import batch, end_of, later, pass_time, texts
from tests.transports.support import direct, settle

pytestmark = pytest.mark.usefixtures("plain_and_tls")

STATE = "x" * 300
TEXT_INDEX = 1  # of the forms of a message
NEWEST = conflate(lambda payload: "state")


def feed(transport, group, count, first=0):
    """Send so many states to the group."""
    for number in range(first, first + count):
        message = batch(f"{number} {STATE}")
        for membership in group.members.values():
            if membership.write_now is None:
                transport.offer_batch(membership, message)
            else:
                membership.write_now(message.wire(TEXT_INDEX))


def joined(transport):
    group = Group("states")
    return group, group.add_member("member", transport, TEXT_INDEX)


async def all_of(peer, last):
    """Read up to the state of this number."""
    received = []
    while not received or not received[-1].startswith(f"{last} "):
        received += texts([await peer.frame()])
    return [int(message.partition(" ")[0]) for message in received]


async def test_a_stalled_peer_gets_few_states_that_are_old():
    async with direct(overflow=NEWEST) as (transport, peer):
        group, _ = joined(transport)
        feed(transport, group, 5000)
        received = await all_of(peer, 4999)
        assert len(received) < 1000  # its own system has some, and ours a few
        assert received == sorted(received)
        assert transport.counts.replaced == 5000 - len(received)
        await settle()
        assert transport.state is State.CLEAR


async def test_without_such_a_policy_the_kernel_takes_what_it_likes():
    async with direct() as (transport, peer):
        group, membership = joined(transport)
        assert membership.write_now is not None
        feed(transport, group, 2000)
        assert transport.statistics().queued_messages == 0
        assert len(await all_of(peer, 1999)) == 2000


@pytest.mark.parametrize("whose", ["route", "channel", "group", "group, later"])
async def test_the_policy_of_a_route_a_channel_or_a_group(whose):
    async with direct(overflow="drop_oldest") as (transport, peer):
        if whose == "route":
            transport.use_policy(NEWEST)
        group, membership = joined(transport)
        if whose == "channel":
            membership.set_policy(NEWEST)
        elif whose != "route":
            group.set_policy(NEWEST)
        feed(transport, group, 5000)
        assert transport.counts.replaced > 4000
        assert len(await all_of(peer, 4999)) == 5000 - transport.counts.replaced
        assert transport.counts.dropped_oldest == 0


async def test_what_has_no_key_keeps_its_place_among_conflated_states():
    async with direct(outbox_messages=10_000) as (transport, peer):
        group, membership = joined(transport)
        membership.set_policy(NEWEST)
        feed(transport, group, 1000)
        for number in range(20):
            transport.offer(text_frame(f"direct {number}"))
        feed(transport, group, 1, first=1000)
        frames = []
        while len([text for text in texts(frames) if text.startswith("direct")]) < 20:
            frames.append(await peer.frame())
        assert [text for text in texts(frames) if text.startswith("direct")] == [f"direct {n}" for n in range(20)]


async def test_the_setting_bounds_it_for_every_policy():
    async with direct(send_buffer=4096, outbox_messages=10_000, outbox_bytes=10**7) as (transport, peer):
        group, membership = joined(transport)
        assert membership.write_now is None
        feed(transport, group, 2000)
        assert transport.statistics().queued_messages > 500
        assert unsent_bytes(transport._sock) < 4096 + 2 * len(STATE)
        assert len(await all_of(peer, 1999)) == 2000


def test_the_setting_has_a_least_value():
    with pytest.raises(ValueError, match="send_buffer must be a whole number of bytes from 1024"):
        Settings(send_buffer=10)
    assert Settings.from_environ({"NEXIOS_SEND_BUFFER": "16KiB"}).send_buffer == 16_384
    assert Settings.from_environ({"NEXIOS_SEND_BUFFER": "none"}).send_buffer is None


async def test_a_peer_may_be_silent_for_as_long_as_its_heartbeat_allows(clock):
    async with direct(overflow=NEWEST, write_timeout=10.0, ping_interval=20.0, ping_timeout=60.0) as (transport, peer):
        group, _ = joined(transport)
        feed(transport, group, 5000)
        await pass_time(clock, 15, step=1)
        assert transport.is_open
        feed(transport, group, 1, first=5000)
        assert len(await all_of(peer, 5000)) < 1000
        feed(transport, group, 5000)
        for _ in range(100):
            await later(clock, 1)
        assert end_of(transport).cause in (Cause.WRITE_TIMEOUT, Cause.HEARTBEAT_TIMEOUT)


async def test_a_close_waits_for_it_as_for_any(nursery):
    async with direct(overflow=max_lag(60.0), outbox_messages=10_000, outbox_bytes=10**7) as (transport, peer):
        group, _ = joined(transport)
        feed(transport, group, 2000)
        nursery.start_soon(transport.close, End.of(Cause.LOCAL_CLOSE))
        frames = []
        while not frames or frames[-1].opcode != CLOSE:
            frames.append(await peer.frame())
        assert len(texts(frames)) == 2000


async def test_of_a_unix_socket_the_kernel_keeps_the_bound():
    """As between the server and its TLS."""
    async with direct(overflow=NEWEST, unix=True) as (transport, peer):
        assert transport._sock.family == socket.AF_UNIX
        group, _ = joined(transport)
        feed(transport, group, 5000)
        assert transport.counts.replaced > 4900
        assert (await all_of(peer, 4999))[-1] == 4999
        await settle()
        assert transport.state is State.CLEAR


async def test_a_policy_that_is_changed_holds_for_what_is_queued_already_as_well():
    async with direct(small=True, outbox_messages=4) as (transport, _):
        while transport.statistics().queued_messages < 5:  # one is on its way
            transport.offer(text_frame(STATE))
        transport.use_policy(drop_latest)
        transport.offer(text_frame("one more"))
        assert transport.is_open
        assert transport.counts.dropped_latest == 1
