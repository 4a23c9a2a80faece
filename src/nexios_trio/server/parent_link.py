"""What a worker has from its parent: a number, a link on its standard input, and a slot among the workers' loads."""

import os
import signal
from contextlib import suppress
from typing import Final

import attrs
import trio

from .worker_loads import WorkerLoad

__all__ = ["NEWCOMERS_SECONDS", "READY", "RETIRE", "ParentLink", "WorkerPlace"]

READY: Final = b"ready\n"  # to the parent
RETIRE: Final = b"retire\n"  # from the parent: another worker is ready in this one's place
NEWCOMERS_SECONDS: Final = 1.0  # that handshakes which have begun may take when a worker is retired


@attrs.frozen
class WorkerPlace:
    """What the parent says to a worker on its command line.

    Args:
        number: from 0.
        slot: of its load.
        loads: the descriptor of all loads.
    """

    number: int
    slot: int
    loads: int

    def to_argument(self) -> str:
        return f"{self.number},{self.slot},{self.loads}"

    @classmethod
    def from_argument(cls, argument: str) -> "WorkerPlace":
        """Raises: ValueError."""
        number, slot, loads = argument.split(",")
        return cls(int(number), int(slot), int(loads))


@attrs.define(eq=False)
class ParentLink:
    """A worker's end of the link."""

    number: int
    load: WorkerLoad
    is_retired: bool = attrs.field(default=False, init=False)
    _descriptor: int

    @classmethod
    def take(cls, place: WorkerPlace) -> "ParentLink":
        """Take what is inherited, so that the processes that this one starts do not.

        Standard input, where the link was, is empty from here on; SIGHUP is the parent's, and does nothing here.
        """
        signal.signal(signal.SIGHUP, lambda number, frame: None)  # not SIG_IGN, which other programs would inherit
        link = os.dup(0)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        load = WorkerLoad(place.loads, place.slot)
        os.close(place.loads)
        return cls(place.number, load, link)

    def say_ready(self) -> None:
        """Tell the parent that connections are accepted."""
        with suppress(BrokenPipeError):  # the parent is gone, as `follow` finds out
            os.write(self._descriptor, READY)

    async def follow(self) -> None:
        """Stop as if by a signal when the parent says so, or is gone."""
        while not self.is_retired:
            await trio.lowlevel.wait_readable(self._descriptor)
            said = os.read(self._descriptor, 64)
            if not said:
                break
            self.is_retired = RETIRE in said
        signal.raise_signal(signal.SIGTERM)
        await trio.sleep_forever()
