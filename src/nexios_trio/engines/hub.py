"""The hub: what the workers of one machine share, in their parent.

    worker                                       parent
    HubEngine ── HubLink ══ pair of sockets ══ HubNode ── SharedBox ── MemoryEngine
                                                          one for each name of a box

It numbers and keeps messages as the engine of one process does, in the same synchronous code, and gives each of them to
the workers that watch its group. On the line of its publisher the message itself is the answer, so that it comes in its
turn. It knows nothing of members, and decodes no message.
"""

import socket

import trio

from .hub_box import SharedBox
from .hub_node import HubNode

__all__ = ["Hub"]


class Hub:
    """Owned by the parent of the workers."""

    def __init__(self) -> None:
        self._boxes: dict[str, SharedBox] = {}
        self._nodes: dict[HubNode, None] = {}

    async def serve(self, sock: socket.socket) -> None:
        """Serve one worker, until its end of the pair of sockets is closed. Then this end is closed, too.

        Cancellation: at any time; the worker is forgotten.
        """
        node = HubNode(sock, self._open_box)
        self._nodes[node] = None
        try:
            with sock:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(node.write)
                    await node.read(lambda: self._after_turn(node))
                    nursery.cancel_scope.cancel(reason="the worker has ended")
        finally:
            del self._nodes[node]
            node.end()

    def _open_box(self, name: str) -> SharedBox:
        box = self._boxes.get(name)
        if box is None:
            box = self._boxes[name] = SharedBox(len(self._boxes) + 1)
        return box

    async def _after_turn(self, node: HubNode) -> None:
        """Let others have their turn, and those that have much to take catch up, as long as they get on."""
        await trio.lowlevel.checkpoint()
        for each in list(self._nodes):
            if each is not node:
                await each.wait_for_room()
        await node.wait_for_own_room()
