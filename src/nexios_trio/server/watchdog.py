"""Name what blocks the event loop: while it does, once for each place, from a thread that looks whether the loop turns.

Every now and then the thread asks the loop for a sign. Where none comes for `block_warning` seconds, the main thread is
in a call that does not return, and its stack says which. Time in which the whole process stood still is not counted: it
was stopped (SIGSTOP), or the machine slept or was overloaded, and this thread could not run either.
"""

import logging
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf
from pathlib import Path
from typing import Final

import attrs
import trio

from ..config.settings import Settings
from .shields import log_with_stack
from .task_stacks import Stack, fields_of_thread, stack_of_thread

__all__ = ["DEVELOPMENT_SECONDS", "BlockedTime", "default_block_warning", "watch_event_loop"]

logger = logging.getLogger("nexios_trio.server")

DEVELOPMENT_SECONDS: Final = 1.0  # in place of the setting, in debug mode and with --reload
LOOKS: Final = 5  # in that time
MAX_SPOTS: Final = 100  # that are remembered, and named
_DEBUGGERS: Final = frozenset({"bdb.py", "pdb.py", "pydevd.py", "pydevd_frame.py"})
_HELP: Final = (
    "everybody waits for it: await trio.sleep() in place of time.sleep(), and put what blocks into a thread, "
    "await trio.to_thread.run_sync(f)"
)

# Seconds, where the settings name none. Set by who serves, before it does.
default_block_warning: ContextVar[float] = ContextVar("nexios_trio.default_block_warning", default=inf)


async def watch_event_loop(settings: Settings) -> None:
    """Watch over this task's event loop, if the settings say so, until cancelled."""
    seconds = settings.block_warning
    if seconds == inf:
        seconds = DEVELOPMENT_SECONDS if settings.debug else default_block_warning.get()
    if seconds < inf:
        with watching(seconds):
            await trio.sleep_forever()


@contextmanager
def watching(seconds: float) -> Generator[None]:
    """Watch over this thread's event loop in the block."""
    watchdog = Watchdog(seconds)
    watchdog.thread.start()
    try:
        yield
    finally:
        watchdog.stop()


class BlockedTime:
    """For how long the loop has given no sign, without the time in which the process stood still.

    Args:
        asked: seconds from one look to the next, if nothing holds up who looks.
        now, cpu: when the sign was asked for, and the processor time of the process by then; seconds.
    """

    def __init__(self, asked: float, now: float, cpu: float) -> None:
        self._asked = asked
        self._since = self._seen = now
        self._cpu = cpu

    def look(self, now: float, cpu: float) -> float:
        """Return the seconds up to now."""
        late = now - self._seen - self._asked  # who looks was held up itself
        if late > self._asked and cpu - self._cpu < late / 2:  # and not by a call that holds the interpreter's lock
            self._since += late
        self._seen, self._cpu = now, cpu
        return now - self._since


class Watchdog:
    """Of the thread that makes it, inside of trio."""

    def __init__(self, seconds: float) -> None:
        self.thread = threading.Thread(target=self._watch, name="nexios_trio watchdog", daemon=True)
        self._seconds = seconds
        self._watched = threading.get_ident()
        self._token = trio.lowlevel.current_trio_token()
        self._sign = threading.Event()
        self._stopped = threading.Event()
        self._spots: set[tuple[str, int] | None] = set()

    def stop(self) -> None:
        """End the thread. Called by the thread that is watched."""
        self._stopped.set()
        self._sign.set()
        self.thread.join(self._seconds)

    def _watch(self) -> None:
        asked = self._seconds / LOOKS
        try:
            while not self._stopped.wait(asked):
                self._sign.clear()
                self._token.run_sync_soon(self._sign.set)
                if not self._stopped.is_set():
                    self._await_sign(asked)
        except trio.RunFinishedError:
            pass

    def _await_sign(self, asked: float) -> None:
        blocked = BlockedTime(asked, time.monotonic(), time.process_time())
        seconds, is_looked_at, is_told = 0.0, False, False
        while not self._sign.wait(asked):
            seconds = blocked.look(time.monotonic(), time.process_time())
            if seconds >= self._seconds and not is_looked_at:
                is_looked_at = True
                is_told = self._tell(seconds)
        if is_told and not self._stopped.is_set():
            seconds = blocked.look(time.monotonic(), time.process_time())
            logger.warning("the event loop goes on, after %.1f s", seconds)

    def _tell(self, seconds: float) -> bool:
        """Say what blocks the loop, unless that was said before. Returns whether it was said now."""
        stack = stack_of_thread(self._watched)
        if stack.spot in self._spots or len(self._spots) == MAX_SPOTS or _is_in_debugger(stack):
            return False
        self._spots.add(stack.spot)
        text = f"the event loop has been blocked for {seconds:.1f} s, and {_HELP}"
        shown = attrs.evolve(stack, text=stack.text or stack.library_text)
        log_with_stack(logging.WARNING, text, shown, fields_of_thread(self._watched))
        return True


def _is_in_debugger(stack: Stack) -> bool:
    return not _DEBUGGERS.isdisjoint(Path(file).name for file in stack.files)
