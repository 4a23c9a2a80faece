"""Several processes on shared sockets, and the parent that watches over them.

Every worker is the same command on inherited sockets (`fd://`). It starts with one end of a link to the parent as its
standard input: a worker says there that it is ready, and stops when the parent's end closes, so that no worker outlives
its parent. What waits to be accepted is in the shared sockets, and outlives any worker.

    a worker that was ready ends            another one is started in its place, at first soon, then less so
    five of them end within a minute        the server ends, with status 1
    one fails before it is ready            the same; if it was to replace another one, that one stays
    no process can be started               tried again, after a longer and longer time; the first workers, and those
                                            in place of one that still serves, are as above
    SIGHUP                                  one worker after the other is replaced: the old one stops once the new one
                                            is ready
"""

import logging
import signal
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any, Final

import attrs
import trio

from ..engines.hub.hub import Hub
from .parent_link import NEWCOMERS_SECONDS, WorkerPlace
from .stop_signals import SignalCount, has_terminal
from .worker_loads import WorkerLoads
from .worker_process import Worker, start_worker
from .worker_reports import FindAnswer

__all__ = ["Supervisor"]

logger = logging.getLogger("nexios_trio.workers")

SLACK_SECONDS: Final = 2.0  # that a process may take to end, besides the drain
MAX_ENDS: Final = 5  # of workers within `ENDS_SECONDS`, and the server ends
ENDS_SECONDS: Final = 60.0
RESTART_SECONDS: Final = 0.1  # until a worker is started again; twice as long after each further end
MAX_RESTART_SECONDS: Final = 10.0  # where there are no descriptors, or processes, to be had


