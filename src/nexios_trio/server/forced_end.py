"""End the process when its stop takes too long, whatever holds it up, or at once.

Nothing is needed for that which could be held up itself: no event loop, and no lock that the main thread may hold. One
thread waits for the limit, and another one writes the log, which may be left behind.
"""

import _thread
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Final, NoReturn

import trio

from .shields import log_tasks, log_with_stack
from .task_stacks import fields_of_thread, stack_of_thread, tasks_below

__all__ = ["ForcedEnd"]

logger = logging.getLogger("nexios_trio.server")

STDERR: Final = 2
FAILED: Final = 1  # exit status
SIGNALLED: Final = 128  # the same, plus the signal's number, as shells have it
LOG_SECONDS: Final = 1.0  # that the log may take


class ForcedEnd:
    """Of the process whose main thread makes this, inside of trio.

    Args:
        limit: returns the seconds from when it is armed to the end.
    """

    def __init__(self, limit: Callable[[], float]) -> None:
        self._limit = limit
        self._thread = threading.get_ident()
        self._root = trio.lowlevel.current_root_task()
        self._is_armed = False
        self._is_told = _thread.allocate_lock()

    def arm(self) -> None:
        """Begin to count. May be called by a signal handler, in any thread, and again."""
        if not self._is_armed:
            self._is_armed = True
            _thread.start_new_thread(self._end_at_limit, ())

    def now(self, number: int) -> NoReturn:
        """End the process, and say so. May be called by a signal handler."""
        text = f"a third {signal.Signals(number).name}: the process ends at once, and waits for nothing"
        record = logger.makeRecord(logger.name, logging.CRITICAL, __file__, 0, text, (), None)
        line = logging.lastResort.format(record) if logging.lastResort is not None else text
        try:
            os.write(STDERR, f"{line}\n".encode())
        finally:
            os._exit(SIGNALLED + number)

    def _end_at_limit(self) -> NoReturn:
        seconds = self._limit()
        time.sleep(seconds)
        self._is_told.acquire()
        _thread.start_new_thread(self._tell, (seconds,))
        self._is_told.acquire(timeout=LOG_SECONDS)
        os._exit(FAILED)

    def _tell(self, seconds: float) -> None:
        try:
            stack = stack_of_thread(self._thread)
            text = f"{seconds:g} s after it was told to stop, the process has not ended, and is killed"
            log_with_stack(logging.CRITICAL, text, stack, fields_of_thread(self._thread) if stack.spot else {})
            if stack.spot is None and self._root is not None:  # else that is why nothing else goes on
                nurseries = self._root.child_nurseries
                tasks = [task for nursery in nurseries for task in tasks_below(nursery)]
                log_tasks(logging.ERROR, [("still runs", task) for task in tasks])
            for thread in threading.enumerate():
                if not thread.daemon and thread.ident not in (None, self._thread):
                    stack = stack_of_thread(thread.ident or 0)
                    log_with_stack(logging.ERROR, f"the thread {thread.name} still runs", stack, {})
        finally:
            self._is_told.release()
