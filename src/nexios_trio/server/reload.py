"""Serve an application anew whenever a file of it changes.

    signals, files                    watched by the parent, which also holds the listening sockets
        serving                       one process with the application; a change ends this block
    the next process                  waits, with everything imported but the application

A process is the same command on inherited sockets (`fd://`), with one end of a link to the parent. It waits for the
parent's word before it imports the application, so that two never run at a time, and says when it serves. When the
parent's end closes, it sends its clients away (1012) and ends, or says what holds it up. Nobody closes the sockets: who
connects meanwhile waits.
"""

import _thread
import importlib.util
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

import attrs
import trio

from .file_changes import CannotWatch, NextChanges, watch_files
from .forced_end import FAILED, LOG_SECONDS, ForcedEnd
from .stop_signals import SignalCount

__all__ = ["CannotWatch", "ReloadLink", "Reloader"]

logger = logging.getLogger("nexios_trio.command")

TURN: Final = b"serve\n"
READY: Final = b"ready\n"
STOP_SECONDS: Final = 2.0  # that a process has to end, before it says what holds it up, and ends with that
KILL_SECONDS: Final = STOP_SECONDS + LOG_SECONDS + 0.5  # before it is killed, because it could not even do that
NAMES_SHOWN: Final = 3
_PACKAGE: Final = Path(__file__).parents[1]
# The terminal's Ctrl-C reaches the processes, too: it says nothing to one that does not serve yet, from its first
# instruction on.
_START: Final = ("/bin/sh", "-c", "trap '' INT; exec \"$@\"", "sh", sys.executable, "-m", "nexios_trio")


@attrs.define(eq=False)
class ServerProcess:
    """One process, and the parent's end of its link."""

    process: trio.Process
    link: trio.SocketStream

    async def stop(self) -> None:
        """Let it send its clients away and end; kill it when that takes too long."""
        self.link.socket.close()
        with trio.move_on_after(KILL_SECONDS):
            await self.process.wait()
        if self.process.returncode is None:
            logger.warning("the server did not stop within %g s, and is killed", KILL_SECONDS)
            await self.kill()

    async def kill(self) -> None:
        self.process.kill()
        self.link.socket.close()
        await self.process.wait()


