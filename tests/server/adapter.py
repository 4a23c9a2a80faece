"""An application on the adapter: one connection, without the rest of a server."""

from contextlib import asynccontextmanager

import trio

from nexios_trio.config.settings import Settings
from nexios_trio.server.asgi_adapter import AsgiAdapter
from nexios_trio.server.request_head import Upgrade, http_response
from nexios_trio.transports.direct import DirectTransport
from tests.transports.support import Peer, connected, open_lane

CONNECT = {"type": "websocket.connect"}
ACCEPT = {"type": "websocket.accept"}


@asynccontextmanager
async def served(app, **settings):
    """One connection that `app` serves. Gives the peer; waits for the end of the application."""
    ours, theirs = connected(small=False)
    peer = Peer(theirs)
    upgrade = Upgrade(b"/", [], b"KEY", ["v1", "v2"])
    async with open_lane() as lane, trio.open_nursery() as nursery:
        transport = DirectTransport(
            upgrade.scope(), Settings(**settings), ours, lane.poller, answer=upgrade.answer, refuse=http_response
        )
        adapter = AsgiAdapter(transport, lane.timers)
        nursery.start_soon(adapter.run, app, ours.close)
        yield peer
        peer.hang_up()
    assert ours.fileno() == -1
