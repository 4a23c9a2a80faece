"""Cancel everywhere: run a scenario again and again, and cancel it at another step each time.

Theory of operation. A run on a virtual clock with a fixed seed repeats itself exactly, so the steps that tasks make can
be numbered: a step is what one task does between two checkpoints. The first run, which is not cancelled, counts the
steps between the beginning and the end of the operation. Run number k cancels the operation right before step k, of
whatever task that is: while the operation waits, when it has just been woken, and between any two of its steps. After
each run nothing may be left, and what the scenario itself asserts must hold.

    @asynccontextmanager
    async def leaving():
        ... set up ...
        yield operation             an async function without arguments: this is what is cancelled
        ... assert what must hold, whether it was cancelled or not ...
"""

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import attrs
import outcome
import trio
import trio.testing

from ...exceptions import NexiosError
from ..simulation.determinism import run
from .stacks import all_tasks, subtree, trail, where

__all__ = ["CancelReport", "CancelledAt", "Scenario", "cancel_everywhere"]

Operation = Callable[[], Awaitable[Any]]
Scenario = Callable[[], Awaitable[Any]] | Callable[[], AbstractAsyncContextManager[Operation]]


@attrs.frozen
class CancelReport:
    """What `cancel_everywhere` has done."""

    name: str
    steps: int  # of the operation when it is not cancelled
    runs: int  # with a cancellation in them
    finished: int  # of those, how often the operation had done its work all the same

    def __str__(self) -> str:
        return f"{self.name}: cancelled at {self.runs} of {self.steps} steps, all clean"


class CancelledAt(NexiosError, AssertionError):
    """A scenario did not survive the cancellation before step `step`. Its text leads to the line.

    Args:
        problem: what was wrong afterwards; `__cause__` has the traceback, where there is one.
        stood: where the operation's tasks stood when it was cancelled.
        trail: where cancellation was raised, and where it was raised again while being handled.
    """

    def __init__(self, name: str, step: int, seed: int, problem: str, stood: str, trail: str) -> None:
        super().__init__(name, step, seed, problem, stood, trail)
        self.name = name
        self.step = step
        self.seed = seed
        self.problem = problem
        self.stood = stood
        self.trail = trail

    def __str__(self) -> str:
        return (
            f"{self.name}: cancelled before step {self.step} (seed {self.seed}): {self.problem}\n"
            f"when it was cancelled, its tasks stood at\n{self.stood}{self.trail}"
        )


class _Cancellation(trio.abc.Instrument):
    """Counts steps while the operation runs, and cancels it before the chosen one."""

    def __init__(self, step: int | None) -> None:
        self.chosen = step
        self.steps = 0
        self.scope: trio.CancelScope | None = None
        self.root: trio.lowlevel.Task | None = None
        self.stood = ""

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.scope is None or self.root is None:
            return
        if self.steps == self.chosen:
            self.stood = "\n".join(where(each, 4) for each in subtree(self.root))
            self.scope.cancel(reason=f"cancel_everywhere, step {self.steps}")
        self.steps += 1


def cancel_everywhere(
    scenario: Scenario, *, seed: int = 0, timeout: float = 60.0, max_runs: int = 2000, name: str | None = None
) -> CancelReport:
    """Run the scenario once, and then once for each of its steps, cancelling it there.

    Args:
        scenario: an async function, which is cancelled as a whole; or an async context manager, or an async generator
            function, that yields the operation and checks afterwards.
        timeout: virtual seconds within which the cancelled operation must end.
        max_runs: of a longer scenario, this many steps are tried, evenly spaced.
    Raises: CancelledAt for the first step that leaves something behind; what the scenario raises when it is not
        cancelled.
    """
    title = name or getattr(scenario, "__name__", None) or repr(scenario)
    attempt = _Attempt(title, _as_manager(scenario), seed, timeout)
    total = attempt.count()
    chosen = range(total) if total <= max_runs else [round(k * (total - 1) / (max_runs - 1)) for k in range(max_runs)]
    finished = sum(attempt.cancel_at(step) for step in chosen)
    return CancelReport(title, total, len(chosen), finished)


