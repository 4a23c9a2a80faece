"""One task that watches many sockets: a private epoll descriptor, itself watched by trio.

A task per socket that waits, wakes and waits again costs several times what one message does. Here one task wakes when
anything is ready and calls whoever is; none of them may block.
"""

import logging
import os
import select
import socket
from collections.abc import Generator
from contextlib import contextmanager
from math import inf
from time import perf_counter
from typing import Protocol

import trio

from .waiting import Waiting

logger = logging.getLogger("nexios_trio.poller")

IS_AVAILABLE = hasattr(select, "epoll")
# docs/decisions/005
MAX_EVENTS = 256  # asked for at a time
# Seconds between two checkpoints: other tasks should not wait longer because some peers keep us busy; or, where those
# tasks take long themselves, as long as they did, up to the second.
MIN_PASS_SECONDS = 0.001
MAX_PASS_SECONDS = 0.01
# A socket whose turn exceeded this is deferred until every other ready socket has been served: a peer's flood costs
# others one turn, and not their place in the queue. So are newcomers: who is connected comes first.
BUSY_TURN_SECONDS = 0.0001  # a turn for one short message takes a fifth of that
# Without anything to do for so long, its turn was long by chance, or a machine's other programs had it.
BUSY_FORGIVEN_SECONDS = 0.05
# Between two checkpoints all of those together have one turn, or so many seconds if nobody else comes. A turn of a
# newcomer takes a tenth of a millisecond, and what it starts a whole one: that makes a besieged server's passes long.
BUSY_PASS_SECONDS = 0.0003
# While the other tasks take so long, somebody's message is late already: then nobody who waits has a turn, for a while.
# In one of two consecutive passes, at least: their order is chance, and we may be the last in one and the first in the
# next.
SLOW_PASS_SECONDS = 0.002
MAX_DEFERRAL_SECONDS = 0.01

# Elsewhere nothing is watched, and these only have to exist.
READ = select.EPOLLIN if IS_AVAILABLE else 0
WRITE = select.EPOLLOUT if IS_AVAILABLE else 0
PEER_LEFT = select.EPOLLRDHUP if IS_AVAILABLE else 0
BROKEN = select.EPOLLHUP | select.EPOLLERR if IS_AVAILABLE else 0
# Of who waits, we are told once: else thousands of them would be told of again at every look, before all the others.
ONCE = select.EPOLLONESHOT if IS_AVAILABLE else 0


class Watched(Protocol):
    """Who owns a socket: a direct transport, who reads a request, who waits for a peer to hang up.

    Puts itself here with `Poller.watch`; the poller's task calls it.
    """

    interest: int  # what it is watched for; the poller sets it

    def ready(self, events: int) -> None:
        """Some of READ, WRITE, PEER_LEFT, BROKEN happened. Must not block."""

    def failed(self, error: Exception) -> None:
        """`ready` raised, which is a mistake of ours. Let go of the socket."""


