"""Who says that a server has to stop: a trigger, signals, or the cancellation of `serve`.

    first signal        drain
    second              in a hurry
    third               end the process at once, where it is the server's own

Signals are counted in their handler, which runs between any two instructions of the main thread: a handler of the
application's that blocks the event loop does not keep them from being heard.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from math import inf
from typing import Any, Final

import trio

from . import early_signals
from .forced_end import ForcedEnd
from .shutdown import StopRequest

__all__ = ["SignalCount", "Trigger", "has_terminal", "hurry_when_cancelled", "wait_for_stop"]

logger = logging.getLogger("nexios_trio.server")

# Seconds within which a signal is the last one again. Supervisors signal a parent and its workers, and the parent
# signals its workers too; what wraps a command passes on a Ctrl-C that the command has had from the terminal.
SAME_SIGNAL_SECONDS: Final = 1.0
SAME_KEY_SECONDS: Final = 0.2

KEYS: Final = (" (press Ctrl-C again to hurry)", " (press Ctrl-C again to end at once)")

Trigger = Callable[..., Awaitable[Any]]


class SignalCount:
    """How often somebody has asked for a stop."""

    def __init__(self) -> None:
        self._count = 0
        self._last = -inf

    def add(self, number: int, now: float) -> int | None:
        """Count a signal, at a time in seconds. Returns which one it is, from 1; None for the last one again."""
        if now - self._last < (SAME_KEY_SECONDS if number == signal.SIGINT else SAME_SIGNAL_SECONDS):
            return None
        self._last = now
        self._count += 1
        return self._count


async def hurry_when_cancelled(stop: StopRequest) -> None:
    try:
        await trio.sleep_forever()
    except trio.Cancelled:
        stop.hurry()
        raise


async def wait_for_stop(stop: StopRequest, trigger: Trigger | None, forced_end: ForcedEnd | None) -> None:
    """Wait for the trigger, or for signals where this is the main thread and there is no trigger.

    Args:
        forced_end: of this process, where it is the server's own.
    """
    if trigger is not None:
        try:
            await trigger()
        except Exception as error:
            stop.failure = error
        stop.request()
    elif threading.current_thread() is threading.main_thread():
        with _heard_signals(stop, forced_end):
            early_signals.raise_again()
            await trio.sleep_forever()


@contextmanager
def _heard_signals(stop: StopRequest, forced_end: ForcedEnd | None) -> Generator[None]:
    counted = SignalCount()
    token = trio.lowlevel.current_trio_token()

    def handle(number: int, _: object) -> None:
        count = counted.add(number, time.monotonic())
        if count is None:
            return
        if forced_end is not None:
            forced_end.arm()
            if count > len(KEYS):
                forced_end.now(number)
        hint = KEYS[count - 1] if forced_end is not None and number == signal.SIGINT else ""
        token.run_sync_soon(_obey, stop, number, count, hint)

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _obey(stop: StopRequest, number: int, count: int, hint: str) -> None:
    name = signal.Signals(number).name
    if count == 1:
        logger.info("stopping because of %s%s", name, hint)
        stop.request()
    else:
        logger.info("hurrying because of %s%s", name, hint)
        stop.hurry()


def has_terminal() -> bool:
    """Tell whether this process has a controlling terminal, which is gone once its window is closed."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
