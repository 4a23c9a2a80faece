"""Several processes on shared sockets, and the parent that watches over them.

Every worker is the same command on inherited sockets (`fd://`). It starts with one end of a link to the parent as its
standard input: a worker says there that it is ready, and stops when the parent's end closes, so that no worker outlives
its parent. If one ends unasked, all do.
"""

import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

import attrs
import trio

__all__ = ["READY", "Supervisor", "follow_parent", "say_ready", "take_link"]

logger = logging.getLogger("nexios_trio.workers")

READY: Final = b"ready\n"
SLACK_SECONDS: Final = 2.0  # that a process may take to end, besides the drain


@attrs.define(eq=False)
class Worker:
    """One process, and the parent's end of its link."""

    number: int
    process: trio.Process
    link: trio.SocketStream
    is_ready: bool = False


@attrs.define(eq=False)
class Supervisor:
    """Runs the workers, forwards signals to them.

    Args:
        command: the arguments of the worker with a number.
        descriptors: what the workers inherit.
        drain_timeout: seconds that a worker has to stop before it is killed.
        on_ready: called once all of them serve.
    """

    command: Callable[[int], Sequence[str]]
    count: int
    descriptors: Sequence[int]
    drain_timeout: float
    on_ready: Callable[[], None]
    _workers: list[Worker] = attrs.field(factory=list, init=False)
    _ready: int = attrs.field(default=0, init=False)
    _is_stopping: bool = attrs.field(default=False, init=False)
    _status: int = attrs.field(default=0, init=False)
    _kill: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)

    async def run(self) -> int:
        """Run until every worker has ended. Returns the exit status: 0 if all were asked to end and did so in order."""
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            try:
                for number in range(self.count):
                    self._workers.append(await self._start(number))
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._forward, signals)
                    with self._kill:
                        async with trio.open_nursery() as watchers:
                            for worker in self._workers:
                                watchers.start_soon(self._watch, worker)
                    if self._kill.cancelled_caught:
                        logger.error("workers did not stop in time and are killed")
                        self._status = 1
                    nursery.cancel_scope.cancel(reason="all workers have ended")
            finally:
                for worker in self._workers:
                    worker.process.kill()
                    worker.link.socket.close()
        return self._status

    async def _start(self, number: int) -> Worker:
        ours, theirs = socket.socketpair()
        link = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
        with theirs:
            process = await trio.lowlevel.open_process(
                self.command(number),
                stdin=theirs.fileno(),
                pass_fds=self.descriptors,
                process_group=0,  # the terminal's Ctrl-C reaches the parent alone
            )
        return Worker(number, process, link)

    async def _forward(self, signals: AsyncIterator[int]) -> None:
        async for received in signals:
            self._stop(signal.Signals(received).name)

    async def _watch(self, worker: Worker) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._await_ready, worker)
            status = await worker.process.wait()
            nursery.cancel_scope.cancel(reason="the worker has ended")
        is_early = self._is_stopping and not worker.is_ready and status == -signal.SIGTERM  # it was still importing
        if status != 0 and not is_early:
            did = "stopped" if self._is_stopping else "ended"
            logger.error("worker %d (process %d) %s %s", worker.number, worker.process.pid, did, _how(status))
            self._status = 1
        if not self._is_stopping:  # with status 0: it got the signal that everyone gets sooner than we did
            self._stop("a worker's end")

    async def _await_ready(self, worker: Worker) -> None:
        if await _read_all(worker.link, READY) == READY:
            worker.is_ready = True
            self._ready += 1
            if self._ready == self.count and not self._is_stopping:
                self.on_ready()

    def _stop(self, why: str) -> None:
        """Tell every worker to stop; a later time, to hurry: they know what is the same signal."""
        if not self._is_stopping:
            logger.info("stopping the workers because of %s", why)
            self._is_stopping = True
            self._kill.deadline = trio.current_time() + self.drain_timeout + SLACK_SECONDS
        for worker in self._workers:
            worker.process.terminate()


def _how(status: int) -> str:
    if status < 0:
        return f"by {signal.Signals(-status).name}"
    return f"with status {status}"


async def _read_all(link: trio.SocketStream, expected: bytes) -> bytes:
    """Bytes from the link until they are what is expected, or there will be no more."""
    said = b""
    try:
        while said != expected and (data := await link.receive_some()):
            said += data
    except trio.BrokenResourceError:
        pass
    return said


def take_link() -> int:
    """In a worker: return the descriptor of the link, which the processes that it starts do not get.

    Standard input, where it was, is empty from here on.
    """
    link = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return link


def say_ready(link: int) -> None:
    """In a worker: tell the parent."""
    os.write(link, READY)


async def follow_parent(link: int) -> None:
    """In a worker: when the parent is gone, stop as if it had said so."""
    while True:
        await trio.lowlevel.wait_readable(link)
        if not os.read(link, 64):
            break
    signal.raise_signal(signal.SIGTERM)
    await trio.sleep_forever()