@attrs.define(eq=False)
class Reloader:
    """Runs one server after the other.

    Args:
        arguments: of the command `nexios-trio`, for the process with this number, from 0. It is told the descriptor of
            its link by `--link`.
        descriptors: what the processes inherit.
        folders, patterns: which files are watched.
        on_ready: called when a server serves, with the seconds since the change; None for the first one.
    """

    arguments: Callable[[int], Sequence[str]]
    descriptors: Sequence[int]
    folders: Sequence[Path]
    patterns: Sequence[str]
    on_ready: Callable[[float | None], None]
    _all: list[ServerProcess] = attrs.field(factory=list, init=False)
    _started: int = attrs.field(default=0, init=False)
    _next: ServerProcess | None = attrs.field(default=None, init=False)
    _status: int = attrs.field(default=0, init=False)

    async def run(self) -> int:
        """Serve until SIGTERM or Ctrl-C, whatever becomes of the servers. A second one kills them.

        Cancellation: the server has `KILL_SECONDS` to end.
        Returns: the exit status: 1 where the server did not stop in order.
        Raises: CannotWatch.
        """
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            try:
                async with trio.open_nursery() as nursery:
                    serving = trio.CancelScope()
                    nursery.start_soon(self._end_on_signal, signals, serving)
                    with serving:
                        async with watch_files(self.folders, self.patterns) as next_changes:
                            await self._serve_forever(next_changes)
                    nursery.cancel_scope.cancel(reason="the server has ended")
            finally:
                with trio.CancelScope(shield=True):  # bounded: it cannot be caught
                    for one in self._all:
                        await one.kill()
        return self._status

    async def _end_on_signal(self, signals: AsyncIterator[int], serving: trio.CancelScope) -> None:
        counted = SignalCount()
        async for number in signals:
            if (count := counted.add(number, trio.current_time())) is None:
                continue
            if count > 1:
                for one in self._all:
                    one.process.kill()
            serving.cancel(reason="a signal")

    async def _serve_forever(self, next_changes: NextChanges) -> None:
        changed_at = None
        while True:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._serve, changed_at)
                changed = await next_changes()
                changed_at = trio.current_time()
                logger.info("%s changed: reloading", _names(changed))
                nursery.cancel_scope.cancel(reason="files have changed")
            await self._forget_old_code(changed)

    async def _serve(self, changed_at: float | None) -> None:
        """Serve with one process, until it ends or this is cancelled."""
        one, self._next = self._next or await self._start(), None
        try:
            await one.link.send_all(TURN)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._await_ready, one, changed_at)
                status = await one.process.wait()
                nursery.cancel_scope.cancel(reason="the server has ended")
            await self._prepare_next()
            how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
            logger.warning("the server ended %s; it starts again when a file changes", how)
        except trio.BrokenResourceError:
            pass  # it has ended before its turn, because of a signal
        finally:
            is_stopped = one.process.returncode is None  # by us
            with trio.CancelScope(shield=True):  # bounded by KILL_SECONDS
                await one.stop()
            self._all.remove(one)
            self._status = FAILED if is_stopped and one.process.returncode != 0 else 0

    async def _await_ready(self, one: ServerProcess, changed_at: float | None) -> None:
        said = b""
        with suppress(trio.BrokenResourceError):
            while said != READY and (data := await one.link.receive_some()):
                said += data
        if said == READY:
            self.on_ready(None if changed_at is None else trio.current_time() - changed_at)
            await self._prepare_next()

    async def _prepare_next(self) -> None:
        if self._next is None:
            self._next = await self._start()

    async def _start(self) -> ServerProcess:
        arguments = self.arguments(self._started)
        self._started += 1
        with ExitStack() as on_failure:
            ours, theirs = socket.socketpair()
            on_failure.enter_context(ours)
            with theirs:
                process = await trio.lowlevel.open_process(
                    [*_START, *arguments, f"--link={theirs.fileno()}"],
                    pass_fds=[*self.descriptors, theirs.fileno()],
                )
            on_failure.pop_all()
        one = ServerProcess(process, trio.SocketStream(trio.socket.from_stdlib_socket(ours)))
        self._all.append(one)
        return one

    async def _forget_old_code(self, changed: Iterable[Path]) -> None:
        """Have Python compile again what has changed; start again a process that has imported some of it already.

        It compares sizes and whole seconds, which may both be the same.
        """
        for path in changed:
            if path.suffix == ".py":
                with suppress(FileNotFoundError):
                    os.unlink(importlib.util.cache_from_source(path))
        if self._next is not None and any(path.is_relative_to(_PACKAGE) for path in changed):
            one, self._next = self._next, None
            await one.stop()
            self._all.remove(one)


def _names(changed: Iterable[Path]) -> str:
    here = Path.cwd()
    names = sorted(str(path.relative_to(here) if path.is_relative_to(here) else path) for path in changed)
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


@attrs.frozen
class ReloadLink:
    """The parent, as such a process sees it."""

    descriptor: int

    def wait_for_turn(self) -> bool:
        """Wait until it is this process' turn to serve. False if it will never be."""
        os.set_inheritable(self.descriptor, False)
        said = b""
        while said != TURN:
            data = os.read(self.descriptor, len(TURN) - len(said))
            if not data:
                return False
            said += data
        return True

    def say_ready(self) -> None:
        """Tell the parent that connections are accepted."""
        with suppress(BrokenPipeError):  # the parent is gone, as `follow` finds out
            os.write(self.descriptor, READY)

    async def follow(self, serving: trio.CancelScope) -> None:
        """End `serving` when the parent says so, or is gone; and the process, when it has not ended then in time."""
        forced_end = ForcedEnd(lambda: STOP_SECONDS)
        _thread.start_new_thread(self._arm_at_the_end, (forced_end,))  # not held up by what blocks the event loop
        await trio.lowlevel.wait_readable(self.descriptor)
        serving.cancel(reason="the parent says so")

    def _arm_at_the_end(self, forced_end: ForcedEnd) -> None:
        os.read(self.descriptor, 1)
        forced_end.arm()
