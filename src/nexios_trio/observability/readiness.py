"""What is not ready, by name and with a word that says why."""

import inspect
import logging
from collections.abc import Callable
from math import inf
from typing import Any, Final

import trio

__all__ = ["ReadinessChecks"]

logger = logging.getLogger("nexios_trio.app")

CHECK_SECONDS: Final = 0.8  # of one check; who asks gives up after a second
MIN_PERIOD_SECONDS: Final = 1.0  # between two rounds: anybody may ask, and a check may be a query to a database

Check = Callable[[], Any]


class ReadinessChecks:
    """The application's own checks. Owned by the application."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}
        self._asking = trio.Lock()
        self._asked_at = -inf  # seconds of trio's clock
        self._problems: dict[str, str] = {}

    def add(self, name: str, check: Check) -> None:
        """Ask `check` too. Raises: TypeError, ValueError for a name that is taken."""
        if not callable(check):
            raise TypeError(f"a readiness check is a function without arguments, async or not, not {check!r}")
        if name in self._checks or name in ("application", "engine", "server"):
            raise ValueError(f"there is a readiness check {name!r} already")
        self._checks[name] = check
        self._asked_at = -inf

    async def problems(self) -> dict[str, str]:
        """Ask all of them at once, unless they were asked a second ago.

        Checkpoint: always. Returns: by name, why it is not ready.
        """
        await trio.lowlevel.checkpoint()
        if not self._checks:
            return {}
        async with self._asking:
            now = trio.current_time()
            if not 0 <= now - self._asked_at < MIN_PERIOD_SECONDS:  # another run of trio may have an earlier clock
                found: dict[str, str] = {}
                async with trio.open_nursery() as nursery:
                    for name, check in self._checks.items():
                        nursery.start_soon(_ask, name, check, found)
                self._problems = {name: found[name] for name in self._checks if name in found}
                self._asked_at = trio.current_time()
        return self._problems


async def _ask(name: str, check: Check, found: dict[str, str]) -> None:
    with trio.move_on_after(CHECK_SECONDS) as scope:
        try:
            answer = check()
            if inspect.isawaitable(answer):
                answer = await answer
        except Exception:
            logger.warning("the readiness check %r failed", name, exc_info=True)
            found[name] = "failed"  # the error is for the log: anybody may read this
            return
        if isinstance(answer, str):
            found[name] = answer
        elif answer is False:
            found[name] = "not ready"
    if scope.cancelled_caught:
        found[name] = f"no answer in {CHECK_SECONDS:g} s"
