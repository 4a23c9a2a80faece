"""What every way of reaching a peer has in common."""

from contextlib import asynccontextmanager

import pytest
from trio.testing import assert_checkpoints

from nexios_trio.config.settings import Settings
from nexios_trio.core.lifecycle import Cause, End, Occurrence, Phase
from nexios_trio.core.message import Batch, Message
from nexios_trio.core.overflow import conflate
from nexios_trio.exceptions import LifecycleError, WebSocketDisconnect
from nexios_trio.transports.base import SendStatistics, Transport
from tests.transports.support import membership


class Loopback(Transport):
    """As little as a transport can be."""

    name = "loopback"
    can_abort = True

    def __init__(self, **settings):
        super().__init__({"type": "websocket"}, Settings(**settings))
        self.calls = []
        self.on_end = self.calls.append

    @asynccontextmanager
    async def open(self, timers):
        yield

    async def accept(self, subprotocol, headers):
        self.lifecycle.advance(Occurrence.ACCEPT)
        return self

    async def deny(self, status, headers, body, reason=""):
        self._ended(Occurrence.DENY, End(1006, reason, Cause.DENIED))

    async def send(self, frame):
        self._check_open()

    def offer(self, frame, key=None, policy=None):
        self.calls.append((frame.payload, key))

    async def close(self, end):
        self.close_nowait(end)

    def close_nowait(self, end):
        return self._ended(Occurrence.LOCAL_CLOSE, end)

    def evict(self, end):
        self._ended(Occurrence.LOCAL_CLOSE, end)

    def statistics(self):
        return SendStatistics(0, 0, 1, 2, 3, 4)

    def _abort(self):
        self.calls.append("abort")

    def _resume_reading(self):
        self.calls.append("room")


def test_the_contract_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        Transport({}, Settings())


async def test_the_first_end_is_told_once_and_stays():
    transport = Loopback()
    await transport.accept(None, [])
    first, second = End.of(Cause.PEER_CLOSED), End.of(Cause.OVERFLOW)
    assert transport._ended(Occurrence.PEER_CLOSE, first) is True
    assert transport._ended(Occurrence.KILL, second) is False
    assert transport.end is first
    assert transport.lifecycle.phase is Phase.CLOSED
    assert transport.calls == [first]  # the inbox was not full: reading goes on as it did
    with assert_checkpoints():
        assert await transport.inbox.get() is first


async def test_an_occurrence_that_is_not_allowed_changes_nothing():
    transport = Loopback()
    await transport.accept(None, [])
    with pytest.raises(LifecycleError):
        await transport.deny(403, [], b"")
    assert (transport.end, transport.calls, transport.is_open) == (None, [], True)


async def test_kill_discards_what_is_unread_and_aborts():
    transport = Loopback()
    await transport.accept(None, [])
    transport.inbox.put("unread")
    transport.kill(End.of(Cause.ABORTED))
    assert await transport.inbox.get() == End.of(Cause.ABORTED)
    assert transport.calls[-1] == "abort"


async def test_sending_needs_an_open_connection():
    transport = Loopback()
    with pytest.raises(LifecycleError, match=r"accept\(\)"):
        await transport.send(None)
    await transport.accept(None, [])
    await transport.send(None)
    await transport.close(End(4000, "bye", Cause.LOCAL_CLOSE))
    with pytest.raises(WebSocketDisconnect, match="4000: 'bye'"):
        await transport.send(None)


def test_a_batch_is_offered_message_by_message():
    batch = Batch((Message({"k": 1}, 0.0), Message(b"x", 0.0)))
    plain = Loopback()
    assert plain.offer_batch(membership(), batch) is None
    assert plain.calls == [(b'{"k":1}', None), (b"x", None)]
    keyed = Loopback(overflow=conflate(str))
    place = membership(2, "stalls")
    keyed.offer_batch(place, batch)
    keyed.offer_alone(batch.messages[0].frame(0), 1, "channel")
    owner = (id(place.member), "stalls")  # whoever else has an equal key, it is another
    assert keyed.calls == [
        (b'{"k":1}', (*owner, "{'k': 1}")),
        (b"x", (*owner, "b'x'")),
        (b'{"k":1}', ("channel", None, "1")),
    ]


def test_statistics_add_up():
    assert Loopback().statistics().undelivered == 10


def test_nobody_has_to_listen_for_the_end():
    class Silent(Loopback):
        def __init__(self):
            Transport.__init__(self, {}, Settings())
            self.calls = []

    Silent().kill(End.of(Cause.ABORTED))
