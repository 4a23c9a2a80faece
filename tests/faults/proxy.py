"""What stands between a node and its server, and does with what they say to each other as it is told.

cut                 break the connections
is_refusing         new ones are broken at once
stall, go_on        pass nothing on, in one direction or both; nothing is lost
lose_answers        commands go up, and nothing comes down any more
target              the server that new connections go to
swap                the living ones go on with another server, and do not notice
"""

from contextlib import suppress

import trio

CHUNK_BYTES = 65_536
GONE = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)


class Way:
    """One connection of a node's, through the proxy."""

    def __init__(self, client: trio.SocketStream) -> None:
        self.client = client
        self.scope = trio.CancelScope()
        self.pumps = trio.CancelScope()
        self.is_swapped = False
        self.loses_answers = False
        self.may_go_up, self.may_come_down = trio.Event(), trio.Event()
        self.may_go_up.set()
        self.may_come_down.set()


class FaultProxy:
    """A proxy before a server.

    Args:
        target: the path of the server's socket.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.port = 0
        self.is_refusing = False
        self.ways: dict[Way, None] = {}
        self.opened = 0

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listener.socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(self._serve, [listener])

    async def _serve(self, client: trio.SocketStream) -> None:
        way = Way(client)
        async with client:
            if self.is_refusing:
                return
            self.ways[way] = None
            self.opened += 1
            try:
                with way.scope:
                    while await self._carry(way):
                        way.is_swapped = False
            finally:
                del self.ways[way]

    async def _carry(self, way: Way) -> bool:
        """Pass on between the node and one server. Returns whether it goes on with another one."""
        try:
            server = await trio.open_unix_socket(self.target)
        except OSError:
            return False
        async with server:
            with trio.CancelScope() as way.pumps:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._go_up, way, server)
                    nursery.start_soon(self._come_down, way, server)
        return way.is_swapped

    async def _go_up(self, way: Way, server: trio.SocketStream) -> None:
        with suppress(*GONE):
            while data := await way.client.receive_some(CHUNK_BYTES):
                await way.may_go_up.wait()
                await server.send_all(data)
        way.pumps.cancel()

    async def _come_down(self, way: Way, server: trio.SocketStream) -> None:
        with suppress(*GONE):
            while data := await server.receive_some(CHUNK_BYTES):
                await way.may_come_down.wait()
                if not way.loses_answers:
                    await way.client.send_all(data)
        way.pumps.cancel()

    # What it is told

    def cut(self) -> None:
        for way in list(self.ways):
            way.scope.cancel()

    def refuse(self, yes: bool) -> None:
        """Let nobody through, or do again."""
        self.is_refusing = yes
        if yes:
            self.cut()

    def stall(self, *, up: bool = True, down: bool = True) -> None:
        """Keep what the present connections say, until `go_on`."""
        for way in self.ways:
            if up:
                way.may_go_up = trio.Event()
            if down:
                way.may_come_down = trio.Event()

    def go_on(self) -> None:
        for way in self.ways:
            way.may_go_up.set()
            way.may_come_down.set()

    def lose_answers(self) -> None:
        """Throw away what the server says on the present connections; `cut` ends it."""
        for way in self.ways:
            way.loses_answers = True

    def swap(self, target: str) -> None:
        self.target = target
        for way in self.ways:
            way.is_swapped = True
            way.pumps.cancel()
