"""The hub: what the workers of one machine share, in their parent.

    worker                                       parent
    HubEngine ── HubLink ══ pair of sockets ══ HubNode ── SharedBox ── MemoryEngine
                                                          one for each name of a box

It numbers and keeps messages as the engine of one process does, in the same synchronous code, and gives each of them to
the workers that watch its group. On the line of its publisher the message itself is the answer, so that it comes in its
turn. It knows nothing of members, and decodes no message.
"""

import socket
from math import inf

import trio

from .box import SharedBox
from .node import HubNode

__all__ = ["Hub"]


class Hub:
    """Owned by the parent of the workers."""

    def __init__(self) -> None:
        self._boxes: dict[str, SharedBox] = {}
        self._nodes: dict[HubNode, None] = {}
        self._reaping = trio.Lock()  # one of the workers' tasks does it, and the others wait to take over
        self._sooner = trio.Event()  # something ends before the time at which the reaper looks again
        self._reaps_at = inf

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
                    nursery.start_soon(self._reap)
                    await node.read(lambda: self._after_turn(node))
                    nursery.cancel_scope.cancel(reason="the worker has ended")
        finally:
            del self._nodes[node]
            node.end()

    def _open_box(self, name: str) -> SharedBox:
        box = self._boxes.get(name)
        if box is None:
            box = self._boxes[name] = SharedBox(len(self._boxes) + 1, self._look_when_to_reap)
        return box

    async def _reap(self) -> None:
        """Tell of presences that end by themselves, when they do."""
        async with self._reaping:
            while True:
                self._sooner = trio.Event()
                seconds = min([box.reap() for box in self._boxes.values()], default=inf)
                self._reaps_at = trio.current_time() + max(seconds, 0)
                with trio.move_on_at(self._reaps_at):
                    await self._sooner.wait()
                await trio.lowlevel.checkpoint()

    def _look_when_to_reap(self, when: float) -> None:
        """Wake the reaper, if something ends sooner than it knows."""
        if when < self._reaps_at:
            self._sooner.set()

    async def _after_turn(self, node: HubNode) -> None:
        """Let others have their turn, and those that have much to take catch up, as long as they get on."""
        await trio.lowlevel.checkpoint()
        for each in list(self._nodes):
            if each is not node:
                await each.wait_for_room()
        await node.wait_for_own_room()
