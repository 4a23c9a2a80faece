"""The part of a box that other threads may use."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import trio

from ..exceptions import LifecycleError
from .authorization import acting_for
from .current_box import run_of, use_box

__all__ = ["FromThread"]

_TRIOS_OWN = "this is the thread that the application runs in: await {} here, without from_thread"
_NOT_RUNNING = "the application of this box does not run, so nobody can do this for a thread"


class FromThread:
    """A box, as threads know it that are not trio's. Everything else of it belongs to the thread of its application."""

    def from_thread(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function in the application's own thread, and wait for what it returns; what is awaitable is awaited.

        As in `app.box.from_thread(app.box.group_send, "orders", {"number": 7})`, from any thread: one of
        `trio.to_thread`, of a web framework, or of a library that has threads of its own. What it does, it does for the
        application and for no connection, so `authorize` is not asked.

        Blocks the calling thread, for as long as the function takes. In a thread of `trio.to_thread`, it raises
        `trio.Cancelled` where the task that waits for the thread is cancelled.
        Raises: what the function raises; LifecycleError in the application's own thread, where it does not run, or
            where it ends meanwhile.
        """
        if trio.lowlevel.in_trio_run():
            raise LifecycleError(_TRIOS_OWN.format(getattr(function, "__name__", "it")))
        token = run_of(self)
        if token is None:
            raise LifecycleError(_NOT_RUNNING)
        try:
            return trio.from_thread.run(self._call, partial(function, *args, **kwargs), trio_token=token)
        except trio.RunFinishedError:
            raise LifecycleError(_NOT_RUNNING) from None

    async def _call(self, function: Callable[[], Any]) -> Any:
        with use_box(self), acting_for(None):
            result = function()
            return await result if inspect.isawaitable(result) else result
