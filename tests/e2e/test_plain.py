"""Plain ASGI in hypercorn's trio worker: what a connection leaves behind."""

import trio

from nexios_trio import NexiosApp, WebSocket
from tests.e2e.support import DEADLINE
from tests.e2e.test_takeover import serving
from tests.rawframes import CLOSE, close, text


async def test_messages_that_nobody_receives_keep_no_task() -> None:
    """Hypercorn's reader waits for room in its queue when the handler has returned."""
    app = NexiosApp(takeover=False)

    @app.ws_route("/first")
    async def first(ws: WebSocket) -> None:
        await ws.accept()
        await ws.receive_text()

    with trio.fail_after(DEADLINE):
        async with serving(app) as server:
            for end in (b"", close(1000) + text("x") * 500):
                peer = await server.join("/first")
                await peer.send(text("x") * 2000 + end)
                if end:  # what follows a close frame may cost its answer, with hypercorn
                    await peer.end()
                else:
                    assert (await peer.frame()).opcode == CLOSE
