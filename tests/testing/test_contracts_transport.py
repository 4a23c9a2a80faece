"""`check_transport` passes our own ways to reach a peer, and says which rule is broken."""

from contextlib import asynccontextmanager
from functools import partial

import attrs
import pytest
import trio

from nexios_trio.core.message import text_frame
from nexios_trio.testing import ContractBroken
from nexios_trio.testing.client.connect import open_client
from nexios_trio.testing.client.link import Link
from nexios_trio.testing.client.request import make_scope
from nexios_trio.testing.contracts import check_transport
from nexios_trio.transports.asgi import AsgiTransport
from nexios_trio.transports.timers import Timers
from tests import rawframes
from tests.transports.support import direct


@asynccontextmanager
async def over_asgi(settings, *, transport=AsgiTransport, server="direct"):
    made, may_end, timers = [], trio.Event(), Timers()

    async def app(scope, receive, send):
        made.append(transport(scope, receive, send, settings))
        async with made[0].open(timers):
            await may_end.wait()

    scope = make_scope("/", (), (), None, [], ("127.0.0.1", 1))
    client = open_client(Link(65536), app, scope, server, 60)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(timers.run)
        nursery.start_soon(client.run)
        await trio.testing.wait_all_tasks_blocked()
        try:
            yield made[0], client
        finally:
            may_end.set()
            client.resume()
            client.lose()
            with trio.move_on_after(5, shield=True):
                await client.app_finished()
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("server", ["hypercorn", "direct"])
async def test_our_asgi_transport_keeps_the_contract(server, autojump_clock):
    await check_transport(partial(over_asgi, server=server))


class RawPeer:
    """The other end of a socket, as the contract wants it. It reads only when it is asked to."""

    def __init__(self, peer):
        self._peer = peer
        self._has_head = False

    async def _frame(self):
        if not self._has_head:
            self._has_head = True
            await self._peer.head()
        return await self._peer.frame()

    async def receive(self):
        frame = await self._frame()
        assert frame.opcode in (rawframes.TEXT, rawframes.BINARY), frame
        return frame.payload.decode() if frame.opcode == rawframes.TEXT else frame.payload

    async def receive_close(self):
        frame = await self._frame()
        assert frame.opcode == rawframes.CLOSE, frame
        await self._peer.send(rawframes.close(frame.code))
        return frame.code, frame.reason

    async def send_text(self, text):
        await self._peer.send(rawframes.text(text))

    async def send_bytes(self, data):
        await self._peer.send(rawframes.client_frame(rawframes.BINARY, data))

    async def close(self, code, reason):
        await self._peer.send(rawframes.close(code, reason))

    def lose(self):
        self._peer.reset()

    def stall(self):
        pass

    def resume(self):
        pass


@asynccontextmanager
async def over_a_socket(settings):
    async with direct(accepted=False, small=True, **attrs.asdict(settings, recurse=False)) as (transport, peer):
        yield transport, RawPeer(peer)


async def test_the_direct_lane_keeps_the_contract():
    await check_transport(over_a_socket)


class SendsTwice(AsgiTransport):
    def offer(self, frame, key=None, policy=None):
        super().offer(frame, key, policy)
        super().offer(frame, key, policy)


class OpenAtOnce(AsgiTransport):
    is_open = True


class MixesUp(AsgiTransport):
    def offer(self, frame, key=None, policy=None):
        if not frame.text:
            frame = text_frame(frame.payload.decode("latin-1"))
        super().offer(frame, key, policy)


class ForgetsCodes(AsgiTransport):
    async def close(self, end):
        await super().close(type(end)(1000, "", end.cause))


class ThrowsAway(AsgiTransport):
    async def close(self, end):
        self.outbox.discard()
        await super().close(end)


class TellsNobody(AsgiTransport):
    def _ended(self, occurrence, end):
        self.on_end = lambda end: None
        return super()._ended(occurrence, end)


class NeverWaits(AsgiTransport):
    async def send(self, frame):
        self._check_open()
        await trio.lowlevel.checkpoint()
        self.offer(frame)


class NoCheckpoint(AsgiTransport):
    async def send(self, frame):
        self._check_open()
        if not self.outbox.offer(frame):
            await super().send(frame)


class CountsNothing(AsgiTransport):
    def statistics(self):
        found = super().statistics()
        return type(found)(found.queued_messages, found.queued_bytes, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("transport", "text"),
    [
        (OpenAtOnce, "A transport is open from accept"),
        (SendsTwice, "arrives once, unchanged"),
        (MixesUp, "arrives once, unchanged"),
        (TellsNobody, r"then the one end, which on_end\(\) is told"),
        (NeverWaits, r"send\(\) waits while there is no room"),
        (NoCheckpoint, r"Every asynchronous call is a checkpoint(?s:.*)send\(\)"),
        (CountsNothing, "or is counted(?s:.*)of 300 messages"),
        (ThrowsAway, r"close\(\) sends what is queued"),
        (ForgetsCodes, r"close\(\) sends what is queued, then the code and reason"),
    ],
)
async def test_a_broken_rule_is_told(transport, text, autojump_clock):
    with pytest.raises(ContractBroken, match=text):
        await check_transport(partial(over_asgi, transport=transport))
