"""Accepting connections, also beside other workers."""

import socket
from contextlib import AsyncExitStack

import trio

from nexios_trio.server.accept import MAX_LEAD, accept_forever
from nexios_trio.server.worker_loads import WorkerLoad, WorkerLoads


async def test_a_listener_survives_what_accept_says(caplog):
    class Listener:
        """A real descriptor that is always readable, and an accept that fails in every way."""

        def __init__(self, ready):
            self.ready = ready
            self.errors = [ConnectionAbortedError(103, "aborted"), OSError(24, "Too many open files")]

        def fileno(self):
            return self.ready.fileno()

        def accept(self):
            if self.errors:
                raise self.errors.pop(0)
            accepted.set()
            raise BlockingIOError

    accepted = trio.Event()
    reader, writer = socket.socketpair()
    with reader, writer:
        writer.send(b"x")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept_forever, Listener(reader), lambda sock, peer: None)
            with trio.fail_after(5):
                await accepted.wait()
            nursery.cancel_scope.cancel()
    assert caplog.text.count("cannot accept connections: Too many open files") == 1


class Workers:
    """Several that accept from one socket, in one process; each knows how many connections it has."""

    def __init__(self, count: int) -> None:
        self.shared = WorkerLoads(count)
        self.loads = [WorkerLoad(self.shared.descriptor, self.shared.take_slot()) for _ in range(count)]
        self.accepted: list[list[socket.socket]] = [[] for _ in range(count)]
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(100)
        self.listener.setblocking(False)

    async def work(self, number: int) -> None:
        def accept_connection(sock: socket.socket, peer: object) -> None:
            self.accepted[number].append(sock)
            self.loads[number].count(len(self.accepted[number]))

        with self.listener.dup() as listener:
            await accept_forever(listener, accept_connection, self.loads[number])

    async def connect(self, count: int) -> list[int]:
        """Connect, all at once. Returns how many connections each has by then."""
        for _ in range(count):
            await self._resources.enter_async_context(await trio.open_tcp_stream(*self.listener.getsockname()))
        with trio.fail_after(5):
            self._connected += count
            while sum(map(len, self.accepted)) < self._connected:
                await trio.lowlevel.checkpoint()
        return [len(accepted) for accepted in self.accepted]

    async def __aenter__(self) -> "Workers":
        self._connected = 0
        self._resources = AsyncExitStack()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._resources.aclose()
        for sock in [self.listener, *(sock for accepted in self.accepted for sock in accepted)]:
            sock.close()
        self.shared.close()


async def test_connections_go_to_the_worker_that_has_the_fewest():
    async with Workers(3) as workers, trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(workers.work, number)
        assert max(counts := await workers.connect(60)) - min(counts) <= MAX_LEAD + 1
        workers.loads[0].count(1000)
        before = len(workers.accepted[0])
        await workers.connect(40)
        assert len(workers.accepted[0]) == before
        nursery.cancel_scope.cancel()


async def test_nobody_waits_for_a_worker_that_does_not_get_on():
    async with Workers(2) as workers, trio.open_nursery() as nursery:
        nursery.start_soon(workers.work, 0)
        with workers.loads[1].accepting():  # so it says
            assert await workers.connect(30) == [30, 0]
        nursery.start_soon(workers.work, 1)
        assert (await workers.connect(30))[1] >= 30 - MAX_LEAD
        nursery.cancel_scope.cancel()
