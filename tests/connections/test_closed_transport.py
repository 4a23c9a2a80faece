"""What stands in place of a transport once its connection is released answers as the transport did, and holds nothing."""

from typing import Any

import pytest
from trio.testing import assert_checkpoints

from nexios_trio.connections.closed_transport import ClosedTransport
from nexios_trio.core.lifecycle import Cause, End
from nexios_trio.core.message import text_frame
from nexios_trio.exceptions import WebSocketDisconnect
from nexios_trio.transports.base import Transport
from nexios_trio.websockets import Channel, WebSocketState
from tests.wire import house

ONLY_WHILE_IT_LIVES = {
    "divert",
    "key_alone",
    "open",
    "use_settings",
    "bound_kernel",
}  # called by the server, or by itself


async def ended(*, kept: list[Any]) -> Any:
    async def endpoint(ws: Any) -> None:
        await ws.accept()
        kept[:] = ws, Channel(ws)
        await ws.receive()

    async with house() as inside:
        wire = await inside.connect(endpoint)
        wire.leave(4000, "bye")
        wire.say("never read")
    return kept[0]._session.transport


def test_it_has_everything_that_a_transport_has() -> None:
    public = {name for name in dir(Transport) if not name.startswith("_")} - ONLY_WHILE_IT_LIVES
    assert public - set(dir(ClosedTransport)) == set()


async def test_a_websocket_that_was_kept_says_how_it_ended() -> None:
    kept: list[Any] = []
    await ended(kept=kept)
    ws, channel = kept
    assert ws.end == End(4000, "bye", Cause.PEER_CLOSED)
    assert ws.client_state is WebSocketState.DISCONNECTED
    assert not ws.is_connected()
    assert not channel.connected
    assert ws.latency is None
    assert channel.statistics().queued_messages == 0
    assert ws.headers["host"] == "example.com"
    for use in (ws.receive_text, lambda: ws.send_text("x"), lambda: channel.send("x"), channel.receive, ws.accept):
        with assert_checkpoints(), pytest.raises(WebSocketDisconnect) as caught:
            await use()
        assert (caught.value.code, caught.value.reason) == (4000, "bye")
    await ws.close()
    await ws.deny()
    with pytest.raises(WebSocketDisconnect):
        Channel(ws)


async def test_what_is_offered_to_it_is_counted_as_lost() -> None:
    transport = await ended(kept=[])
    before = transport.counts.lost
    transport.offer(text_frame("x"))
    transport.offer_alone(text_frame("x"), "x", "channel")
    transport.evict(End.of(Cause.OVERFLOW))
    transport.kill(End.of(Cause.ABORTED))
    assert transport.counts.lost == before + 2
    assert transport.end.cause is Cause.PEER_CLOSED
