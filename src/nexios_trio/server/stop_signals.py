"""Who says that a server has to stop: a trigger, signals, or the cancellation of `serve`."""

import logging
import signal
import threading
from collections.abc import Awaitable, Callable
from math import inf
from typing import Any, Final

import trio

from . import early_signals
from .shutdown import StopRequest

__all__ = ["Trigger", "hurry_when_cancelled", "wait_for_stop"]

logger = logging.getLogger("nexios_trio.server")

# Seconds within which a second signal is the first one again: supervisors signal a parent and its workers, and the
# parent signals its workers too.
SAME_SIGNAL_SECONDS: Final = 1.0

Trigger = Callable[..., Awaitable[Any]]


async def hurry_when_cancelled(stop: StopRequest) -> None:
    try:
        await trio.sleep_forever()
    except trio.Cancelled:
        stop.hurry()
        raise


async def wait_for_stop(stop: StopRequest, trigger: Trigger | None) -> None:
    if trigger is not None:
        try:
            await trigger()
        except Exception as error:
            stop.failure = error
        stop.request()
    elif threading.current_thread() is threading.main_thread():
        await _wait_for_signals(stop)


async def _wait_for_signals(stop: StopRequest) -> None:
    may_hurry = inf
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as numbers:
        early_signals.raise_again()
        async for number in numbers:
            if trio.current_time() >= may_hurry:
                logger.info("hurrying because of %s", signal.Signals(number).name)
                stop.hurry()
            elif may_hurry == inf:
                logger.info("stopping because of %s", signal.Signals(number).name)
                may_hurry = trio.current_time() + SAME_SIGNAL_SECONDS
                stop.request()