class Poller:
    """Sockets and their owners. Owned by the block that runs it; closed when that ends."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._owners: dict[int, Watched] = {}
        self._busy: dict[int, float] = {}  # whose last turn took long, and when that ended; newcomers, and `inf`
        self._later = Waiting()  # those of them who are ready
        self._had_newcomer = False  # one had its turn at once since we looked last
        self._is_calm = True  # nobody else had a turn since their last one
        self._served_at = 0.0  # when that ended
        self._duty = trio.Lock()
        self._alarm = os.eventfd(1, os.EFD_CLOEXEC)  # always readable: to watch it wakes whoever runs this
        self._epoll.register(self._alarm, 0)

    def __len__(self) -> int:
        return len(self._owners)

    def watch(self, sock: socket.socket, owner: Watched, events: int, *, newcomer: bool = False) -> None:
        fd = sock.fileno()
        self._epoll.register(fd, events | ONCE if newcomer else events)
        self._owners[fd] = owner
        owner.interest = events
        if newcomer:
            self._busy[fd] = inf

    def serve_at_once(self, newcomer: Watched) -> None:
        """Let a newcomer read, before it is watched: what it asks for has often come along.

        Not where others wait for a turn, and of several only the first until we have looked at all sockets again: for
        the others nothing happens, and they are to be watched.
        """
        if self._had_newcomer or self._later:
            return
        self._had_newcomer = True
        try:
            newcomer.ready(READ)
        except Exception as error:
            self._failed(newcomer, error)

    def change(self, sock: socket.socket, events: int, owner: Watched | None = None) -> None:
        fd = sock.fileno()
        if owner is not None:
            self._owners[fd] = owner
            self._busy.pop(fd, None)
            self._later.discard(fd)
        self._owners[fd].interest = events
        self._arm(fd)

    def _arm(self, fd: int) -> None:
        interest = self._owners[fd].interest
        self._epoll.modify(fd, interest | ONCE if fd in self._busy else interest)

    def call_again(self, sock: socket.socket, events: int) -> None:
        """Give a socket's owner another turn, behind all who are ready: it knows of what the kernel does not tell."""
        fd = sock.fileno()
        self._busy.setdefault(fd, perf_counter())
        self._later.put(fd, events, newcomer=False)
        self._epoll.modify(self._alarm, READ | ONCE)

    def forget(self, sock: socket.socket) -> None:
        """Stop watching; must come before the socket is closed. A no-op for one that is not watched."""
        fd = sock.fileno()
        if self._busy.pop(fd, None) is not None:
            self._later.discard(fd)
        if self._owners.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    async def run(self) -> None:
        """Call the owners of what is ready, for ever. Cancellation: between two rounds.

        Concurrency: of several tasks that run it one works, and the next goes on where that was cancelled.
        """
        async with self._duty:
            await self._run()

    async def _run(self) -> None:
        poll = self._epoll.poll
        descriptor = self._epoll.fileno()
        share = MIN_PASS_SECONDS
        while True:
            before = share
            self._had_newcomer = False
            if self._busy and self._later:  # who waits is busy or new
                share = await _let_others_run()
            else:
                await trio.lowlevel.wait_readable(descriptor)
                share = MIN_PASS_SECONDS
            ready = poll(0, MAX_EVENTS)
            while ready := self._serve(ready, share):
                ready, share = await self._pause(ready)
            if self._busy and self._later:
                if self._is_calm:
                    self._serve_busy(BUSY_PASS_SECONDS)
                elif max(share, before) <= SLOW_PASS_SECONDS or perf_counter() - self._served_at > MAX_DEFERRAL_SECONDS:
                    self._serve_busy(0.0)

    async def _pause(self, ready: list[tuple[int, int]]) -> tuple[list[tuple[int, int]], float]:
        """Let others run. Returns who is still to have a turn, and how long the next turns may take."""
        owners = [self._owners.get(fd) for fd, _ in ready]  # `_run` would keep them while it sleeps
        try:
            share = await _let_others_run()
        except trio.Cancelled:
            self._tell_again(ready)
            raise
        return [turn for turn, owner in zip(ready, owners, strict=True) if self._owners.get(turn[0]) is owner], share

    def _tell_again(self, ready: list[tuple[int, int]]) -> None:
        """Have the kernel tell once more of what it tells once."""
        for fd, _ in ready:
            if fd in self._busy:
                self._arm(fd)

    def _serve(self, ready: list[tuple[int, int]], share: float) -> list[tuple[int, int]]:
        """Give a turn to all who are ready and not busy, and note the others. Returns who is left after `share`."""
        owners, busy, later = self._owners, self._busy, self._later
        began = perf_counter()
        pause_at = began + share
        for index, (fd, events) in enumerate(ready, 1):
            if fd in busy:
                if fd in later or began - busy[fd] < BUSY_FORGIVEN_SECONDS:
                    later.put(fd, events, newcomer=busy[fd] == inf)
                    continue
                del busy[fd]
                self._arm(fd)
            owner = owners.get(fd)
            if owner is None:  # gone in another's turn; or the alarm
                continue
            self._is_calm = False
            try:
                owner.ready(events)
            except Exception as error:
                self._failed(owner, error)
            now = perf_counter()
            if now - began > BUSY_TURN_SECONDS and owners.get(fd) is owner:
                busy[fd] = now
                self._arm(fd)
            began = now
            if now > pause_at:
                return ready[index:]
        return []

    def _serve_busy(self, share: float) -> None:
        """A turn of who is busy, or a newcomer, and more until `share` is over. Who is quick again is busy no more."""
        now = perf_counter()
        until = now + share
        is_first = True
        while self._later and (now < until or is_first):
            is_first = False
            fd, events = self._later.get()
            owner, began = self._owners[fd], now
            events &= owner.interest | BROKEN  # some of it may be old
            try:
                if events:
                    owner.ready(events)
            except Exception as error:
                self._failed(owner, error)
            now = perf_counter()
            if self._owners.get(fd) is not owner:
                continue
            if self._busy.get(fd, inf) < inf:
                if now - began > BUSY_TURN_SECONDS:
                    self._busy[fd] = now
                elif fd not in self._later:
                    del self._busy[fd]
            self._arm(fd)
        self._is_calm = True
        self._served_at = now

    def _failed(self, owner: Watched, error: Exception) -> None:
        logger.error("a connection failed", exc_info=error)
        owner.failed(error)

    def close(self) -> None:
        self._owners.clear()
        self._busy.clear()
        self._later = Waiting()
        self._epoll.close()
        if self._alarm >= 0:
            os.close(self._alarm)
            self._alarm = -1


async def _let_others_run() -> float:
    """A checkpoint. Returns how long the next turns may take together.

    That is as long as the others had: if it were less, who is last of many would wait for the others many times.
    """
    left_at = perf_counter()
    await trio.lowlevel.checkpoint()
    return min(max(perf_counter() - left_at, MIN_PASS_SECONDS), MAX_PASS_SECONDS)


@contextmanager
def open_poller() -> Generator[Poller | None]:
    """A poller that is closed with the block; None where there is no epoll."""
    if not IS_AVAILABLE:
        yield None
        return
    poller = Poller()
    try:
        yield poller
    finally:
        poller.close()
