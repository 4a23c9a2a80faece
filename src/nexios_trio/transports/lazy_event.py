"""An event for which most of the time nobody waits."""

import trio
from trio.lowlevel import checkpoint

__all__ = ["LazyEvent"]


class LazyEvent:
    """As `trio.Event`, of which it makes one when somebody waits: that takes 270 bytes, and this 48."""

    __slots__ = ("_event", "_is_set")

    def __init__(self) -> None:
        self._event: trio.Event | None = None
        self._is_set = False

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        """Wake all who wait, now and later."""
        self._is_set = True
        event, self._event = self._event, None
        if event is not None:
            event.set()

    async def wait(self) -> None:
        """Wait until it is set. Checkpoint: always. Cancellation: nothing has changed."""
        if self._is_set:
            await checkpoint()
            return
        if self._event is None:
            self._event = trio.Event()
        await self._event.wait()
