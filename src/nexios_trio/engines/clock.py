"""A clock for what outlives a run of trio.

Each `trio.run` has a clock that begins at a time of its own choosing. Who keeps times of one run and compares them in
the next finds what was saved a second ago to be days old, or to come from the future.
"""

import time
import weakref
from collections.abc import Callable

import trio


class ContinuousClock:
    """Seconds of trio's clock, which go on from one run to the next; between two runs the machine's clock counts.

    Concurrency: tasks of one run at a time.
    """

    __slots__ = ("_last", "_machine", "_machine_last", "_offset", "_run")

    def __init__(self, machine: Callable[[], float] = time.monotonic) -> None:
        self._machine = machine
        self._run: weakref.ref[trio.lowlevel.TrioToken] | None = None  # the one that asked last
        self._offset = 0.0  # from its clock to ours
        self._last = 0.0  # what we said then
        self._machine_last = 0.0  # and what the machine's clock said

    def __call__(self) -> float:
        """Raises: RuntimeError outside of trio."""
        token = trio.lowlevel.current_trio_token()
        now, machine_now = trio.current_time(), self._machine()
        if self._run is None or self._run() is not token:
            if self._run is not None:
                self._offset = self._last + (machine_now - self._machine_last) - now
            self._run = weakref.ref(token)
        self._last, self._machine_last = now + self._offset, machine_now
        return self._last
