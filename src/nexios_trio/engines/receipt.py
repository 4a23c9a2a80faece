"""What an engine answers to a publish, or to a watch: at once, or when it is known.

A receipt is settled once: with a position, or with an error. It is made by the engine, which settles each of them
within its `deadline`; whoever has one may look at it synchronously, await it, or let it be.
"""

import copy
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

import attrs
from trio.lowlevel import ParkingLot, checkpoint

from ..core.message import Position
from ..exceptions import EngineError, LifecycleError

__all__ = ["Receipt"]


@attrs.define(eq=False)
class Receipt:
    """`await receipt` gives the `Position`, or raises `EngineError`.

    The position is None for a message without a number (`Message.is_transient`).

    Checkpoint: awaiting always is one. Cancellation: whoever stops waiting changes nothing about the message.
    Concurrency: any number of tasks may wait.
    """

    is_settled: bool = False
    _position: Position | None = None
    is_watched: bool = True  # of a publish: some node had a member of the group. Unknown counts as yes
    # The box's; called once, and must not block.
    on_settled: "Callable[[Receipt], None] | None" = attrs.field(default=None, init=False)
    error: EngineError | None = attrs.field(default=None, init=False)  # why there is no position, and will be none
    _waiting: ParkingLot | None = attrs.field(default=None, init=False)

    @property
    def position(self) -> Position | None:
        """The position. Raises: LifecycleError while it is not known; EngineError when it never will be."""
        if not self.is_settled:
            raise LifecycleError("the position is not known yet: await the receipt")
        if self.error is not None:
            raise copy.copy(self.error)  # each gets its own: raising changes an error
        return self._position

    def settle(self, position: Position | None, is_watched: bool = True) -> None:
        """Note the answer; a no-op for a receipt that is settled, as by its deadline. For engines."""
        if not self.is_settled:
            self.is_watched = is_watched
            self._position = position
            self._tell()

    def fail(self, error: EngineError) -> None:
        """Note that there will be no position; a no-op for a receipt that is settled. For engines."""
        if not self.is_settled:
            self.error = error
            self._tell()

    def then(self, call: "Callable[[Receipt], None]") -> None:
        """Call it, too, when this is settled: it must not block. For boxes."""
        before = self.on_settled
        self.on_settled = call if before is None else partial(_tell_both, before, call)

    def _tell(self) -> None:
        self.is_settled = True
        if self._waiting is not None:
            self._waiting.unpark_all()
        if self.on_settled is not None:
            self.on_settled(self)

    def __await__(self) -> Generator[Any, Any, Position | None]:
        return self._wait().__await__()

    async def _wait(self) -> Position | None:
        if self.is_settled:
            await checkpoint()
        else:
            if self._waiting is None:
                self._waiting = ParkingLot()
            await self._waiting.park()
        return self.position


def _tell_both(first: Callable[[Receipt], None], then: Callable[[Receipt], None], receipt: Receipt) -> None:
    first(receipt)
    then(receipt)