@attrs.define
class _Attempt:
    name: str
    manager: Callable[[], AbstractAsyncContextManager[Operation]]
    seed: int
    timeout: float
    _finished: bool = False
    _trail: str = ""
    _problem: str = ""

    def count(self) -> int:
        """The steps of the operation when it is left alone."""
        counter = _Cancellation(None)
        try:
            run(self._play, counter, seed=self.seed, instruments=[counter])
        except Exception as error:
            if not self._problem:
                raise _unwrap(error) from None
        if self._problem:
            raise CancelledAt(self.name, counter.steps, self.seed, f"not cancelled at all: {self._problem}", "", "")
        return counter.steps

    def cancel_at(self, step: int) -> bool:
        """Return whether the operation had done its work before it noticed."""
        self._finished, self._trail, self._problem = False, "", ""
        cancellation = _Cancellation(step)
        failure: BaseException | None = None
        try:
            run(self._play, cancellation, seed=self.seed, instruments=[cancellation])
        except Exception as error:
            failure = _unwrap(error)
            self._problem = self._problem or f"{type(failure).__name__}: {failure}"
        if self._problem:
            text = self._problem
            raise CancelledAt(self.name, step, self.seed, text, cancellation.stood, self._trail) from failure
        return self._finished

    async def _play(self, cancellation: _Cancellation) -> None:
        async with self.manager() as operation:
            before = all_tasks()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, nursery.cancel_scope, cancellation, name="watchdog")
                await trio.testing.wait_all_tasks_blocked()
                async with trio.open_nursery() as inner:
                    inner.start_soon(self._operate, operation, cancellation, name=self.name)
                nursery.cancel_scope.cancel()
            await trio.testing.wait_all_tasks_blocked()
            self._note_leftovers(all_tasks() - before)

    async def _operate(self, operation: Operation, cancellation: _Cancellation) -> None:
        with trio.CancelScope() as scope:
            cancellation.root = trio.lowlevel.current_task()
            cancellation.scope = scope
            try:
                await trio.lowlevel.cancel_shielded_checkpoint()
                await operation()
                self._finished = True
            except BaseException as error:
                self._trail = trail(error)
                raise
            finally:
                cancellation.scope = None

    async def _watch(self, scope: trio.CancelScope, cancellation: _Cancellation) -> None:
        """End an operation that does not end by itself, even one that is shielded for ever."""
        await trio.sleep(self.timeout)
        assert cancellation.root is not None
        tasks = list(subtree(cancellation.root))
        places = "\n".join(where(task) for task in tasks)
        self._problem = f"still running after {self.timeout:g} s, at\n{places}"
        scope.cancel(reason="cancel_everywhere: out of time")
        with trio.CancelScope(shield=True):
            await trio.testing.wait_all_tasks_blocked()
        for task in tasks:
            if task in all_tasks() and not task.child_nurseries:  # blocked, since all are
                trio.lowlevel.reschedule(task, outcome.Error(_OutOfTime()))

    def _note_leftovers(self, left: set[trio.lowlevel.Task]) -> None:
        if left and not self._problem:
            shown = "\n".join(sorted(f"{task.name}, at\n{where(task)}" for task in left))
            self._problem = f"{len(left)} task(s) are left: {shown}"


class _OutOfTime(Exception):
    """Thrown into a task that nothing else can end."""


def _as_manager(scenario: Scenario) -> Callable[[], AbstractAsyncContextManager[Operation]]:
    if inspect.isasyncgenfunction(scenario):
        return asynccontextmanager(scenario)
    if inspect.iscoroutinefunction(scenario):
        operation: Operation = scenario
        return lambda: _whole(operation)
    if callable(scenario):
        manager: Any = scenario
        return manager  # type: ignore[no-any-return]
    raise TypeError(f"a scenario is an async function or an async context manager function, not {scenario!r}")


@asynccontextmanager
async def _whole(operation: Operation) -> AsyncGenerator[Operation]:
    await trio.lowlevel.checkpoint()
    yield operation


def _unwrap(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
