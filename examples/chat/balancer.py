"""A TCP balancer: each new connection goes to the next node that takes it.

For demonstrations: one that a site stands on also asks the nodes for `/readyz`, and tells them who the client is.
"""

from collections import deque
from collections.abc import Iterable
from contextlib import suppress

import trio

CHUNK = 65_536  # bytes
WAIT_SECONDS = 10.0  # for a node, when none takes connections
RETRY_SECONDS = 0.05


class Balancer:
    """Args:
    nodes: paths of the Unix sockets that they listen on.
    """

    def __init__(self, nodes: Iterable[str]) -> None:
        self._nodes = deque(nodes)  # the next one first

    async def relay(self, client: trio.SocketStream) -> None:
        """Serve one connection, until either side ends it."""
        async with client:
            node = await self._find_node()
            if node is None:
                return
            async with node, trio.open_nursery() as nursery:
                for source, sink in ((client, node), (node, client)):
                    nursery.start_soon(pump, source, sink, nursery.cancel_scope)

    async def _find_node(self) -> trio.SocketStream | None:
        with trio.move_on_after(WAIT_SECONDS):
            while True:
                for _ in range(len(self._nodes)):
                    path = self._nodes[0]
                    self._nodes.rotate(-1)
                    with suppress(OSError):  # it is down, or not up yet
                        return await trio.open_unix_socket(path)
                await trio.sleep(RETRY_SECONDS)
        return None


async def pump(source: trio.SocketStream, sink: trio.SocketStream, both: trio.CancelScope) -> None:
    with suppress(trio.BrokenResourceError):
        while data := await source.receive_some(CHUNK):
            await sink.send_all(data)
    both.cancel()  # one side is gone: so is the other
