"""A connection's stream: how long a peer may take for what it is sent."""

import pytest
import trio
from trio.testing import MockClock, assert_checkpoints

from nexios_trio.config.settings import Settings
from nexios_trio.server.hypercorn.stream import ConnectionStream
from tests.transports.support import Peer, connected, settle

LONG = bytes(200_000)


class Sending:
    """A stream that sends `LONG`, and its peer."""

    def __init__(self, **settings):
        ours, theirs = connected(small=True)
        self.stream = ConnectionStream(ours, b"", Settings(write_timeout=10.0, **settings))
        self.peer = Peer(theirs)
        self.error = None
        self.is_done = False

    async def send(self):
        try:
            await self.stream.send_all(LONG)
        except trio.BrokenResourceError as error:
            self.error = error
        self.is_done = True


@pytest.fixture
def clock():
    return MockClock()


async def later(clock, seconds):
    await settle()
    clock.jump(seconds)
    await settle()


@pytest.mark.parametrize("shield", [False, True])
async def test_who_reads_steadily_gets_everything(clock, nursery, shield):
    sending = Sending()

    async def send():
        with trio.CancelScope(shield=shield):
            await sending.send()

    nursery.start_soon(send)
    received = 0
    for _ in range(400):
        await later(clock, 0.5)
        received += len(sending.peer.take(1000))
    await settle()
    assert (sending.is_done, sending.error, received) == (True, None, len(LONG))
    sending.peer.hang_up()
    await sending.stream.aclose()


async def test_who_does_not_read_is_reset(clock, nursery):
    sending = Sending()
    nursery.start_soon(sending.send)
    for _ in range(39):
        await later(clock, 0.25)
    assert not sending.is_done
    for _ in range(12):
        await later(clock, 0.25)
    assert str(sending.error) == "the peer does not read"
    assert await sending.peer.end() == "reset"
    sending.peer.hang_up()


async def test_who_trickles_is_reset(clock, nursery):
    sending = Sending(min_read_rate=1000)
    nursery.start_soon(sending.send)
    for _ in range(160):
        await later(clock, 0.25)
        if not sending.is_done:
            sending.peer.take(50)
    assert sending.error is not None
    assert sending.stream.socket.fileno() == -1
    sending.peer.hang_up()


async def test_nothing_to_send():
    sending = Sending()
    with assert_checkpoints():
        await sending.stream.send_all(b"")
    sending.peer.hang_up()
    await sending.stream.aclose()


async def test_sending_after_the_end():
    sending = Sending()
    await sending.stream.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await sending.stream.send_all(b"late")
    sending.peer.hang_up()


async def test_a_peer_that_is_gone():
    sending = Sending()
    sending.peer.reset()
    with pytest.raises(trio.BrokenResourceError):
        await sending.stream.send_all(b"late")
    await sending.stream.aclose()
