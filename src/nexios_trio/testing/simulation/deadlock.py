"""A run that can never end, in virtual time, ends with an error that says which task is to blame.

Theory of operation. On a virtual clock no deadline comes while a task is ready, or when there is none: a task that
goes round and round without waiting, or tasks that all wait for each other, would stop the run for ever. A pass is
one round of trio's scheduler, in which each ready task makes one step. `DeadlockDetector` counts the passes at one
moment of virtual time; after some it begins to count whose steps they are.

    one spins       `Stuck` is thrown into the task that made most steps, at the very line that it stands at. A task
                    that catches it and goes on gets it again, and in the end as something that is no `Exception`.
    nobody moves    the guarded scope is cancelled

Not covered: a loop without any checkpoint. pytest's `faulthandler_timeout` shows where that is.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import outcome
import trio

from ..checks.stacks import all_tasks, is_users, where
from ..errors import Stuck

__all__ = ["DeadlockDetector"]

T = TypeVar("T")

MAX_IDLE_PASSES: Final = 100_000  # passes without time, and without anything happening: a second or two of real time
MAX_PASSES: Final = 500_000  # passes without time, whatever happens
SAMPLE_AFTER_PASSES: Final = 1000  # quiet passes after which steps are counted
IDLE_PASSES: Final = 5000  # quiet passes, in which no task made a step
MAX_CATCHES: Final = 3  # times that a task may catch the error


class DeadlockDetector(trio.abc.Instrument):
    """Watches a run on a virtual clock.

    Args:
        quiet: passes without a call of `progress`, 100,000 by default.
    """

    def __init__(self, *, quiet: int | None = None) -> None:
        self.error: Stuck | None = None
        self.scope: trio.CancelScope | None = None
        self._limit = MAX_IDLE_PASSES if quiet is None else quiet
        self._now: float | None = None
        self._quiet = 0  # passes since time passed, or `progress`
        self._total = 0  # passes since time passed
        self._sample: _Sample | None = None
        self._thrown = 0

    def progress(self) -> None:
        """Something has happened, so nothing spins."""
        self._quiet = 0

    def begin_again(self) -> None:
        """As if time had passed: for a clock that somebody else moves."""
        self._quiet = self._total = self._thrown = 0
        self.error = None

    async def watch(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Run the function in a scope that is cancelled when nobody moves."""
        with trio.CancelScope() as self.scope:
            return await function(*args)
        raise self.error or AssertionError("only the detector cancels this")

    @contextmanager
    def enforced(self) -> Generator[None]:
        """Raise what has been found here, whatever the application made of it."""
        try:
            yield
        except (Exception, BaseExceptionGroup, _Spun) as error:
            if self.error is None or error is self.error:
                raise
            raise self.error from error
        if self.error is not None:
            raise self.error

    @contextmanager
    def installed(self, is_wanted: bool = True) -> Generator[None]:
        """Watch for the length of the block, inside a run."""
        if not is_wanted:
            yield
            return
        trio.lowlevel.add_instrument(self)
        try:
            with self.enforced():
                yield
        finally:
            trio.lowlevel.remove_instrument(self)
            if self._sample is not None:
                self._sample.stop()

    def before_io_wait(self, timeout: float) -> None:
        now = trio.lowlevel.current_clock().current_time()
        if now != self._now:
            self._now = now
            self._quiet = self._total = 0
        self._quiet += 1
        self._total += 1
        if self._quiet > SAMPLE_AFTER_PASSES or self._total > MAX_PASSES - SAMPLE_AFTER_PASSES:
            self._look()
        elif self._sample is not None:
            self._sample.stop()
            self._sample = None

    def _look(self) -> None:
        if self._sample is None:
            self._sample = _Sample()
            trio.lowlevel.add_instrument(self._sample)
        elif not self._sample.steps and self._quiet >= IDLE_PASSES and not _threads():
            self._end_deadlock()
        elif self._quiet >= self._limit or self._total >= MAX_PASSES:
            self._end_spin(self._sample)

    def _end_deadlock(self) -> None:
        if self.error is None:
            self.error = Stuck(f"every task waits, and there is no deadline that would end it:\n{_standing()}")
        if self.scope is not None:
            self.scope.cancel(reason="nobody moves")
        self._quiet = 0

    def _end_spin(self, sample: "_Sample") -> None:
        if not sample.steps:
            self._end_deadlock()
            return
        error = Stuck(
            f"the scheduler went round {self._total} times, and no virtual time passed. What spins:\n{sample.shown()}"
        )
        self.error = self.error or error
        self._thrown += 1
        sample.throw(error if self._thrown <= MAX_CATCHES else _Spun(str(error)))
        self._quiet = SAMPLE_AFTER_PASSES
        self._total = min(self._total, MAX_PASSES - 2 * SAMPLE_AFTER_PASSES)


class _Spun(BaseException):
    """Thrown into a task that catches `Stuck` and goes on."""


class _Sample(trio.abc.Instrument):
    """Who makes the steps."""

    def __init__(self) -> None:
        self.steps: Counter[trio.lowlevel.Task] = Counter()
        self._target: trio.lowlevel.Task | None = None
        self._error: BaseException | None = None

    def stop(self) -> None:
        trio.lowlevel.remove_instrument(self)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.steps[task] += 1
        if task is self._target and self._error is not None:
            _throw_into(task, self._error)
            self._target = self._error = None
            self.steps.clear()

    def throw(self, error: BaseException) -> None:
        """At the next step of the task that has made most of them."""
        self._target = max(self.steps, key=lambda task: (self.steps[task], task.name))
        self._error = error

    def shown(self) -> str:
        most = max(self.steps.values())
        busy = sorted((task.name, where(task)) for task, count in self.steps.items() if 2 * count >= most)
        return "\n".join(f"task {name}, at\n{place}" for name, place in busy[:5])


def _throw_into(task: trio.lowlevel.Task, error: BaseException) -> None:
    """Let a step that is about to begin begin with an error. Trio has no public way to do so."""
    task._next_send = outcome.Error(error)


def _threads() -> int:
    return trio.to_thread.current_default_thread_limiter().borrowed_tokens


def _standing() -> str:
    """Show where every task stands that does not just wait for its children; those in the user's code come first."""
    own = {"<init>", "<TrioToken.run_sync_soon task>"}
    rows: list[tuple[bool, str, str]] = []
    for task in all_tasks():
        names = {frame.f_code.co_name for frame, _ in task.iter_await_frames()}
        if task.name not in own and "_nested_child_finished" not in names:
            rows.append((not is_users(task), task.name, where(task)))
    return "\n".join(f"task {name}, at\n{place}" for _, name, place in sorted(rows)[:10])
