"""A trio run that stands still between calls: for code that is not async, such as the rules of a Hypothesis machine.

Between calls no time passes. While a call waits and nothing else can be done, the clock jumps to the next deadline, so
that every timeout comes.
"""

from collections.abc import Awaitable, Callable
from math import inf
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import outcome
import trio
import trio.testing

from ..simulation.deadlock import DeadlockDetector
from ..simulation.determinism import deterministic

__all__ = ["SteppedRun"]

T = TypeVar("T")

MAX_CALL_SECONDS = 30.0  # seconds of real time for one call
MAX_IDLE_PASSES_PER_CALL = 50_000  # passes of the scheduler in one call in which no time passes


class SteppedRun:
    """Runs async functions one after the other, in one run in this thread, on a clock that only its owner moves.

    Args:
        seed: of the order in which tasks run.
    """

    def __init__(self, seed: int = 0) -> None:
        self._todo: SimpleQueue[Callable[[], Any]] = SimpleQueue()
        self._request: Callable[[], Awaitable[Any]] | None = None
        self._result: outcome.Outcome[Any] | None = None
        self._wake_up = trio.Event()
        self._token: trio.lowlevel.TrioToken | None = None
        self._end: outcome.Outcome[None] | None = None
        self._clock = trio.testing.MockClock()
        self._detector = DeadlockDetector(quiet=MAX_IDLE_PASSES_PER_CALL)
        self._order = deterministic(seed)
        self._order.__enter__()
        trio.lowlevel.start_guest_run(
            self._serve,
            run_sync_soon_threadsafe=self._todo.put,
            done_callback=self._done,
            clock=self._clock,
            instruments=[self._detector],
        )
        self._run_until(lambda: self._token is not None)

    def call(self, function: Callable[..., Awaitable[T]], *args: Any, scoped: bool = True) -> T:
        """Run an async function to its end. What other tasks do meanwhile goes on.

        Args:
            scoped: False for a function that opens a block which a later call closes; it cannot be cancelled.
        Raises: what it raises; Stuck when it could never end; TimeoutError when nothing happens for half a minute of
            real time.
        """
        if self._end is not None or self._token is None:
            raise RuntimeError("this run is over")
        self._result = None
        self._detector.begin_again()
        self._detector.scope = None
        self._request = (lambda: self._detector.watch(function, *args)) if scoped else (lambda: function(*args))
        self._token.run_sync_soon(self._wake)
        self._run_until(lambda: self._result is not None or self._end is not None)
        return self._answer()  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the run: its tasks are cancelled. Idempotent."""
        if self._end is None and self._token is not None:
            self._request = None
            self._token.run_sync_soon(self._wake)
            self._run_until(lambda: self._end is not None)
        if self._token is not None:
            self._token = None
            self._order.__exit__(None, None, None)

    async def _serve(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        while True:
            await self._wake_up.wait()
            self._wake_up = trio.Event()
            if self._request is None:
                return
            self._clock.autojump_threshold = 0
            self._result = await outcome.acapture(self._request)
            self._clock.autojump_threshold = inf

    def _answer(self) -> Any:
        with self._detector.enforced():
            if self._result is None:
                raise RuntimeError("the run has ended")
            return self._result.unwrap()

    def _wake(self) -> None:
        self._wake_up.set()

    def _done(self, end: "outcome.Outcome[None]") -> None:
        self._end = end

    def _run_until(self, is_reached: Callable[[], bool]) -> None:
        while not is_reached():
            try:
                callback = self._todo.get(timeout=MAX_CALL_SECONDS)
            except Empty:
                raise TimeoutError(f"nothing happened for {MAX_CALL_SECONDS:g} s of real time") from None
            callback()