@attrs.define(eq=False)
class Supervisor:
    """Runs the workers, forwards signals to them.

    Args:
        command: the arguments of the worker with this place.
        descriptors: what the workers inherit.
        drain_timeout: seconds that a worker has to stop before it is killed.
        on_ready: called once all of them serve.
    Attributes:
        answer: finds what a worker asks, or None.
    """

    command: Callable[[WorkerPlace], Sequence[str]]
    count: int
    descriptors: Sequence[int]
    drain_timeout: float
    on_ready: Callable[[], None]
    answer: FindAnswer = attrs.field(init=False)
    _loads: WorkerLoads = attrs.field(init=False)
    _hub: Hub = attrs.field(factory=Hub, init=False)
    _workers: list[Worker | None] = attrs.field(init=False)  # by number: who has the place
    _alive: set[Worker] = attrs.field(factory=set, init=False)
    _ends: deque[float] = attrs.field(init=False)  # when workers ended that had been ready
    _was_ready: bool = attrs.field(default=False, init=False)
    _is_replacing: bool = attrs.field(default=False, init=False)
    _replace_again: bool = attrs.field(default=False, init=False)
    _stopping: trio.Event = attrs.field(factory=trio.Event, init=False)
    _status: int = attrs.field(default=0, init=False)
    _kill: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)

    def __attrs_post_init__(self) -> None:
        self.answer = _no_answer
        self._loads = WorkerLoads(2 * self.count)
        self._workers = [None] * self.count
        self._ends = deque(maxlen=MAX_ENDS)

    @property
    def is_stopping(self) -> bool:
        return self._stopping.is_set()

    @property
    def serving(self) -> list[Worker]:
        """The worker that serves of each number, which may be one that is about to be replaced."""
        return [one for one in map(_who_serves, self._workers) if one is not None]

    @property
    def missing(self) -> list[int]:
        """The numbers of which no worker serves, or not yet."""
        return [number for number, one in enumerate(self._workers) if _who_serves(one) is None]

    async def run(self) -> int:
        """Run until every worker has ended. Returns the exit status: 0 if all were asked to end and did so in order."""
        had_terminal = signal.getsignal(signal.SIGHUP) != signal.SIG_IGN and has_terminal()
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            try:
                async with trio.open_nursery() as nursery:
                    with self._kill:
                        async with trio.open_nursery() as places:
                            nursery.start_soon(self._obey, signals, places, had_terminal)
                            for number in range(self.count):
                                places.start_soon(self._keep, number)
                    if self._kill.cancelled_caught:
                        if trio.current_time() >= self._kill.deadline:
                            logger.error("workers did not stop in time and are killed")
                        self._status = 1
                    nursery.cancel_scope.cancel(reason="all workers have ended")
            finally:
                self._loads.close()
        return self._status

    async def _obey(self, signals: AsyncIterator[int], places: trio.Nursery, had_terminal: bool) -> None:
        counted = SignalCount()
        async for number in signals:
            if number != signal.SIGHUP or (had_terminal and not has_terminal()):
                self._stop(signal.Signals(number).name)
                if counted.add(number, trio.current_time()) == 3:
                    logger.critical("a third %s: the workers are killed", signal.Signals(number).name)
                    self._kill.cancel(reason="a third signal")
            elif not self._stopping.is_set():
                self._replace_again = True
                if not self._is_replacing:
                    self._is_replacing = True
                    places.start_soon(self._replace_all, places)

    def _stop(self, why: str) -> None:
        """Tell every worker to stop; a later time, to hurry: they know what is the same signal."""
        if not self._stopping.is_set():
            logger.info("stopping the workers because of %s", why)
            self._stopping.set()
            self._kill.deadline = trio.current_time() + self.drain_timeout + SLACK_SECONDS
        for worker in self._alive:
            worker.process.terminate()

    def _fail(self, why: str) -> None:
        self._status = 1
        self._stop(why)

    # A worker from its start to its end

    async def _keep(
        self,
        number: int,
        predecessor: Worker | None = None,
        *,
        task_status: trio.TaskStatus[Worker | None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Have a worker with this number until the server stops, or a successor has its place."""
        go_on, seconds = True, RESTART_SECONDS
        while go_on:
            try:
                worker = await self._start(number, predecessor)
            except OSError as error:
                task_status.started(None)
                task_status = trio.TASK_STATUS_IGNORED
                go_on = self._is_needed(number, predecessor, error) and await self._pause(seconds)
                seconds = min(2 * seconds, MAX_RESTART_SECONDS)
                continue
            task_status.started(worker)
            task_status, predecessor, seconds = trio.TASK_STATUS_IGNORED, None, RESTART_SECONDS
            try:
                status = await self._wait(worker)
            finally:
                worker.end()
                self._alive.discard(worker)
                self._loads.give_slot_back(worker.place.slot)
            go_on = self._judge(worker, status) and await self._pause(RESTART_SECONDS * 2 ** (self._recent_ends() - 1))

    async def _start(self, number: int, predecessor: Worker | None) -> Worker:
        """Start a worker. Raises: OSError."""
        slot, loads = self._loads.take_slot(), self._loads.descriptor
        make_place = partial(WorkerPlace, number, slot, loads)
        try:
            worker = await start_worker(self.command, make_place, [*self.descriptors, loads], predecessor, self.answer)
        except OSError:
            self._loads.give_slot_back(slot)
            raise
        logger.debug("%s has started", worker.name)
        self._alive.add(worker)
        self._workers[number] = worker
        if self._stopping.is_set():
            worker.process.terminate()
        return worker

    async def _wait(self, worker: Worker) -> int:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.listen)
            nursery.start_soon(self._await_ready, worker)
            nursery.start_soon(self._hub.serve, worker.hub)
            status = await worker.process.wait()
            nursery.cancel_scope.cancel(reason="the worker has ended")
        return status

    async def _await_ready(self, worker: Worker) -> None:
        is_of_the_first = not self._was_ready
        await worker.settled.wait()
        if not is_of_the_first:
            logger.info("%s is ready", worker.name)
        elif not (self._was_ready or self.missing or self._stopping.is_set()):
            self._was_ready = True
            self.on_ready()

    def _judge(self, worker: Worker, status: int) -> bool:
        """Say how a worker ended. Returns whether another one has to be started in its place."""
        how = worker.describe_end(status)
        if self._stopping.is_set() or worker.is_retired:
            is_known = not worker.is_ready and (status == -signal.SIGTERM or worker.problem)
            if status != 0 and not is_known:
                logger.error("%s", how)
                self._status = self._status if worker.is_retired else 1
            return False
        old = worker.predecessor
        if not worker.is_ready and old is not None and not old.ended.is_set():
            logger.error("%s: no worker is replaced any more", how)
            old.has_successor = False
            self._workers[worker.place.number] = old
            return False
        if not worker.is_ready:
            logger.error("%s", how)
            self._fail("a worker that cannot start")
            return False
        logger.error("%s", how)
        self._ends.append(trio.current_time())
        if self._recent_ends() == MAX_ENDS:
            self._fail(f"{MAX_ENDS} ends of workers within {ENDS_SECONDS:g} seconds")
            return False
        return not worker.has_successor

    def _is_needed(self, number: int, predecessor: Worker | None, error: OSError) -> bool:
        """Say that no process could be started. Returns whether that has to be tried again."""
        if predecessor is not None and not predecessor.ended.is_set():
            logger.error("worker %d cannot be started: %s; no worker is replaced any more", number, error)
            predecessor.has_successor = False
            return False
        logger.error("worker %d cannot be started: %s", number, error)
        if not self._was_ready:
            self._fail("a worker that cannot start")
        return not self._stopping.is_set()

    def _recent_ends(self) -> int:
        since = trio.current_time() - ENDS_SECONDS
        return sum(when >= since for when in self._ends)

    async def _pause(self, seconds: float) -> bool:
        """Wait before another worker is started. Returns whether it still has to be."""
        logger.info("another worker is started in %g s", seconds)
        with trio.move_on_after(seconds):
            await self._stopping.wait()
        return not self._stopping.is_set()

    # One worker after the other

    async def _replace_all(self, places: trio.Nursery) -> None:
        """Replace every worker, and all of them again if that was asked for meanwhile."""
        while self._replace_again:
            self._replace_again = False
            logger.info("replacing the workers, one after the other, because of SIGHUP")
            for old in list(self._workers):
                if old is not None and not await self._replace(old, places):
                    break
            else:
                logger.info("all workers are replaced")
        self._is_replacing = False

    async def _replace(self, old: Worker, places: trio.Nursery) -> bool:
        """Start a worker, and stop an old one once that is ready. Returns whether to go on with the next."""
        await old.settled.wait()
        if self._stopping.is_set():
            return False
        if old.ended.is_set():  # the one that is started again is new already
            return True
        old.has_successor = True
        new = await places.start(self._keep, old.place.number, old)
        if new is None:
            return False
        await new.settled.wait()
        if not new.is_ready or self._stopping.is_set():
            return False
        old.retire()
        with trio.move_on_after(NEWCOMERS_SECONDS + self.drain_timeout + SLACK_SECONDS):
            await old.ended.wait()
        if not old.ended.is_set():
            logger.error("%s did not stop in time and is killed", old.name)
            old.process.kill()
            await old.ended.wait()
        return not self._stopping.is_set()


async def _no_answer(question: Any) -> None:
    await trio.lowlevel.checkpoint()


def _who_serves(worker: Worker | None) -> Worker | None:
    if worker is not None and not worker.is_ready:
        worker = worker.predecessor
    return worker if worker is not None and worker.is_ready and not worker.ended.is_set() else None
